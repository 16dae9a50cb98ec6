"""The questions that a page answers first, and their answers in words."""

from dualrs_jax.report import findings, listing
from dualrs_jax.report.subject import Subject

#: Images that are named for each reason; fewer by their files, which are long.
_FIRST, _FIRST_FILES = 8, 2
_IF = 'if the shares of votes that were seen are the true ones'


def headline(subject: Subject) -> str:
  """What was certified, in one line."""
  settings = subject.settings
  method = settings['smoothing']
  if settings['certificate']:
    method += f', rule {settings["certificate"]}'
  up_to = '' if settings['goal'] is None else 'up to '
  return (
    f'{len(subject.rows):,} images of {settings["data"]["name"]}'
    f' ({settings["split"]}); {method}; {up_to}n = {settings["n"]:,} votes per'
    f' stage, α = {settings["alpha"]:g}'
  )


def progress(subject: Subject) -> str:
  """How far a run is; '' if all images have rows."""
  missing = findings.missing(subject)
  if not missing:
    return ''
  there, asked = len(subject.rows), subject.settings['images']
  mean = sum(row.time for row in subject.rows) / there
  late = (
    ''
    if subject.settings['goal'] is None
    else ' Images that take long are decided last, so these rows are no random'
    ' sample.'
  )
  return (
    f'PARTIAL: {there:,} of the {asked:,} images that were asked for have a row'
    f' ({100 * there / asked:.0f} %). At {mean:.2g} s per image the others take'
    f' about {duration(mean * missing)} on one process.{late} Reload the page'
    ' for news.'
  )


def certified(subject: Subject) -> str:
  """How many images are certified, at the radius in the middle."""
  if not subject.certifies:
    right = sum(row.correct for row in subject.rows)
    low, high = findings.interval(right, len(subject.rows))
    return (
      f'{right} of {len(subject.rows)} images are predicted rightly:'
      f' {100 * right / len(subject.rows):.1f} % [{low:.1f}, {high:.1f}]. No'
      ' radius was asked for.'
    )
  found = findings.at_radii(subject)
  middle = found[len(found) // 2]
  share = 100 * middle.right / len(subject.rows)
  return (
    f'At r = {middle.radius:g}, {middle.right} of {len(subject.rows)} images'
    f' are right and certified: {share:.1f} %'
    f' [{middle.low:.1f}, {middle.high:.1f}].'
    f' Certified there with a wrong answer: {middle.wrong or "none"}.'
  )


def given_up(subject: Subject) -> list[str]:
  """Which images were given up and why, a sentence for each reason."""
  groups = findings.given_up(subject)
  if not groups:
    return ['No image was given up.']
  lines, most = [], _FIRST_FILES if subject.files else _FIRST
  for group in groups:
    first = ', '.join(
      subject.files.get(idx, str(idx)) for idx in group.images[:most]
    )
    more = ', …' if len(group.images) > most else ''
    lines.append(
      f'{len(group.images)} of {len(subject.rows)}:'
      f' {listing.CAUSES.get(group.cause, group.cause)} (images {first}{more}).'
    )
  return lines


def more_votes(subject: Subject) -> list[str]:
  """Whether more votes would help, sentence by sentence."""
  if not subject.certifies:
    return ['This run predicts; it has no radii that more votes could raise.']
  if None in subject.terms:
    return [
      'This page cannot say what more votes would do under the method of the'
      ' run.'
    ]
  lines = [_gained(subject)]
  unlimited = findings.unlimited(subject)
  if unlimited:
    radii = subject.settings['radii']
    up_to = f', up to r = {radii[-1]:g}' if radii else ''
    lines.append(
      f'Of {_images(unlimited)} all votes agreed on the label: nothing in them'
      f' limits the radius, and more votes would go on helping{up_to}.'
    )
  lines += _lost(subject)
  lines.append(
    'These are estimates without confidence, and no certificates. The column'
    ' “radius with endless votes” has them image by image.'
  )
  return lines


def _gained(subject: Subject) -> str:
  """How many images endless votes would add: where most, and elsewhere."""
  found = findings.at_radii(subject)
  gains = [(at.endless or 0) - at.right for at in found]
  most = max(gains)
  if not most:
    radii = ', '.join(f'{at.radius:g}' for at in found)
    return (
      f'At no radius of {radii} would more images be right and certified with'
      f' endless votes, {_IF}.'
    )
  best = found[gains.index(most)]
  others = [
    f'{gain} at r = {at.radius:g}'
    for at, gain in zip(found, gains, strict=True)
    if at is not best
  ]
  elsewhere = f' Elsewhere: {", ".join(others)}.' if others else ''
  return (
    f'At r = {best.radius:g}: {_images(most)} more would be right and certified'
    f' with endless votes ({best.right} now, {best.endless} then),'
    f' {_IF}.{elsewhere}'
  )


def _lost(subject: Subject) -> list[str]:
  """What endless votes would do for the images that were given up."""
  groups = findings.given_up(subject)
  lost = sum(len(group.images) for group in groups)
  if not lost:
    return []
  helped = sum(group.helped or 0 for group in groups)
  unknown = sum(group.unknown for group in groups)
  verb = 'was' if lost == 1 else 'were'
  line = (
    f'Of the {_images(lost)} that {verb} given up, {helped} would get an answer'
  )
  hopeless = lost - helped - unknown
  if hopeless:
    line += (
      f'; for {hopeless} no number of votes suffices, as it is the networks'
      ' that are undecided'
    )
  if unknown:
    line += f'; of {unknown} it cannot be said, as a stage cast too few votes'
  return [f'{line}.']


def cost(subject: Subject) -> str:
  """What the run cost, beside a fixed number of votes."""
  found, settings = findings.cost(subject), subject.settings
  spent = found.estimator + found.classifier
  stages = 'estimator and classifier' if found.estimator else 'the classifier'
  text = (
    f'{spent:,.0f} votes per image on average ({found.estimator:,.0f} of the'
    f' estimator, {found.classifier:,.0f} of the classifier), and'
    f' {duration(found.seconds)} in all,'
    f' {found.seconds / len(subject.rows):.2g} s per image.'
  )
  if settings['goal'] is None:
    return text
  return (
    f'{text} A fixed n casts {found.fixed:,} for {stages} at the chosen level'
    f' alone, {found.fixed / spent:.1f} times as many: about'
    f' {duration(found.seconds_fixed)} at the same speed.'
  )


def duration(seconds: float) -> str:
  """A time in words.

  Example:
    >>> duration(5.0), duration(600.0), duration(10_000.0)
    ('5 s', '10 min', '2.8 h')
  """
  if seconds < 100:
    return f'{seconds:.2g} s'
  return (
    f'{seconds / 60:.0f} min' if seconds < 6000 else f'{seconds / 3600:.1f} h'
  )


def _images(count: int) -> str:
  return f'{count} image' if count == 1 else f'{count} images'
