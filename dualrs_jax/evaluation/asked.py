"""What certifications a configuration asks for: settings, names, images."""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from dualrs_jax import confidence, data, networks, plans
from dualrs_jax.data import Source
from dualrs_jax.evaluation import casting, distances, verdicts
from dualrs_jax.runtime import processes
from dualrs_jax.runtime.processes import Place
from dualrs_jax.training import checks

logger = logging.getLogger(__name__)

_CHOICES = {
  'task': ('certify', 'predict'),
  'smoothing': ('dual', 'single', 'cascade', 'distance'),
  'protocol': ('adaptive', 'open', 'fixed', 'paper'),
  'goal': plans.GOALS,
  'noise': ('auto', *casting.NOISES),
  'certificate': tuple(verdicts.RULES),
  'spread': ('images', 'votes'),
}

#: File systems allow names of 255; stages and levels are added to a label.
_LONGEST_LABEL = 150

#: The statistics of Sun et al. (2026), which `protocol='paper'` stands for.
_PAPER = {'n0': 100, 'n': 10_000, 'alpha': 0.001}


def check(config: Any, place: Place) -> None:
  """Raises ValueError, in one sentence, for options that do not fit.

  What is made of options is checked by making it, see `preparation`.

  Args:
    config: The configuration.
    place: Which one of how many processes this is.
  """
  check_choices(config)
  options = config.certify
  if options.smoothing == 'cascade':
    _check_cascade(options)
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


def _check_cascade(options: Any) -> None:
  """Raises ValueError for what a cascade of noise levels does not have."""
  if options.protocol == 'open':
    raise ValueError(
      "certify.smoothing = 'cascade' has no bounds to which votes can be added;"
      " choose certify.protocol = 'adaptive' or 'fixed' in place of 'open'"
    )
  if options.task == 'predict' and options.protocol == 'adaptive':
    raise ValueError(
      "certify.smoothing = 'cascade' predicts from n votes alone; choose"
      " certify.protocol = 'fixed' in place of 'adaptive'"
    )
  if _tolerant(options):
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
  if 'experts' in config.model.classifier:
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


def radius_cap(config: Any, run: Mapping[str, Any]) -> float | None:
  """The largest radius that the estimator's noise allows, where that is felt.

  Args:
    config: The configuration.
    run: The settings of its dual certification, as `preparation` left them.

  Returns:
    In pixel units: what n unanimous votes of the estimator give. None if the
    classifier's own radius is limited to that or less, or if no radius beyond
    it is asked for.
  """
  if len(config.sigmas) == 1 or config.estimator_sigma >= max(config.sigmas):
    return None
  if run['goal'] is None:
    keeps = verdicts.RULES[run['certificate']].keeps
    part = keeps * verdicts.statistical_alpha(run)
    best = confidence.lower_z(run['n'], part)[run['n']]
  else:
    best = verdicts.plan(run).keeps.best
  cap = float(config.estimator_sigma * best)
  radii = config.certify.radii
  decided = radii if run['goal'] in ('radius', 'grid') else [math.inf]
  return cap if cap < max(decided) else None


def warn_of_radius_cap(config: Any, run: Mapping[str, Any]) -> None:
  """Warns where the estimator's noise limits the radius, with the number."""
  dual = run['smoothing'] == 'dual' and run['task'] == 'certify'
  cap = radius_cap(config, run) if dual else None
  if cap is not None:
    logger.warning(
      'estimator_sigma %g is below the largest of sigmas, %g: the radius within'
      ' which the estimator keeps its choice is at most %.3f (n = %d)',
      config.estimator_sigma,
      max(config.sigmas),
      cap,
      run['n'],
    )


def runs(config: Any) -> list[dict[str, Any]]:
  """The settings of each certification that `config.certify` asks for.

  Raises:
    ValueError: If a classifier was trained at a level that is not in `sigmas`.
  """
  options = config.certify
  classifier, estimator = classifier_stage(config), estimator_stage(config)
  paper = options.protocol == 'paper'
  adaptive = options.protocol in ('adaptive', 'open')
  goal = options.goal if adaptive else None
  radii = list(options.radii) if goal in ('radius', 'grid') else []
  selects = options.task == 'certify' or adaptive
  if adaptive and options.task == 'predict':  # to certify the image alone
    goal, radii = 'radius', [0.0]
  noise = options.noise
  if noise == 'auto':
    noise = 'lattice' if adaptive else 'gaussian'
  statistics = _PAPER if paper else {name: options[name] for name in _PAPER}
  common = {
    'task': options.task,
    'smoothing': options.smoothing,
    **statistics,
    **({} if selects else {'n0': None}),
    'goal': goal,
    'radii': radii,
    # What other runs do not record, so that theirs can go on.
    **({'protocol': 'open'} if options.protocol == 'open' else {}),
    **({'tolerance': options.tolerance} if _tolerant(options) else {}),
    'noise': noise,
    'data': data.identity(config.data.to_dict()),
    'split': options.split,
  }
  model = {
    role: networks.identity(description)
    for role, description in config.model.to_dict().items()
  }
  sources = networks.sources(config.model.to_dict())
  if options.smoothing == 'single':
    sources.pop('estimator', None)
  if sources:  # rows of two networks are no table
    common['sources'] = sources
  if options.smoothing == 'dual':
    certificate = 'paper' if paper else options.certificate
    return [
      common
      | {
        'certificate': certificate if selects else None,
        'sigmas': list(config.sigmas),
        'estimator_sigma': config.estimator_sigma,
        'stages': {'classifier': classifier, 'estimator': estimator},
        'model': model,
      }
    ]
  if options.smoothing == 'cascade':
    return [
      common
      | {
        'certificate': None,
        'sigmas': list(config.sigmas),
        'estimator_sigma': None,
        'stages': {'classifier': classifier, 'estimator': None},
        'model': {role: model[role] for role in ('denoiser', 'classifier')},
      }
    ]
  if options.smoothing == 'distance':
    return [
      common
      | {
        'certificate': None,
        'sigmas': [options.distance.base],
        'estimator_sigma': None,
        'distance': options.distance.to_dict(),
        'stages': {'classifier': classifier, 'estimator': None},
        'model': {role: model[role] for role in ('denoiser', 'classifier')},
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
    | ({'expert': number} if networks.experts(model['classifier']) else {})
    for number, sigma in levels
  ]


def _tolerant(options: Any) -> bool:
  """Whether a tolerance says anything."""
  certifies = options.task == 'certify' and options.goal == 'full'
  adaptive = options.protocol in ('adaptive', 'open')
  return bool(certifies and adaptive and options.tolerance)


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
  elif config.certify.protocol == 'open':
    parts.append('open')
  elif run['goal'] is None and run['task'] == 'certify':
    parts.append('fixed')
  elif run['goal'] is not None and run['task'] == 'predict':
    parts.append('adaptive')
  if run['task'] == 'certify' and run['goal'] == 'radius':
    parts.append(f'radius-{run["radii"][0]:g}')
  elif run['goal'] == 'full':
    parts.append('full')
    parts += [f'within-{run["tolerance"]:g}'] if 'tolerance' in run else []
  if run['split'] != 'test':
    parts.append(run['split'])
  return parts


def _level(run: Mapping[str, Any]) -> str:
  """The noise level of plain smoothing, and whose it is."""
  level = f'{run["sigmas"][0]:g}'
  return f'{level}-expert-{run["expert"]}' if 'expert' in run else level


def classifier_stage(config: Any) -> str:
  """The stage whose classifier is certified."""
  return config.certify.classifier or f'classifier-{config.rounds}'


def estimator_stage(config: Any) -> str:
  """The stage whose estimator selects."""
  return config.certify.estimator or f'estimator-{config.rounds}'


def positions(config: Any, source: Source) -> Int[np.ndarray, ' chosen']:
  """Positions of the images that `config.certify` is about."""
  options = config.certify
  return subset(
    len(source),
    start=options.start,
    stride=options.stride,
    count=options.count,
  )


def warn_of_classes(
  source: Source, positions: Int[np.ndarray, ' chosen']
) -> None:
  """Warns where few of the classes are among images that could be of all.

  Args:
    source: The images.
    positions: Which of them were asked for.
  """
  there = len(np.unique(source.labels))
  chosen = len(np.unique(source.labels[positions]))
  if chosen < there / 2 and len(positions) >= 2 * there:
    logger.warning(
      'the %d images asked for are of %d of the %d classes: what is found on'
      ' them is not the accuracy on the data set; certify.stride takes images'
      ' at equal distances',
      len(positions),
      chosen,
      there,
    )


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


def shown_radii(config: Any) -> Sequence[float]:
  """Radii of the progress bar: 0, and the middle one of the report."""
  options = config.certify
  if options.task == 'predict' or not options.radii:
    return (0.0,)
  return tuple({0.0: None, options.radii[len(options.radii) // 2]: None})
