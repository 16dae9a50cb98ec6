"""Sentences on what was checked of a result, and what was not."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any


def of(
  settings: Mapping[str, Any],
  missing: Sequence[int],
  asked: Sequence[int],
  beyond: Collection[int],
) -> Iterator[str]:
  """The sentences.

  Args:
    settings: Those of the run.
    missing: Images that were asked for last and have no row.
    asked: Those that were asked for last.
    beyond: Images with a row that were not asked for.
  """
  method = f'{settings["smoothing"]} smoothing, {settings["task"]}'
  if settings['certificate']:
    method += f', rule {settings["certificate"]}'
  yield f'{method}, {_votes(settings)}, alpha = {settings["alpha"]:g}'
  yield (
    'checked from the counts: levels, classes, radii, abstentions and their'
    ' reasons, numbers of votes'
  )
  if settings['noise'] == 'lattice':
    yield (
      f'taken as recorded: noise_alpha = {settings["noise_alpha"]:.3g}, which'
      ' the noise takes of alpha'
    )
  if settings['smoothing'] == 'distance':
    yield (
      'taken as recorded: the distance of each image to the training images,'
      ' of which its noise level was computed again'
    )
  yield (
    'not checked, as no counts show it: that the votes are those of the'
    ' networks, the images and the noise of the settings'
  )
  yield (
    f'taken as recorded: which images were asked for, {_images(asked)}; whoever'
    ' has the data set can tell whether that is the split that is spoken of'
    if asked
    else 'not recorded: which images were asked for'
  )
  if missing:
    yield (
      f'PARTIAL: {len(missing)} of the {len(asked)} images asked for last have'
      f' no row, the first of them {missing[0]}'
    )
  if beyond:
    yield (
      f'{len(beyond)} rows are of images that were not asked for last: checked,'
      ' and not counted'
    )


def _images(asked: Sequence[int]) -> str:
  """How many and which, in short."""
  text = f'{len(asked)} from {min(asked)} to {max(asked)}'
  steps = {after - one for one, after in itertools.pairwise(asked)}
  return f'{text} in steps of {min(steps)}' if len(steps) == 1 else text


def _votes(settings: Mapping[str, Any]) -> str:
  if settings.get('protocol') == 'open':
    text = f'votes that can be added to, n = {settings["n"]:,} asked for last'
  else:
    text = f'n = {settings["n"]:,}'
  if settings['goal'] and settings['task'] == 'certify':
    text += f' (goal {settings["goal"]})'
  elif settings['goal']:
    text += ' (until it is decided)'
  if 'tolerance' in settings:
    text += f' to a tolerance of {settings["tolerance"]:g}'
  return text
