"""What is guaranteed of a row that was computed again, in one sentence."""

from collections.abc import Mapping
from typing import Any

from dualrs_jax.verify.rules import OF_CASCADES


def of(settings: Mapping[str, Any]) -> str:
  """The guarantee of each row of a run.

  Args:
    settings: Those of the run, of a method that is known.
  """
  whose = settings['smoothing']
  if settings['certificate'] in OF_CASCADES:
    whose = 'dual cascades'
  claim = f'{_SUBJECTS[whose]} answers with the class of the row'
  claim = claim.format_map({**settings, 'levels': _levels(settings)})
  if settings['task'] == 'certify':
    claim += (
      ' at the image and at every image whose l2 distance to it is below the'
      ' radius of the row'
    )
  else:
    claim += ' at the image; no distance is certified'
  text = (
    'of each row by itself, with probability at least 1 -'
    f' {settings["alpha"]:g} over the noise: {claim}, if it names a class'
  )
  if settings.get('protocol') == 'open':
    text += '; this holds of all rows of the image together, whatever was the'
    text += ' reason for adding votes'
  return text


def _levels(settings: Mapping[str, Any]) -> str:
  largest_first = sorted(settings['sigmas'], reverse=True)
  return ', '.join(f'{sigma:g}' for sigma in largest_first)


#: Whose answer it is.
_SUBJECTS = {
  'dual': (
    'the dual smoothed classifier, whose noise level of {levels} the smoothed'
    ' estimator selects at every image,'
  ),
  'dual cascades': (
    'the cascade of the classifiers smoothed at sigma = {levels}, from the one'
    ' that the smoothed estimator selects at every image down, of which the'
    ' first with a majority answers, and the smallest where none has one,'
  ),
  'single': 'the classifier that is smoothed at sigma = {levels}',
  'cascade': (
    'the cascade of the classifiers smoothed at sigma = {levels}, of which the'
    ' first with a majority answers, and the smallest where none has one,'
  ),
  'distance': (
    'the classifier that is smoothed at every image with the level'
    ' {distance[base]:g} exp({distance[rate]:g} (d - {distance[centre]:g})),'
    ' where d is the mean distance to the {distance[neighbours]} nearest'
    ' training images, which are part of it,'
  ),
}
