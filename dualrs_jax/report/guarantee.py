"""What a row claims, in one sentence, by the method of the run.

A method that is not known here gets no sentence, and the page says so: a
guarantee in other words than its own may be too strong.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dualrs_jax.evaluation import run_plans


class Guarantee(NamedTuple):
  """A claim and how to read it.

  Attributes:
    sentence: The claim of a row.
    notes: What it does not say, and what it rests on, a sentence each.
    known: Whether there is a claim; otherwise `sentence` says why not.
  """

  sentence: str
  notes: tuple[str, ...]
  known: bool


#: What else holds under a composition rule.
_RULES = {
  'agreement': (
    'The noise level may change within that distance where the answer does'
    ' not: the level itself is certified only within the estimator’s radius,'
    ' with probability 1 − 0.75α, and not jointly with the answer.'
  ),
  'fallback': (
    'The level that is selected, and the one that answers, may change within'
    ' that distance where the answer does not.'
  ),
  'minimum': (
    'The radius of each stage holds with probability 1 − α by itself, not'
    ' jointly with that of the other.'
  ),
  'paper': (
    'The radii of both stages and the noise level hold jointly with it: each'
    ' stage has half of α.'
  ),
}

#: What else holds of a method without an estimator.
_OTHERS = {
  'cascade': (
    'The level may change within that distance: the claim is that none of the'
    ' levels up to this one answers another class, and that this one keeps'
    ' its own.'
  ),
  'distance': (
    'δ is the mean distance to the {neighbours} nearest training images. They'
    ' are part of the classifier, and have to be kept with it.'
  ),
}

_GOALS = {
  None: 'The radius is what n votes give.',
  'full': 'The radius is what up to n votes give.',
  'grid': (
    'The radius is the largest of {radii} that was certified. It is no'
    ' measurement: larger ones were not refuted, and between them nothing was'
    ' asked.'
  ),
  'radius': (
    'Only the radius {radii} was asked for: an image that was given up was not'
    ' certified there, and its class may be beyond doubt.'
  ),
}

_NOISES = {
  'lattice': (
    'The noise is drawn exactly, in integers; what its law takes of α is'
    ' subtracted.'
  ),
  'gaussian': (
    'The noise is drawn in floating point, and taken to be exactly normal.'
  ),
  'published': (
    'The noise is that of a diffusion step: a little above σ, for which the'
    ' claim is made.'
  ),
}


def of(settings: Mapping[str, Any]) -> Guarantee:
  """The guarantee of a run.

  Args:
    settings: What its settings file records.

  Example:
    >>> known = {
    ...   'task': 'predict',
    ...   'smoothing': 'single',
    ...   'goal': None,
    ...   'certificate': None,
    ...   'noise': 'gaussian',
    ...   'alpha': 0.001,
    ...   'sigmas': [0.5],
    ... }
    >>> of(known).known, of({**known, 'smoothing': 'triple'}).known
    (True, False)
  """
  strange = unknown(settings)
  if strange:
    return Guarantee(
      f'No guarantee is stated here: this page does not know {strange}. The'
      ' documentation of that method has its guarantee.',
      (),
      known=False,
    )
  statement = _prediction if settings['task'] == 'predict' else _certificate
  noise = f'{_NOISES[settings["noise"]]} '
  sentence, notes = statement(settings)
  common = (
    'Each row holds by itself: of N rows, at most αN are expected to be wrong.',
    noise + 'What else a claim rests on is in the documentation of dualrs_jax,'
    ' on the pages Theory (section 6) and Adaptive certification (section 9).',
  )
  return Guarantee(sentence, (*notes, *common), known=True)


def unknown(settings: Mapping[str, Any]) -> str:
  """The options of a run that this page does not know, as text; or nothing."""
  choices: dict[str, tuple[Any, ...]] = {
    'task': ('certify', 'predict'),
    'smoothing': ('dual', 'single', *_OTHERS),
    'goal': tuple(_GOALS),
    'certificate': (None, *_RULES),
    'noise': tuple(_NOISES),
  }
  strange = [
    f'{name} = {settings.get(name)!r}'
    for name, known in choices.items()
    if settings.get(name) not in known
  ]
  # An adaptive prediction is a certificate at radius 0, by a rule.
  decides = settings.get('task') == 'certify' or settings.get('goal')
  dual = settings.get('smoothing') == 'dual' and bool(decides)
  if not strange and dual != (settings.get('certificate') in _RULES):
    strange = [f'certificate = {settings.get("certificate")!r} there']
  return ' and '.join(strange)


def rule(settings: Mapping[str, Any]) -> Any:
  """The composition rule of a run; that of one level in plain smoothing.

  Returns:
    None for a method that is not known here, or is none of such a rule.
  """
  other = settings['smoothing'] in _OTHERS
  if unknown(settings) or other or settings['task'] == 'predict':
    return None
  found = run_plans.RULES[settings['certificate'] or 'minimum']
  return None if found.falls_back else found


def _certificate(settings: Mapping[str, Any]) -> tuple[str, list[str]]:
  sentence = (
    f'With probability at least 1 − α = {1 - settings["alpha"]:g} over the'
    f' noise, {_subject(settings)} gives the answer of the row at every point'
    ' that is closer to the image than the row’s radius, in ℓ₂ distance, where'
    ' pixels lie in [0, 1].'
  )
  radii = ', '.join(f'{radius:g}' for radius in settings['radii'])
  notes = [
    'An image without an answer was given up: nothing is claimed of it. A'
    ' radius of 0 claims the answer at the image itself.',
    _GOALS[settings['goal']].format(radii=radii),
  ]
  if settings['smoothing'] == 'dual' and len(settings['sigmas']) > 1:
    notes.append(_RULES[settings['certificate']])
  if settings['smoothing'] in _OTHERS:
    facts = settings.get('distance', {})
    notes.append(_OTHERS[settings['smoothing']].format(**facts))
  return sentence, notes


def _prediction(settings: Mapping[str, Any]) -> tuple[str, list[str]]:
  sentence = (
    f'With probability at least 1 − α = {1 - settings["alpha"]:g} over the'
    f' noise, the answer of a row is that of {_subject(settings)} at the image;'
    ' no distance is certified.'
  )
  return sentence, ['An image without an answer was given up.']


def _subject(settings: Mapping[str, Any]) -> str:
  if settings['smoothing'] == 'dual':
    rule = run_plans.RULES.get(settings['certificate'])
    if rule is not None and rule.falls_back:
      return (
        'the cascade of the smoothed classifiers from the level that the'
        ' smoothed estimator selects down, of which the first with a majority'
        ' answers, and the smallest where none has one,'
      )
    return 'the dual smoothed classifier'
  if settings['smoothing'] == 'cascade':
    levels = ', '.join(
      f'{sigma:g}' for sigma in sorted(settings['sigmas'], reverse=True)
    )
    return (
      f'the cascade of the smoothed classifiers at σ = {levels}, of which the'
      ' first with a majority answers, and the smallest where none has one,'
    )
  if settings['smoothing'] == 'distance':
    level = settings['distance']
    return (
      'the classifier that is smoothed at every point with a level of its own,'
      f' σ = {level["base"]:g} exp({level["rate"]:g} (δ −'
      f' {level["centre"]:g})),'
    )
  return f'the classifier smoothed at σ = {settings["sigmas"][0]:g}'
