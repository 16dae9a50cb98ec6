"""Certification of a data set by the networks of a working directory."""

import functools
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from dualrs_jax import checkpoints, data, networks, plans
from dualrs_jax.base import Classifier
from dualrs_jax.data import Source
from dualrs_jax.denoising import Denoiser
from dualrs_jax.evaluation import (
  casting,
  certify_source,
  report,
  verdicts,
  workers,
)
from dualrs_jax.evaluation.records import Record
from dualrs_jax.runtime import preemption, processes, settings
from dualrs_jax.runtime.processes import Place
from dualrs_jax.training import checks, stages

_CHOICES = {
  'task': ('certify', 'predict'),
  'smoothing': ('dual', 'single'),
  'protocol': ('adaptive', 'fixed', 'paper'),
  'goal': plans.GOALS,
  'noise': ('auto', *casting.NOISES),
  'certificate': tuple(verdicts.RULES),
  'spread': ('images', 'votes'),
}

#: The statistics of Sun et al. (2026), which `protocol='paper'` stands for.
_PAPER = {'n0': 100, 'n': 10_000, 'alpha': 0.001}


def certify_dataset(
  config: Any, workdir: str | os.PathLike, place: Place | None = None
) -> list[Record]:
  """Certifies images of a data set, as `config.certify` says.

  `protocol='adaptive'` casts votes until `goal` is decided: which of `radii`
  are certified ('grid'), whether the only one of them is ('radius'), or the
  radius that n votes give ('full'). `protocol='fixed'` casts n votes;
  `protocol='paper'` takes the paper's rule and its numbers of votes and alpha,
  whatever `certificate`, `n0`, `n` and `alpha` say. `noise='auto'` is exact
  lattice noise in adaptive certification, and gaussian noise elsewhere.

  `smoothing='dual'` certifies the dual classifier by the rule `certificate`.
  `smoothing='single'` runs plain smoothing of the classifier at each of
  `sigmas`, one file for each; a classifier that was trained at one noise level
  (a stage 'single-<sigma>') at that level only. `task='predict'` predicts
  without radii, from n votes.

  Where `seed` is -1, one is drawn for the working directory, once, and stored
  before the first vote: all of its runs then see the same noise, so that they
  can be compared, and doing one again gives the same rows.

  Rows are kept in `workdir/certify/<label>/rows.tsv` and settings beside it,
  see `certify_source`. An interrupted call goes on where it was.

  Several processes that see one working directory share the work: images with
  `spread='images'`, each with rows in a file of its own, see `merge_dataset`;
  or, in one run of them, the votes on each image, with `spread='votes'`.

  Args:
    config: The configuration, see configs/digits.py.
    workdir: Where the training of this configuration left its checkpoints.
    place: Which one of how many processes this is; by default that in the run
      that it has joined. Without a run, they do not wait for each other.

  Returns:
    The rows of the images asked for, as far as they are there: all of them,
    unless other processes have a share. With `smoothing='single'` those of one
    sigma after the other. In a run of several processes, all of them are done.

  Raises:
    CheckpointError: If a network is missing, damaged, or another one.
    SettingsMismatch: If the directory is that of another configuration, or
      holds rows of other settings.
    ValueError: If an option is invalid; see `certify_source`.
    Preempted: If SIGTERM came. What was decided is on the disk.
  """
  options = config.certify
  place = place or processes.here()
  _check_options(options, place)
  together = options.spread == 'votes' and place.count > 1
  with preemption.watch(together=together) as preempted:
    rows = _certify(config, pathlib.Path(workdir), place, preempted)
    ask = {} if together else {'preempted': preempted}
    processes.barrier('the rows of all processes', **ask)
  return rows


def _certify(
  config: Any,
  workdir: pathlib.Path,
  place: Place,
  preempted: Callable[[], bool],
) -> list[Record]:
  """Certifies, under options that have been checked."""
  options = config.certify
  asked = runs(config)
  _check_workdir(config, workdir)
  source = load_source(config)
  estimator, classifier = load_networks(config, workdir, source)
  seed = options.seed
  if seed == -1:
    drawn = {'seed': settings.fresh_seed()}
    seed = settings.claim(
      workdir / certify_source.FOLDER / 'seed.json', {}, once=drawn
    )['seed']
  dual = options.smoothing == 'dual' and options.task == 'certify'
  if dual and place.first:
    keeps = verdicts.RULES[asked[0]['certificate']].keeps
    checks.warn_of_radius_cap(
      config.sigmas,
      config.estimator_sigma,
      n=asked[0]['n'],
      alpha=keeps * asked[0]['alpha'],
    )
  rows = []
  for run in asked:
    if 'expert' in run and isinstance(classifier, tuple):
      expert = classifier[run['expert']]
    else:
      expert = classifier
    try:
      rows += certify_source.certify_source(
        estimator,
        expert,
        source,
        workdir / certify_source.FOLDER / label(config, run),
        settings=run,
        seed=seed,
        chunk_size=options.chunk_size,
        positions=_chosen(options, source),
        report_radii=_shown_radii(options),
        devices=jax.devices() if options.spread == 'votes' else None,
        place=Place() if options.spread == 'votes' else place,
        preempted=preempted,
      )
    except settings.SettingsMismatch as error:
      raise _with_advice(error) from error
  return rows


def merge_dataset(
  config: Any, workdir: str | os.PathLike, *, partly: bool
) -> dict[str, list[int]]:
  """Merges the rows of several processes, as `config.certify` asked for them.

  Args:
    config: The configuration.
    workdir: The working directory.
    partly: Whether to merge even where images are missing. Processes that have
      still to begin would then share out anew what is left.

  Returns:
    The dataset indices of missing images by label, for every certification that
    `config.certify` asks for.

  Raises:
    SettingsMismatch: If the directory holds rows of other settings.
    CorruptShard: If a file of rows is damaged before its last line, or two of
      them disagree.
  """
  _check_options(config.certify, Place())
  source = load_source(config)
  images = source.indices[_chosen(config.certify, source)].tolist()
  missing = {}
  for run in runs(config):
    name = label(config, run)
    folder = pathlib.Path(workdir) / certify_source.FOLDER / name
    path = folder / certify_source.SETTINGS
    if not path.exists():
      missing[name] = images
      continue
    try:
      settings.verify(path, run)
    except settings.SettingsMismatch as error:
      raise _with_advice(error) from error
    recorded = settings.read(path)
    missing[name] = workers.merge(folder, recorded, images, partly=partly)
  return missing


def report_dataset(config: Any, workdir: str | os.PathLike) -> str:
  """Summarizes and draws what `config.certify` asked for, see `report.report`.

  Returns:
    The text for the terminal.
  """
  return report.report(
    workdir,
    [label(config, run) for run in runs(config)],
    radii=config.certify.radii,
    source=load_source(config),
  )


def load_networks(
  config: Any, workdir: str | os.PathLike, source: Source
) -> tuple[Classifier | None, Classifier | tuple[Classifier, ...]]:
  """The estimator and the classifier that `config.certify` names.

  There is no estimator in plain smoothing. Experts are a tuple of classifiers,
  one for each noise level.
  """
  model = config.model
  denoiser = networks.denoiser(model.denoiser.to_dict())
  stage = stages.origin(
    _classifier_stage(config),
    classifier_steps=config.classifier.steps,
    finetune_steps=config.finetune.steps,
  )
  load = functools.partial(_load, pathlib.Path(workdir), source, denoiser)
  classifier = load(
    stage, model.classifier.to_dict(), num_classes=source.num_classes
  )
  if config.certify.smoothing == 'single':
    return None, classifier
  estimator = load(
    _estimator_stage(config),
    model.estimator.to_dict(),
    num_classes=len(config.sigmas),
  )
  return estimator, classifier


def load_source(config: Any) -> Source:
  """The images that `config.certify` is about."""
  return data.load(split=config.certify.split, **config.data)


def subset(
  images: int, *, start: int, stride: int, count: int
) -> Int[np.ndarray, ' chosen']:
  """Positions of a subset: every `stride`-th image from `start` on.

  Args:
    images: Number of images there are.
    start: Position of the first one.
    stride: Distance from one to the next.
    count: How many, at most; 0 for all.

  Raises:
    ValueError: If an option is out of range, or there is no such image.
  """
  if start < 0 or stride < 1 or count < 0:
    raise ValueError(
      'certify.start and certify.count must not be negative and'
      f' certify.stride must be positive, not {start}, {count}, {stride}'
    )
  chosen = np.arange(images)[start::stride][: count or None]
  if not len(chosen):
    raise ValueError(
      f'certify.start = {start} leaves none of the {images} images'
    )
  return chosen


def _chosen(options: Any, source: Source) -> Int[np.ndarray, ' chosen']:
  return subset(
    len(source),
    start=options.start,
    stride=options.stride,
    count=options.count,
  )


def _with_advice(error: settings.SettingsMismatch) -> settings.SettingsMismatch:
  return settings.SettingsMismatch(
    f'{error}; choose another --config.certify.label or --workdir'
  )


def runs(config: Any) -> list[dict[str, Any]]:
  """The settings of each certification that `config.certify` asks for.

  Raises:
    ValueError: If a classifier was trained at a level that is not in `sigmas`.
  """
  options = config.certify
  classifier, estimator = _classifier_stage(config), _estimator_stage(config)
  paper = options.protocol == 'paper'
  adaptive = options.protocol == 'adaptive'
  goal = options.goal if adaptive and options.task == 'certify' else None
  noise = options.noise
  if noise == 'auto':
    noise = 'lattice' if adaptive else 'gaussian'
  statistics = _PAPER if paper else {name: options[name] for name in _PAPER}
  common = {
    'task': options.task,
    'smoothing': options.smoothing,
    **statistics,
    **({} if options.task == 'certify' else {'n0': None}),
    'goal': goal,
    'radii': list(options.radii) if goal in ('radius', 'grid') else [],
    'noise': noise,
    'data': data.identity(config.data.to_dict()),
    'split': options.split,
  }
  model = {
    role: networks.identity(description)
    for role, description in config.model.to_dict().items()
  }
  if options.smoothing == 'dual':
    certificate = 'paper' if paper else options.certificate
    return [
      common
      | {
        'certificate': certificate if options.task == 'certify' else None,
        'sigmas': list(config.sigmas),
        'estimator_sigma': config.estimator_sigma,
        'stages': {'classifier': classifier, 'estimator': estimator},
        'model': model,
      }
    ]
  levels = [
    (number, sigma)
    for number, sigma in enumerate(config.sigmas)
    if not classifier.startswith('single-') or classifier == f'single-{sigma:g}'
  ]
  if not levels:
    raise ValueError(
      f'certify.classifier = {classifier!r} was trained at a noise level that'
      f' is not among sigmas = {tuple(config.sigmas)}'
    )
  return [
    common
    | {
      'certificate': None,
      'sigmas': [sigma],
      'estimator_sigma': None,
      'stages': {'classifier': classifier, 'estimator': None},
      'model': {role: model[role] for role in ('denoiser', 'classifier')},
    }
    | ({'expert': number} if 'experts' in model['classifier'] else {})
    for number, sigma in levels
  ]


def label(config: Any, run: Mapping[str, Any]) -> str:
  """The name of a certification, and of its folder.

  It tells apart what one working directory may hold side by side: the method,
  the protocol if it is not adaptive or the goal if it is not 'grid', the split
  if it is not 'test', the stages if they are not the last ones.
  `config.certify.label` takes its place, where it is not empty; plain smoothing
  adds its noise level, and its stage if that is not the last one.
  """
  parts = _automatic_parts(config, run)
  if config.certify.label:
    parts = [config.certify.label]
    if run['smoothing'] == 'single':
      parts.append(_level(run))
  if run['smoothing'] == 'single' or not config.certify.label:
    parts += [
      f'of-{stage}'
      for role, stage in run['stages'].items()
      if stage not in (None, f'{role}-{config.rounds}')
    ]
  return '-'.join(parts)


def _automatic_parts(config: Any, run: Mapping[str, Any]) -> list[str]:
  parts = ['predict'] if run['task'] == 'predict' else []
  parts.append(run['smoothing'])
  if run['smoothing'] == 'single':
    parts.append(_level(run))
  elif run['certificate'] and config.certify.protocol != 'paper':
    parts.append(run['certificate'])
  if config.certify.protocol == 'paper':
    parts.append('paper-protocol')
  elif run['goal'] is None and run['task'] == 'certify':
    parts.append('fixed')
  elif run['goal'] == 'radius':
    parts.append(f'radius-{run["radii"][0]:g}')
  elif run['goal'] == 'full':
    parts.append('full')
  if run['split'] != 'test':
    parts.append(run['split'])
  return parts


def _level(run: Mapping[str, Any]) -> str:
  """The noise level of plain smoothing, and whose it is."""
  level = f'{run["sigmas"][0]:g}'
  return f'{level}-expert-{run["expert"]}' if 'expert' in run else level


def _classifier_stage(config: Any) -> str:
  return config.certify.classifier or f'classifier-{config.rounds}'


def _estimator_stage(config: Any) -> str:
  return config.certify.estimator or f'estimator-{config.rounds}'


def _load(
  workdir: pathlib.Path,
  source: Source,
  denoiser: Denoiser | None,
  stage: str | None,
  description: Mapping[str, Any],
  *,
  num_classes: int,
) -> Any:
  """The network of a stage, ready for votes; untrained without a stage."""
  network = networks.create(
    description,
    num_classes=num_classes,
    image_shape=source.image_shape,
    seed=0,
  )
  if stage is not None:
    network = checkpoints.load_model(workdir / 'checkpoints' / stage, network)
  front = networks.front(denoiser, description)
  return front.before(networks.inference_view(network))


def _check_options(options: Any, place: Place) -> None:
  for name, choices in _CHOICES.items():
    checks.choice(f'certify.{name}', options[name], choices)
  if not re.fullmatch(r'(\w[\w.+-]*)?', options.label):
    raise ValueError(
      'certify.label must be the name of a folder, of letters, digits and'
      f' _ . + -, not {options.label!r}'
    )
  if options.spread == 'votes' and place.count > processes.here().count:
    raise ValueError(
      "certify.spread = 'votes' takes processes of one run, which"
      ' --config.distributed or --coordinator_address start'
    )
  if options.seed < -1:
    raise ValueError(
      f'certify.seed must be -1 (a fresh one) or more, not {options.seed}'
    )


def _check_workdir(config: Any, workdir: pathlib.Path) -> None:
  """Raises SettingsMismatch if something else was trained there."""
  if (workdir / 'settings.json').exists():
    settings.verify(
      workdir / 'settings.json',
      {
        'data': data.identity(config.data.to_dict()),
        'sigmas': list(config.sigmas),
        'estimator_sigma': config.estimator_sigma,
        'model': {
          role: networks.identity(description)
          for role, description in config.model.to_dict().items()
        },
      },
    )


def _shown_radii(options: Any) -> Sequence[float]:
  """Radii of the progress bar: 0, and the middle one of the report."""
  if options.task == 'predict' or not options.radii:
    return (0.0,)
  return tuple({0.0: None, options.radii[len(options.radii) // 2]: None})
