"""What a trained run would certify on validation images, from few votes.

  python -m benchmarks.validation_ratios --config configs/cifar10.py:small \
    --workdir runs/cifar10-small --images 500 --votes 200

Choices are made on these images, so that test images are certified once. The
share of a few votes stands for each vote probability, and a radius is the one
that the configuration's n votes would be expected to give: no certificate.

The table has, at each of `certify.radii`, the share of images that are right
and reach it: of the dual under `agreement`, of every single level of the same
classifier, of every cascade of these levels (`certify.levels`), of the best
level for each image, chosen after the fact (`oracle`); then the ratios to the
best single level at each radius. What every constant choice has on average is
what an estimator has to beat. `by the level` is the
share of images that some level certifies and the one that was selected does
not; `by certainty` that which the selected level certifies and the dual does
not.
"""

import itertools
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jaxtyping import Float, Int
from ml_collections import config_flags

from dualrs_jax import confidence, data, majorities, voting
from dualrs_jax.composition import Bounds, agreement, compose, take, votes_for
from dualrs_jax.evaluation import run_inputs

#: Right and wrong votes that are added to each share: nothing is certain.
_SHRINKAGE = 0.02


class Flags(NamedTuple):
  """What is asked for on the command line, to be read by `value`."""

  config: Any
  workdir: Any
  images: Any
  votes: Any


def define_flags() -> Flags:
  """The flags of a program that compares on validation images."""
  return Flags(
    config_flags.DEFINE_config_file('config', None, 'Configuration.'),
    flags.DEFINE_string('workdir', None, 'Folder of the run.'),
    flags.DEFINE_integer('images', 500, 'Validation images.'),
    flags.DEFINE_integer('votes', 200, 'Votes per image and level.'),
  )


def folder(asked: Flags) -> pathlib.Path:
  """Of the run, where none is named that of the configuration."""
  config = asked.config.value
  return pathlib.Path(asked.workdir.value or f'runs/{config.name}')


class Votes(NamedTuple):
  """The votes on some images, and their classes.

  Attributes:
    labels: The true classes.
    estimator: Votes for each level.
    classifier: Votes for each class, at each level.
  """

  labels: Int[np.ndarray, ' images']
  estimator: Int[np.ndarray, 'images levels']
  classifier: Int[np.ndarray, 'images levels classes']


class Expected(NamedTuple):
  """Radii that are to be expected; not positive where the answer is wrong.

  Attributes:
    dual: Of the dual, under `agreement`.
    singles: Of every single level.
    selected: Of the selected level, were the choice certain.
    levels: The selected level of each image, as an index.
    cascades: Of every cascade, by the indices of its levels.
  """

  dual: Float[np.ndarray, ' images']
  singles: Float[np.ndarray, 'images levels']
  selected: Float[np.ndarray, ' images']
  levels: Int[np.ndarray, ' images']
  cascades: Mapping[tuple[int, ...], Float[np.ndarray, ' images']]


def spread(source: data.Source, most: int) -> data.Source:
  """Images at equal distances."""
  count = min(most, len(source))
  return source.take(np.arange(count) * len(source) // count)


def count(
  network: Any, source: data.Source, sigma: float, votes: int
) -> Int[np.ndarray, 'images classes']:
  """Casts the votes of a network at one level on each of some images."""
  images, _ = source.gather(np.arange(len(source)))
  return np.stack(
    [
      voting.count_votes(
        network,
        image=data.to_unit(jnp.asarray(image)),
        key=jax.random.fold_in(jax.random.key(1), index),
        sigma=sigma,
        n0=0,
        n=votes,
        chunk_size=votes,
      ).estimation
      for image, index in zip(images, source.indices, strict=True)
    ]
  )


def cast(config: Any, workdir: pathlib.Path, most: int, votes: int) -> Votes:
  """Casts the votes of a run on validation images at equal distances."""
  source = data.load(split='validation', **data.chosen(config.data.to_dict()))
  source = spread(source, most)
  networks: Any = run_inputs.load_networks(config, workdir, source)
  estimator, classifier = networks
  answers = [count(classifier, source, sigma, votes) for sigma in config.sigmas]
  return Votes(
    np.asarray(source.labels),
    count(estimator, source, config.estimator_sigma, votes),
    np.stack(answers, 1),
  )


def expected(config: Any, votes: Votes) -> Expected:
  """The radii that the configuration's n votes would be expected to give."""
  sigmas = np.asarray(config.sigmas)
  n, alpha = config.certify.n, config.certify.alpha

  def lower(counts, of, share):
    shrunk = (counts + _SHRINKAGE) / (of + 2 * _SHRINKAGE)
    return confidence.predicted_lower_z(shrunk, n, share * alpha)

  def right(answer, radius):
    return np.where(answer == votes.labels, radius, -np.inf)

  total = votes.estimator.sum(-1, keepdims=True)
  level = votes.estimator.argmax(-1)
  answers = votes.classifier.argmax(-1)
  answer = take(answers, level)
  agreeing = votes_for(votes.classifier, answer)
  cast = votes.classifier.sum(-1)
  radii = compose(
    Bounds(
      keeps=lower(take(votes.estimator, level), total[:, 0], agreement.keeps),
      avoids=lower(total - votes.estimator, total, agreement.avoids),
      selected=lower(take(agreeing, level), take(cast, level), 1.0),
      agrees=lower(agreeing, cast, agreement.agrees),
    ),
    level,
    sigmas,
    config.estimator_sigma,
  )
  singles = sigmas * lower(votes.classifier.max(-1), cast, 1.0)
  singles = np.where(answers == votes.labels[:, None], singles, -np.inf)
  return Expected(
    right(answer, radii.radius),
    singles,
    right(answer, radii.classifier),
    level,
    {
      of: right(*_cascade(votes.classifier[:, of], sigmas[[*of]], lower))
      for size in range(2, len(sigmas) + 1)
      for of in itertools.combinations(range(len(sigmas)), size)
    },
  )


def _cascade(counts, sigmas, lower):
  """What a cascade of some levels answers, and its radius.

  Half of the votes choose level and class, as far fewer do than bound; all of
  them bound, as at the single levels to which it is compared.
  """
  rng = np.random.default_rng(0)
  chosen_by = np.stack(
    [
      [rng.multivariate_hypergeometric(row, row.sum() // 2) for row in rows]
      for rows in counts
    ]
  )
  likely = majorities.likely_z(chosen_by, chosen_by.sum(-1))
  level, answer, _ = majorities.choose(likely, sigmas)
  of = counts.sum(-1, keepdims=True)
  bounds = majorities.Bounds(
    wins=lower(counts, of, 1.0), loses=lower(of - counts, of, 1.0)
  )
  return answer, np.minimum(*majorities.radii(bounds, level, answer, sigmas))


def reached(radius, at):
  """Whether a radius certifies at each of some radii, on a new last axis."""
  return (radius > 0)[..., None] & (radius[..., None] >= np.asarray(at))


def table(config: Any, found: Expected) -> str:
  """The table of the module's docstring, in Markdown."""
  radii = config.certify.radii
  singles = reached(found.singles, radii)
  envelope = singles.mean(0).max(0)
  best = reached(found.singles.max(-1), radii)
  selected = reached(found.selected, radii)
  dual = reached(found.dual, radii)
  shares = {'dual-agreement': dual.mean(0)}
  shares |= {
    f'single-{sigma:g}': share
    for sigma, share in zip(config.sigmas, singles.mean(0), strict=True)
  }
  shares |= {
    '-'.join(['cascade', *(f'{config.sigmas[k]:g}' for k in of)]): reached(
      radius, radii
    ).mean(0)
    for of, radius in found.cascades.items()
  }
  shares |= {'oracle': best.mean(0)}
  lost = {
    'lost by the level': (best & ~selected).mean(0),
    'lost by certainty': (selected & ~dual).mean(0),
  }
  counted = envelope > 0
  lines = [
    f'| %, {len(found.dual)} images | '
    + ' | '.join(f'r = {r:g}' for r in radii)
    + ' | mean |',
    '|---' * (len(radii) + 2) + '|',
  ]
  for name, share in (shares | lost).items():
    cells = [f'{100 * value:.1f}' for value in share]
    lines.append(f'| {name} | {" | ".join(cells)} | {100 * share.mean():.1f} |')
  for name, share in shares.items():
    ratios = share[counted] / envelope[counted]
    cells = [f'{value:.2f}' for value in ratios]
    cells += ['-'] * (len(radii) - len(ratios))
    lines.append(
      f'| {name} / best single | {" | ".join(cells)} | {ratios.mean():.3f} |'
    )
  chosen = np.bincount(found.levels, minlength=len(config.sigmas))
  lines.append('')
  lines.append(
    'levels selected: '
    + ', '.join(
      f'{sigma:g} for {share:.0%}'
      for sigma, share in zip(config.sigmas, chosen / chosen.sum(), strict=True)
    )
  )
  return '\n'.join(lines)


def run():
  asked = define_flags()

  def main(argv):
    del argv
    config = asked.config.value
    votes = cast(config, folder(asked), asked.images.value, asked.votes.value)
    print(table(config, expected(config, votes)))

  app.run(main)


if __name__ == '__main__':
  run()
