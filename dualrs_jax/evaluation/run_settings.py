"""What certifications a configuration asks for: settings, names, images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from dualrs_jax import data, networks
from dualrs_jax.data import Source
from dualrs_jax.evaluation import refused

#: The statistics of Sun et al. (2026), which `protocol='paper'` stands for.
_PAPER = {'n0': 100, 'n': 10_000, 'alpha': 0.001}


def runs(config: Any) -> list[dict[str, Any]]:
  """The settings of each certification that `config.certify` asks for.

  Raises:
    ValueError: If a classifier was trained at a level that is not among those
      asked for.
  """
  options, model = config.certify, _model(config)
  common = _common(config)
  if options.smoothing == 'dual':
    certificate = options.certificate
    if options.protocol == 'paper':
      certificate = 'paper'
    return [
      common
      | {
        'certificate': certificate if _selects(options) else None,
        'sigmas': list(config.sigmas),
        'estimator_sigma': config.estimator_sigma,
        'stages': {
          'classifier': classifier_stage(config),
          'estimator': estimator_stage(config),
        },
        'model': model,
      }
    ]
  levels = _levels(config)
  experts = networks.experts(model['classifier'])
  if options.smoothing == 'cascade':
    cascade = _of_classifier(config, model, [sigma for _, sigma in levels])
    if experts and len(levels) < len(config.sigmas):
      cascade['experts'] = [number for number, _ in levels]
    return [common | cascade]
  if options.smoothing == 'distance':
    distance = options.distance.to_dict()
    level = _of_classifier(config, model, [distance['base']], distance=distance)
    return [common | level]
  classifier = classifier_stage(config)
  levels = [
    (number, sigma)
    for number, sigma in levels
    if not classifier.startswith('single-')
    or classifier.removesuffix('-0') == f'single-{sigma:g}'
  ]
  if not levels:
    raise ValueError(
      f'certify.classifier = {classifier!r} was trained at a noise level that'
      f' is not among {"certify.levels" if options.levels else "sigmas"} ='
      f' {tuple(options.levels or config.sigmas)}'
    )
  return [
    common
    | _of_classifier(config, model, [sigma])
    | ({'expert': number} if experts else {})
    for number, sigma in levels
  ]


def _levels(config: Any) -> list[tuple[int, float]]:
  """The noise levels of `certify.levels`, or all, by their number."""
  asked = config.certify.levels or config.sigmas
  return [level for level in enumerate(config.sigmas) if level[1] in asked]


def _common(config: Any) -> dict[str, Any]:
  """The settings that all certifications of a configuration share."""
  options = config.certify
  adaptive = _is_adaptive(options)
  goal = options.goal if adaptive else None
  radii = list(options.radii) if goal in ('radius', 'grid') else []
  if adaptive and options.task == 'predict':  # to certify the image alone
    goal, radii = 'radius', [0.0]
  noise = options.noise
  if noise == 'auto':
    noise = 'lattice' if adaptive else 'gaussian'
  paper = options.protocol == 'paper'
  statistics = _PAPER if paper else {name: options[name] for name in _PAPER}
  common = {
    'task': options.task,
    'smoothing': options.smoothing,
    **statistics,
    **({} if _selects(options) else {'n0': None}),
    'goal': goal,
    'radii': radii,
    # What other runs do not record, so that theirs can go on.
    **({'protocol': 'open'} if options.protocol == 'open' else {}),
    **({'tolerance': options.tolerance} if refused.tolerant(options) else {}),
    'noise': noise,
    'data': data.identity(config.data.to_dict()),
    'split': options.split,
  }
  sources = networks.sources(config.model.to_dict())
  if options.smoothing == 'single':
    sources.pop('estimator', None)
  if sources:  # rows of two networks are no table
    common['sources'] = sources
  return common


def _is_adaptive(options: Any) -> bool:
  """Whether votes are cast until a question is decided."""
  return options.protocol in ('adaptive', 'open')


def _selects(options: Any) -> bool:
  """Whether there are selection votes."""
  return options.task == 'certify' or _is_adaptive(options)


def _of_classifier(
  config: Any, model: Mapping[str, Any], sigmas: list[float], **level: Any
) -> dict[str, Any]:
  """The settings of a certification that has no estimator.

  Args:
    config: The configuration.
    model: Its networks, by role.
    sigmas: The noise levels.
    **level: What else says how its level follows from the image.
  """
  return {
    'certificate': None,
    'sigmas': sigmas,
    'estimator_sigma': None,
    **level,
    'stages': {'classifier': classifier_stage(config), 'estimator': None},
    'model': {role: model[role] for role in ('denoiser', 'classifier')},
  }


def _model(config: Any) -> dict[str, Any]:
  """What results depend on of each network, by role."""
  return {
    role: networks.identity(description)
    for role, description in config.model.to_dict().items()
  }


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
  elif run['smoothing'] == 'cascade' and run['sigmas'] != list(config.sigmas):
    parts += [f'{sigma:g}' for sigma in run['sigmas']]
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
