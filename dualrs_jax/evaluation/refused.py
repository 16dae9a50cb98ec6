"""Which options of a certification fit, and which are refused."""

import math
import re
from typing import Any

from dualrs_jax import networks, plans
from dualrs_jax.evaluation import distances, noises, run_plans
from dualrs_jax.runtime import processes, settings
from dualrs_jax.runtime.processes import Place
from dualrs_jax.training import checks

_CHOICES = {
  'task': ('certify', 'predict'),
  'smoothing': ('dual', 'single', 'cascade', 'distance'),
  'protocol': ('adaptive', 'open', 'fixed', 'paper'),
  'goal': plans.GOALS,
  'noise': ('auto', *noises.NAMES),
  'certificate': tuple(run_plans.RULES),
  'spread': ('images', 'votes'),
}

#: File systems allow names of 255; stages and levels are added to a label.
_LONGEST_LABEL = 150


def check(config: Any, place: Place) -> None:
  """Raises ValueError, in one sentence, for options that do not fit.

  What is made of options is checked by making it, see `preparation`.

  Args:
    config: The configuration.
    place: Which one of how many processes this is.
  """
  check_choices(config)
  options = config.certify
  if options.levels:
    _check_levels(config)
  if options.smoothing == 'cascade':
    _check_cascade(options)
  if options.smoothing == 'dual' and options.task == 'predict':
    _check_dual_prediction(options)
  if options.smoothing == 'distance':
    _check_distance(config, place)
  if not re.fullmatch(r'(\w[\w.+-]*)?(?<!\.json)', options.label):
    raise ValueError(
      'certify.label must be the name of a folder, of letters, digits and'
      f' _ . + -, and not of a .json file, not {options.label!r}'
    )
  if len(options.label.encode()) > _LONGEST_LABEL:
    raise ValueError(
      f'certify.label has at most {_LONGEST_LABEL} bytes, not the'
      f' {len(options.label.encode())} of {options.label!r}'
    )
  wrong = [radius for radius in options.radii if not _is_radius(radius)]
  if wrong:
    raise ValueError(
      f'certify.radii must be numbers from 0 on, unlike {wrong[0]!r}'
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
  if 'functions' in config.model.classifier:
    _check_functions(options)
  if options.chunk_size < 0:
    raise ValueError(
      'certify.chunk_size must be at least 1, or 0 to let the memory decide,'
      f' not {options.chunk_size}'
    )


def _check_functions(options: Any) -> None:
  """Raises ValueError for what host classifiers do not do."""
  if not options.chunk_size:
    raise ValueError(
      'model.classifier.functions are called with batches of one size, and'
      ' nothing tells how much memory they take: certify.chunk_size must be at'
      ' least 1'
    )
  if options.spread == 'votes':
    raise ValueError(
      'model.classifier.functions vote in one process: certify.spread ='
      " 'images' shares the images out"
    )


def _check_levels(config: Any) -> None:
  """Raises ValueError for levels that a certification cannot be confined to."""
  options = config.certify
  levels = tuple(options.levels)
  if options.smoothing not in ('single', 'cascade'):
    raise ValueError(
      'certify.levels confines plain smoothing and cascades; choose'
      " certify.smoothing = 'single' or 'cascade' in place of"
      f' {options.smoothing!r}'
    )
  alone = [sigma for sigma in levels if sigma not in config.sigmas]
  if alone:
    raise ValueError(
      f'certify.levels must be among sigmas = {tuple(config.sigmas)}, unlike'
      f' {alone[0]!r}'
    )
  if len({*levels}) < len(levels):
    raise ValueError(f'certify.levels has a level twice: {levels}')
  if options.smoothing == 'cascade' and len(levels) == 1:
    raise ValueError(
      'a cascade of one level is plain smoothing; choose certify.smoothing ='
      f" 'single', or more of certify.levels than {levels}"
    )


def _check_dual_prediction(options: Any) -> None:
  """Raises ValueError where another classifier would be what predicts."""
  rule = run_plans.RULES[options.certificate]
  if rule.falls_back and options.protocol == 'fixed':
    raise ValueError(
      f"certify.certificate = '{rule.name}' predicts adaptively alone, as it"
      ' chooses levels by votes of their own; choose certify.protocol ='
      f" 'adaptive' in place of {options.protocol!r}"
    )


def _check_cascade(options: Any) -> None:
  """Raises ValueError for what a cascade of noise levels does not have."""
  if options.task == 'predict' and options.protocol in ('adaptive', 'open'):
    raise ValueError(
      "certify.smoothing = 'cascade' predicts from n votes alone; choose"
      f" certify.protocol = 'fixed' in place of {options.protocol!r}"
    )
  if options.protocol == 'open':
    raise ValueError(
      "certify.smoothing = 'cascade' has no bounds to which votes can be added;"
      " choose certify.protocol = 'adaptive' or 'fixed' in place of 'open'"
    )
  if tolerant(options):
    raise ValueError(
      "certify.smoothing = 'cascade' has no tolerance; choose"
      f' certify.tolerance = 0 in place of {options.tolerance!r}'
    )


def _check_distance(config: Any, place: Place) -> None:
  """Raises ValueError for what a level that follows a distance has not."""
  options = config.certify
  if options.protocol in ('adaptive', 'open'):
    raise ValueError(
      "certify.smoothing = 'distance' casts a fixed number of votes; choose"
      f" certify.protocol = 'fixed' in place of {options.protocol!r}"
    )
  if options.noise not in ('auto', 'gaussian'):
    raise ValueError(
      "certify.smoothing = 'distance' has a level for each image, where only"
      " gaussian noise is drawn at any; choose certify.noise = 'gaussian' in"
      f' place of {options.noise!r}'
    )
  if networks.experts(config.model.classifier.to_dict()):
    raise ValueError(
      "certify.smoothing = 'distance' has levels for which there is no expert;"
      " choose certify.smoothing = 'single', or a classifier for all levels"
    )
  if options.spread == 'votes' and place.count > 1:
    raise ValueError(
      "certify.smoothing = 'distance' shares images out, not votes; choose"
      " certify.spread = 'images'"
    )
  try:
    distances.level({'distance': options.distance.to_dict()})
  except ValueError as error:
    raise ValueError(f'certify.distance: {error}') from error


def _is_radius(value: Any) -> bool:
  number = isinstance(value, int | float) and not isinstance(value, bool)
  return number and 0 <= value < math.inf


def check_choices(config: Any) -> None:
  """Raises ValueError for an option that is none of its choices."""
  for name, choices in _CHOICES.items():
    checks.choice(f'certify.{name}', config.certify[name], choices)


def check_baselines(config: Any) -> None:
  """Raises ValueError unless the levels of baselines are among `sigmas`."""
  alone = [sigma for sigma in config.baselines if sigma not in config.sigmas]
  if alone:
    raise ValueError(
      'baselines are certified at their levels, which must be among sigmas ='
      f' {tuple(config.sigmas)}, unlike {alone[0]!r}'
    )


def tolerant(options: Any) -> bool:
  """Whether a tolerance says anything."""
  certifies = options.task == 'certify' and options.goal == 'full'
  adaptive = options.protocol in ('adaptive', 'open')
  return bool(certifies and adaptive and options.tolerance)


def with_advice(error: settings.SettingsMismatch) -> settings.SettingsMismatch:
  """A refusal of rows of other settings, with what can be done."""
  return settings.SettingsMismatch(
    f'{error}; choose another --config.certify.label or --workdir'
  )
