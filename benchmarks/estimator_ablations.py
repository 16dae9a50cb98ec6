"""Estimators trained in other ways on the radius targets of a run.

  python -m benchmarks.estimator_ablations --config configs/cifar10.py:small \
    --workdir runs/cifar10-small --output runs/ablations --steps 500

Each variant of `VARIANTS` trains an estimator for the classifier that the run
trained first, or for the fine-tuned one, with the options of the configuration
but for those that the variant names. What its dual would certify on validation
images is expected from few votes, as by `dualrs_jax.forecast`: no certificate.
Every one is also compared with the best constant choice of its levels, which
an estimator has to beat, and with what its own choices would have, were they
certain. Variants that are there are not trained again; `--only` names some.

Ratios are to the best of the run's own levels at each radius, of the classifier
that it trained first, whatever a variant chooses from: they can be compared.
Where a run has experts, estimators route between these.
"""

import functools
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags
from ml_collections import config_flags

from benchmarks import machine
from dualrs_jax import data, networks
from dualrs_jax.evaluation import forecast, forecast_votes
from dualrs_jax.runtime import preemption
from dualrs_jax.runtime import settings as settings_lib
from dualrs_jax.training import (
  claim,
  fit,
  fitting,
  recipe,
  stages,
  target_radii,
  targets,
)
from dualrs_jax.training import run as run_lib

_CLOSE = (0.25, 0.35, 0.5, 0.7, 1.0)
_PAPER = {'estimator.loss': 'paper', 'estimator.utility.name': 'radius'}
_SOFT = {**_PAPER, 'estimator.paper.divergence': 0.0}
_SOFT |= {'estimator.paper.entropy': 0.0}


class Variant(NamedTuple):
  """One way to train an estimator.

  Attributes:
    options: Fields of the configuration, by their dotted names.
    sigmas: Levels to choose from; those of the configuration by default.
    votes: Of the votes for a radius target, how many are seen.
    share: Of the images with radius targets, which are seen.
    stage: The classifier, by the stage that trained it.
  """

  options: Mapping[str, Any] = {}
  sigmas: tuple[float, ...] = ()
  votes: int = 0
  share: float = 1.0
  stage: str = 'classifier-0'


VARIANTS = {
  'certificate': Variant(),
  'hard labels': Variant({**_SOFT, 'estimator.paper.temperature': 0.01}),
  'soft labels': Variant(_SOFT),
  'soft labels, consistency': Variant(_PAPER),
  'estimator_sigma .5': Variant({'estimator_sigma': 0.5}),
  '8 votes a target': Variant(votes=8),
  'half of the images': Variant(share=0.5),
  'a tenth of the images': Variant(share=0.1),
  'levels .25 .5': Variant(sigmas=(0.25, 0.5)),
  'levels .5 1': Variant(sigmas=(0.5, 1.0)),
  'levels .25 .35 .5 .7 1': Variant(sigmas=_CLOSE),
  'after fine-tuning': Variant(stage='classifier-1'),
}


class Ground(NamedTuple):
  """What the variants of a run share.

  Attributes:
    config: The configuration of the run.
    workdir: Its folder.
    output: Where everything of the variants is.
    run: It, loaded.
    source: The images with radius targets.
    validation: The images on which variants are compared.
    votes: Votes on each of these, at each level.
    steps: Of the training of each variant.
  """

  config: Any
  workdir: pathlib.Path
  output: pathlib.Path
  run: run_lib.Run
  source: data.Source
  validation: data.Source
  votes: int
  steps: int

  def classifier(self, stage: str) -> Any:
    """A classifier that the run has trained, for inference."""
    first, later = self.config.classifier, self.config.finetune
    found = fitting.new_classifier(self.run)
    trained = stages.origin(
      stage, classifier_steps=first.steps, finetune_steps=later.steps
    )
    if trained is not None:  # otherwise it is of others, such as experts
      _, steps = stages.options_of(
        trained, first, later, rounds=self.config.rounds
      )
      found = fit.finished(
        found,
        self.workdir / 'checkpoints' / trained,
        stage=trained,
        steps=steps,
        settings=self.run.settings,
      )
      if found is None:
        raise SystemExit(f'{self.workdir} has not trained {trained} yet')
    return self.run.classifier_front.before(networks.inference_view(found))

  def target_votes(self, stage: str, sigma: float) -> np.ndarray:
    """Of the images with radius targets, see `targets.build`."""
    options, own = self.config.targets, tuple(self.config.sigmas)
    sigmas = own if sigma in own else (sigma,)
    folder = self.output / 'targets' / f'{stage}-{len(sigmas)}-{sigmas[0]:g}'
    if stage == 'classifier-0' and sigmas == own:
      folder = self.workdir / 'targets' / 'targets-1'  # the run's own
    found = targets.build(
      self.classifier(stage),
      self.source,
      stage=folder.name,
      sigmas=sigmas,
      votes=options.votes,
      chunk_size=options.chunk_size,
      shard_size=options.shard_size,
      workers=self.config.workers,
      key=fit.stage_key(self.config.seed, 'targets-1'),
      directory=folder,
      mark=self.run.settings[settings_lib.FINGERPRINT],
      preempted=self.run.preempted,
    )
    return found[:, sigmas.index(sigma)]

  def cast(self, network: Any, sigma: float) -> np.ndarray:
    """Votes of a network on the validation images, by class."""
    return forecast_votes.count(
      network, self.validation, sigma, self.votes, chunk_size=self.votes
    )

  def answers(self, stage: str, sigma: float) -> np.ndarray:
    """Votes of a classifier on the validation images, by class."""
    path = self.output / 'answers' / f'{stage}-{sigma:g}.npy'
    if not path.exists():
      path.parent.mkdir(parents=True, exist_ok=True)
      network = self.classifier(stage)
      if isinstance(network, tuple):  # experts, one for each level
        network = network[tuple(self.config.sigmas).index(sigma)]
      np.save(path, self.cast(network, sigma))
    return np.load(path)


def prepare(
  config: Any,
  workdir: pathlib.Path,
  output: pathlib.Path,
  *,
  images: int,
  votes: int,
  steps: int,
) -> Ground:
  """Loads a run that is trained."""
  sources = run_lib.load_sources(config)
  claimed = claim.claim(recipe.identity(config), workdir)
  run = run_lib.load(config, workdir, claimed, sources, lambda: False)
  return Ground(
    config,
    workdir,
    output,
    run,
    run_lib.subset(run.train, config.targets.count),
    forecast_votes.spread(sources['validation'], images),
    votes,
    steps,
  )


def possible(config: Any) -> list[str]:
  """The variants of a run by name: experts have no levels but their own."""
  experts = networks.experts(config.model.classifier.to_dict())
  return [
    name
    for name, variant in VARIANTS.items()
    if not experts or {*variant.sigmas} <= {*config.sigmas}
  ]


def train(ground: Ground, name: str, variant: Variant) -> tuple[Any, Any]:
  """Trains a variant, or reads it.

  Returns:
    Its configuration and the estimator, for inference.
  """
  config = ground.config.copy_and_resolve_references().unlock()
  changes = {
    'estimator.steps': ground.steps,
    'estimator.warmup_steps': min(
      config.estimator.warmup_steps, ground.steps // 2
    ),
    **variant.options,
  }
  if variant.sigmas:
    changes |= {'sigmas': variant.sigmas, 'baselines': ()}
    changes |= {'classifier.shares': ()}
  for field, value in changes.items():
    *groups, last = field.split('.')
    functools.reduce(lambda part, g: part[g], groups, config)[last] = value
  folder = ground.output / name.replace(' ', '-').replace(',', '')
  marks = {
    'trained as': name,
    'votes': variant.votes,
    'share': variant.share,
    'stage': variant.stage,
    'n': config.targets.n or config.certify.n,
  }
  claimed = claim.claim(recipe.identity(config) | marks, folder)
  run = ground.run._replace(config=config, workdir=folder, settings=claimed)
  every = round(1 / variant.share)
  seen = np.arange(0, len(ground.source), every)

  def bounds():
    rng = np.random.default_rng(0)
    options = config.targets
    counts = np.stack(
      [ground.target_votes(variant.stage, sigma) for sigma in config.sigmas], 1
    )[seen]
    votes = options.votes
    if variant.votes:
      votes = variant.votes
      right, wrong = np.moveaxis(counts, -1, 0)
      right_seen = rng.hypergeometric(right, options.votes - right, votes)
      rest = options.votes - right - wrong
      wrong_seen = rng.hypergeometric(wrong, rest, votes - right_seen)
      counts = np.stack([right_seen, wrong_seen], axis=-1)
    n = options.n or config.certify.n
    seed = fit.initial_seed(config.seed, 'targets-1')
    to_come = target_radii.drawn(counts, votes=votes, n=n, seed=seed)
    return target_radii.TARGETS[options.of](
      to_come, config.sigmas, n=n, alpha=options.alpha
    )

  estimator = fitting.fit_estimator(
    run, 'estimator-1', ground.source.take(seen), bounds
  )
  return config, run.estimator_front.before(networks.inference_view(estimator))


def line(ground: Ground, name: str, variant: Variant) -> str:
  """The row of a variant."""
  config, estimator = train(ground, name, variant)
  radii = config.certify.radii
  labels = np.asarray(ground.validation.labels)

  def votes(sigmas, stage):
    return np.stack([ground.answers(stage, sigma) for sigma in sigmas], 1)

  def share(radius):
    return forecast.reached(radius, radii).mean(0)

  chosen = ground.cast(estimator, config.estimator_sigma)
  of_variant = votes(config.sigmas, variant.stage)
  radius, _ = _forecast(config, labels, ground.votes, chosen, of_variant)
  constant = np.array(
    [
      _forecast(config, labels, ground.votes, for_all, of_variant)[0]
      for for_all in ground.votes * _for_all(chosen)
    ]
  )
  of_run = votes(ground.config.sigmas, 'classifier-0')
  _, levels = _forecast(ground.config, labels, ground.votes, None, of_run)
  envelope = np.max([share(row) for row in levels], axis=0)
  if not envelope.all():
    raise SystemExit(
      f'no level certifies r = {radii[int(np.argmin(envelope))]:g}: name'
      ' --config.certify.radii that one does'
    )

  def ratio(radius):
    return share(radius) / envelope

  level, dual = chosen.argmax(-1), ratio(radius)
  certain = np.take_along_axis(constant, level[None, None], 0)[0]
  shares = np.bincount(level, minlength=len(config.sigmas)) / len(level)
  cells = [
    name,
    *(f'{value:.2f}' for value in dual),
    f'**{dual.mean():.3f}**',
    f'{max(ratio(row).mean() for row in constant):.3f}',
    f'{ratio(certain).mean():.3f}',
    f'{ratio(constant.max(0)).mean():.3f}',
    ' '.join(f'{100 * share:.0f}' for share in shares),
  ]
  return f'| {" | ".join(cells)} |'


def _for_all(chosen):
  """For each level, the shares of votes that select it, of all images."""
  levels = chosen.shape[-1]
  return np.broadcast_to(
    np.eye(levels, dtype=int)[:, None], (levels, *chosen.shape)
  )


def _forecast(config, labels, cast, estimator, classifier):
  """Radii of the dual under the run's rule, and at every single level."""
  options = config.certify
  found = forecast.forecasts(
    forecast.Votes(labels, cast, estimator, classifier),
    config.sigmas,
    config.estimator_sigma,
    n0=options.n0,
    n=options.n,
    alpha=options.alpha,
  )
  of = {one.name: one.radius for one in found}
  return of.get(f'dual-{options.certificate}'), forecast.singles(found)


def compare(ground: Ground, names: Iterable[str]) -> None:
  """Prints the table, row by row."""
  radii = [f'r = {r:g}' for r in ground.config.certify.radii]
  head = ['variant', *radii, 'mean', 'best constant', 'were it certain']
  head += ['best per image', 'selected, %']
  print(f'| {" | ".join(head)} |', '---'.join('|' * (len(head) + 1)), sep='\n')
  for name in names:
    print(line(ground, name, VARIANTS[name]), flush=True)
  print(
    f'\n{len(ground.validation)} validation images, {ground.steps} steps.'
    f' Machine: {machine.in_short()}'
  )


def run():
  config = config_flags.DEFINE_config_file('config', None, 'Configuration.')
  workdir = flags.DEFINE_string('workdir', None, 'Folder of the run.')
  images = flags.DEFINE_integer('images', 500, 'Validation images.')
  votes = flags.DEFINE_integer('votes', 200, 'Votes per image and level.')
  output = flags.DEFINE_string('output', None, 'Folder of what is trained.')
  steps = flags.DEFINE_integer('steps', 500, 'Steps of each estimator.')
  only = flags.DEFINE_list('only', None, 'Variants; all by default.')

  def main(argv):
    del argv
    folder = workdir.value or f'runs/{config.value.name}'
    names = possible(config.value)
    if unknown := {*(only.value or ())} - {*names}:
      raise app.UsageError(
        f'--only: {", ".join(sorted(unknown))} is none of {", ".join(names)}'
      )
    names = only.value or names
    with preemption.watch(together=False):
      ground = prepare(
        config.value,
        pathlib.Path(folder),
        pathlib.Path(output.value or f'{folder}-ablations'),
        images=images.value,
        votes=votes.value,
        steps=steps.value,
      )
      compare(ground, names)

  app.run(main)


if __name__ == '__main__':
  run()
