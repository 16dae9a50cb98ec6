"""The page of one certification."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

from dualrs_jax.report import (
  accuracy_chart,
  answers,
  charts,
  checking,
  curves,
  details,
  findings,
  guarantee,
  listing,
  page,
  pictures,
  terms,
  training_charts,
)
from dualrs_jax.report import subject as subject_lib
from dualrs_jax.report.subject import Subject


def write(
  subject: Subject, drawn: Iterable[Sequence[str]], written: str = ''
) -> str:
  """The page of a certification, as HTML.

  Args:
    subject: What it is about.
    drawn: Pictures of the images at `detailed`, see `pictures.draw`; empty for
      a page without.
    written: When, as text.
  """
  specs, body = {}, [_top(subject, written)]
  body.append(_answers(subject))
  if subject.certifies:
    body.append(_accuracy(subject, specs))
  shown = pictures.within_budget(drawn)
  body.append(_images(subject, len(shown)))
  body.append(_distributions(subject, specs))
  body.append(training(subject.training, subject.settings['sigmas'], specs))
  body.append(checking.section(subject))
  return page.page(
    subject.run.label, ''.join(body), specs, _data(subject, shown)
  )


def detailed(subject: Subject) -> list[int]:
  """Places of the rows that are told in full, with pictures."""
  return subject_lib.sample(len(subject.rows), subject_lib.DETAILED)


def training(rows, sigmas: Sequence[float], specs: dict[str, Any]) -> str:
  """The part about the training; adds its charts to `specs`."""
  stages = training_charts.charts(rows, sigmas)
  parts = []
  for stage, families in stages.items():
    places = []
    for family, chart in families.items():
      name = f'training {stage} {family}'
      specs[name] = chart
      places.append(page.chart_place(name, f'{family} over the steps'))
    told = page.paragraphs(
      [
        f'{family}: {training_charts.MEANINGS[family]}.'
        for family in families
        if family in training_charts.MEANINGS
      ]
    )
    parts.append(
      f'<details><summary>{html.escape(stage)}</summary>{told}'
      f'<div class="grid">{"".join(places)}</div></details>'
    )
  if not parts:
    parts = ['<p>No metrics of a training were found beside this run.</p>']
  return page.section('training', 'Training', ''.join(parts))


def _top(subject: Subject, written: str) -> str:
  told = answers.progress(subject)
  banner = ''
  if told:
    asked = subject.settings['images']
    banner = (
      f'<p class="banner" role="status">{html.escape(told)}'
      f'<progress max="{asked}" value="{len(subject.rows)}"></progress></p>'
    )
  when = (
    f'<p class="quiet">Written {html.escape(written)}</p>' if written else ''
  )
  lead = html.escape(answers.headline(subject))
  return f'<p class="lead">{lead}</p>{when}{banner}'


def _answers(subject: Subject) -> str:
  claim = guarantee.of(subject.settings)
  kind = 'claim' if claim.known else 'claim unknown'
  asked, field = 'Image', 'inputmode="numeric" size="6"'
  show = ''
  if any(row.predict < 0 for row in subject.rows):
    show = (
      '<p><button type="button" data-outcome="given up">Show them</button></p>'
    )
  if subject.files:
    asked, field = 'Image or part of its file’s name', 'size="16"'
  questions = [
    (
      'How many images are certified?',
      page.paragraphs([answers.certified(subject)]),
    ),
    (
      'Which were given up, and why?',
      page.items(answers.given_up(subject)) + show,
    ),
    ('Would more votes help?', page.paragraphs(answers.more_votes(subject))),
    (
      'What was the level for one image, and how sure is that?',
      f'<form id="ask"><label>{asked} <input id="ask-image" {field}'
      f' value="{subject.rows[0].idx}"></label>'
      ' <button>Look it up</button></form>'
      '<p id="ask-answer" role="status"></p>',
    ),
    ('What did it cost?', page.paragraphs([answers.cost(subject)])),
  ]
  cards = ''.join(
    f'<article class="card"><h3>{html.escape(question)}</h3>{answer}</article>'
    for question, answer in questions
  )
  return f'<p class="{kind}">{html.escape(claim.sentence)}</p>' + page.section(
    'answers', 'In short', f'<div class="cards">{cards}</div>'
  )


def _accuracy(subject: Subject, specs: dict[str, Any]) -> str:
  drawn = curves.beside(subject.run, subject.singles)
  decided = bool(subject.settings['radii'])
  specs['accuracy'] = accuracy_chart.chart(drawn, decided=decided)
  rows = [
    ['radius', 'right and certified', '95 % interval', 'certified, wrong']
  ]
  rows[0].append('with endless votes (estimate)')
  about, caption = subject, 'Images at each radius'
  if drawn[-1].images < len(subject.rows):
    images = curves.shared([subject.run, *subject.singles])
    about = subject_lib.restricted(subject, images)
    caption += f', of the {len(images)} that all of these runs have'
  buttons = [
    f'<button type="button" data-radius="{at.radius!r}">r ≥ {at.radius:g}'
    f' <small>{at.right + at.wrong} images</small></button>'
    for at in findings.at_radii(subject)
  ]
  for at in findings.at_radii(about):
    share = 100 * at.right / len(about.rows)
    rows.append(
      [
        f'{at.radius:g}',
        f'{at.right} ({share:.1f} %)',
        f'[{at.low:.1f}, {at.high:.1f}]',
        str(at.wrong),
        '' if at.endless is None else str(at.endless),
      ]
    )
  told = (
    'Certified accuracy: the share of all images that are right and certified'
    ' to at least r; an image that was given up is a failure. Shaded: 95 %'
    ' Clopper-Pearson interval for having few images.'
  )
  if decided:
    told += ' Only these radii were decided; the lines lead the eye alone.'
  if len(drawn) > 2:
    told += (
      ' The best single σ is chosen at each radius after the fact: no one'
      ' classifier attains it.'
    )
  if drawn[-1].images < len(subject.rows):
    told += (
      f' On the {drawn[-1].images} of {len(subject.rows)} images that all of'
      ' these runs have.'
    )
  content = (
    page.chart_place('accuracy', told)
    + '<p id="radius-hint">Who is certified there? Click the chart, or:</p>'
    + f'<div class="row" role="group" aria-labelledby="radius-hint">'
    f'{"".join(buttons)}</div>' + page.table(rows, caption)
  )
  return page.section('accuracy', 'Certified accuracy', content)


def _images(subject: Subject, pictured: int) -> str:
  count, notes = len(subject.rows), []
  if len(listing.listed(subject)) < count:
    notes.append(
      f'The table has a sample of {len(listing.listed(subject)):,} of the'
      f' {count:,} rows, evenly spaced; all other numbers are of all rows.'
    )
  if len(detailed(subject)) < count:
    notes.append(
      f'Pictures and votes by class are here for {len(detailed(subject)):,} of'
      f' the {count:,} images, evenly spaced; rows.tsv has the votes of all.'
    )
  if 0 < pictured < len(detailed(subject)):
    notes.append(
      f'The first {pictured} of these have pictures; more would make this file'
      ' too large.'
    )
  content = page.paragraphs(notes) + (
    '<details id="filters"><summary>Filter</summary><form id="filter"></form>'
    '</details><p class="row"><span id="count" role="status"></span>'
    '<button type="button" id="clear">Show all</button></p>'
    '<div id="table" tabindex="0" role="region" aria-label="Images"></div>'
    '<nav id="pages" aria-label="Pages of the table">'
    '</nav><noscript>The table needs JavaScript.</noscript>'
    '<dialog id="image" aria-labelledby="image-title"></dialog>'
  )
  return page.section('images', 'Every image', content)


def _distributions(subject: Subject, specs: dict[str, Any]) -> str:
  places = []

  def add(name, chart, title, told):
    specs[name] = chart
    places.append(
      f'<div><h3>{html.escape(title)}</h3>{page.chart_place(name, told)}</div>'
    )

  click = 'Click a bar to see its images.'
  if len(subject.settings['sigmas']) > 1:
    told = f'The noise level chosen for each image. {click}'
    add('levels', charts.levels(subject), 'Levels', told)
  if subject.certifies:
    told = 'The certified radius of each image that has an answer.'
    add('radii', charts.radii(subject), 'Radii', told)
  told = 'Votes on each image, on a logarithmic scale; dashed: a fixed n.'
  add('votes', charts.votes(subject), 'Votes spent', told)
  if subject.certifies and None not in subject.terms:
    present = {term.limit for term in subject.terms if term is not None}
    meanings = '; '.join(
      f'{limit}: {meaning}'
      for limit, meaning in terms.LIMITS.items()
      if limit in present
    )
    told = (
      'The smallest term of each radius, by the observed shares.'
      f' {click} {meanings[:1].upper()}{meanings[1:]}.'
    )
    add('limits', charts.limits(subject), 'Where radius is lost', told)
  images = (
    'of all images, by plain smoothing'
    if charts.everywhere(subject)
    else 'of the images for which the level was chosen'
  )
  told = f'The observed share of votes for the label at each level, {images}.'
  if subject.settings['goal'] is not None:
    told += ' Adaptive votes stop where they suffice, so few of them are exact.'
  add('shares', charts.answer_shares(subject), 'How sure the votes are', told)
  return page.section(
    'distributions',
    'Distributions',
    f'<div class="grid two">{"".join(places)}</div>',
  )


def _data(subject: Subject, drawn: Sequence[Sequence[str]]) -> dict[str, Any]:
  """What the table and the view of an image are made of."""
  listed = {at: place for place, at in enumerate(listing.listed(subject))}
  told = {
    listed[at]: details.of(subject, subject.rows[at], subject.terms[at])
    for at in detailed(subject)
    if at in listed
  }
  for at, uris in zip(detailed(subject), drawn, strict=False):
    if at in listed:
      told[listed[at]]['pictures'] = list(uris)
  sigmas = pictures.levels(subject.settings)
  estimator = subject.settings['estimator_sigma']
  captions = [
    f'σ = {sigma:g}' + (' (estimator)' if sigma == estimator else '')
    for sigma in sigmas
  ]
  return {
    'columns': [column._asdict() for column in listing.columns(subject)],
    'rows': len(listed),
    'details': told,
    'captions': ['clean', *captions],
    'guarantee': guarantee.of(subject.settings).known,
  }
