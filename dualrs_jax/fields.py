"""The fields of a configuration, with the values that are usual.

A configuration consists of groups of fields. Each function here returns one
group; what is passed to it takes the place of the usual value, also inside a
group within the group:

    config.finetune = fields.finetune(steps=900, batch_size=256)
    config.estimator = fields.estimator(utility={'radii': (0.0, 0.5)})

so that a configuration says what is special about it. Fields of data sets are
in `data.OPTIONS`. What the fields mean is said where they are used: `training`
has the stages (`training.classifier`, `training.targets`, `training.losses`,
`training.state`), and the options of a certification are those of `certify.py`.
"""

from collections.abc import Mapping
from typing import Any

#: Of every stage that trains a network.
_STAGE: Mapping[str, Any] = {
  'steps': 0,
  'augmented': False,
  'batch_size': 128,
  'accumulate': 1,
  'copies': 2,
  'optimizer': 'adamw',
  'learning_rate': 2e-3,
  'schedule': 'cosine',
  'warmup_steps': 100,
  'weight_decay': 0.01,
  'gradient_clip': 1.0,
  'average': 0.998,
}

#: Of the stages that train the classifier.
_CLASSIFIER: Mapping[str, Any] = {
  **_STAGE,
  'count': 0,
  'divergence_per_sigma': 10.0,
  'divergence_of_neighbours': 0.0,
  'entropy': 0.1,
}

_ESTIMATOR: Mapping[str, Any] = {
  **_STAGE,
  'loss': 'certificate',
  'certificate': {
    'gain': 3.0,
    'temperature': 0.1,
    'imitation': 0.3,
    'rescue': 3.0,
    'divergence': 0.0,
    'entropy': 0.0,
  },
  'paper': {
    'temperature': 1.0,
    'divergence': 40.0,
    'entropy': 0.5,
    'reach': 'strong',
  },
  'utility': {
    'name': 'report',
    'radii': (),
    'weights': 'balanced',
    'width': 0.1,
  },
}

#: n is how many votes a certification to come is taken to have; 0 for those of
#: `certify.n`. `of` is what a radius is of: 'levels', each on its own, or
#: 'cascades' that start at each, for the certificate 'fallback'.
_TARGETS: Mapping[str, Any] = {
  'of': 'levels',
  'count': 0,
  'votes': 64,
  'chunk_size': 64,
  'shard_size': 500,
  'n': 0,
  'alpha': 0.001,
}

_CHECKPOINT: Mapping[str, Any] = {
  'every_steps': 250,
  'evaluate_steps': 250,
  'keep': 2,
  'metrics_steps': 50,
}

_CERTIFY: Mapping[str, Any] = {
  'task': 'certify',
  'smoothing': 'dual',
  'protocol': 'adaptive',
  'goal': 'grid',
  'tolerance': 0.0,
  'distance': {
    'base': 0.5,
    'rate': 0.01,
    'centre': 3.3,
    'neighbours': 20,
  },
  'noise': 'auto',
  'certificate': 'agreement',
  'levels': (),
  'classifier': '',
  'estimator': '',
  'label': '',
  'split': 'test',
  'start': 0,
  'stride': 1,
  'count': 0,
  'n0': 100,
  'n': 10_000,
  'alpha': 0.001,
  'chunk_size': 0,
  'spread': 'images',
  'radii': (),
  'seed': -1,
}


def run(**changes: Any) -> dict[str, Any]:
  """The fields that are in no group; `name`, `sigmas` have to be given.

  Raises:
    ValueError: a name that is no field, here and in all groups.
  """
  usual = {
    'name': '',
    'sigmas': (),
    'estimator_sigma': 0.5,
    'seed': 0,
    'rounds': 1,
    'baselines': (),
    'workers': 0,
    'distributed': '',
  }
  return _changed('', usual, changes)


def classifier(**changes: Any) -> dict[str, Any]:
  """The training of the classifier, at all levels by their `shares`."""
  return _changed('classifier', {**_CLASSIFIER, 'shares': ()}, changes)


def targets(**changes: Any) -> dict[str, Any]:
  """The radius targets, from votes of the classifier on training images."""
  return _changed('targets', _TARGETS, changes)


def estimator(**changes: Any) -> dict[str, Any]:
  """The training of the estimator; `utility.radii` have to be given."""
  usual = {**_ESTIMATOR, 'copies': 4, 'warmup_steps': 80, 'average': 0.99}
  return _changed('estimator', usual, changes)


def finetune(**changes: Any) -> dict[str, Any]:
  """The training of the classifier at the levels that the estimator selects."""
  return _changed('finetune', {**_CLASSIFIER, 'explored': 0.15}, changes)


def checkpoint(**changes: Any) -> dict[str, Any]:
  """How often a stage saves, evaluates and says what it does."""
  return _changed('checkpoint', _CHECKPOINT, changes)


def certify(**changes: Any) -> dict[str, Any]:
  """What is certified, and how; `radii` have to be given."""
  return _changed('certify', _CERTIFY, changes)


def _changed(
  group: str, usual: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
  """The usual values with some changed; nothing is shared with `usual`."""
  unknown = sorted(changes.keys() - usual.keys())
  if unknown:
    raise ValueError(
      f'{group or "a configuration"} has no field {", ".join(unknown)};'
      f' its fields are {", ".join(usual)}'
    )
  return {
    name: _changed(f'{group}.{name}', value, changes.get(name, {}))
    if isinstance(value, Mapping)
    else changes.get(name, value)
    for name, value in usual.items()
  }
