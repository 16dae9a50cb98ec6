"""A person who has never seen the project answers from the page alone."""

import base64
import html
import io
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import vl_convert
from PIL import Image

from dualrs_jax import noise
from dualrs_jax.data import to_unit
from dualrs_jax.report import (
  answers,
  certification,
  checking,
  findings,
  page,
  pictures,
  subject,
)

NAMES = ['cat', 'dog', '<b>bird', 'fish']


def written(run, source=None, **options):
  about = subject.make(run, **options)
  places = certification.detailed(about)
  drawn = []
  if source is not None:
    indices = [run.rows[at].idx for at in places]
    drawn = list(pictures.draw(source, indices, run.settings))
  return certification.write(about, drawn)


def words(text):
  """What a reader of the page sees before any script runs."""
  body = re.sub(r'<script.*?</script>', '', text, flags=re.DOTALL)
  return html.unescape(re.sub(r'<[^>]+>', ' ', body))


def data(text, name='data'):
  found = re.search(
    f'<script type="application/json" id="{name}">(.*?)</script>', text
  )
  return json.loads(found.group(1))


@pytest.fixture(scope='module')
def text(run, source_of_run):
  return written(
    run, source_of_run(run), radii=(0.0, 0.5, 1.0), class_names=NAMES
  )


def test_how_many_images_are_certified_at_a_half(text, run):
  count = sum(row.correct and row.radius >= 0.5 for row in run.rows)
  assert f'At r = 0.5, {count} of 40 images are right and certified' in words(
    text
  )


def test_which_were_given_up_and_why(text, run):
  lost = [row for row in run.rows if row.predict < 0]
  for cause, told in (
    ('estimator', 'estimator undecided after all its votes'),
    ('classifier', 'classifier undecided after all its votes'),
  ):
    of_cause = [row.idx for row in lost if row.status == cause]
    first = ', '.join(map(str, of_cause[:8]))
    assert f'{len(of_cause)} of 40: {told} (images {first}' in words(text)


def test_would_more_votes_help(run):
  """The radius where most images are gained answers, and others follow."""
  about = subject.make(run, radii=(0.0, 0.5, 1.0))
  gains = {at.radius: at.endless - at.right for at in findings.at_radii(about)}
  best = max(gains, key=gains.get)
  assert best != 0.5
  said = ' '.join(answers.more_votes(about))
  assert f'At r = {best:g}: {gains.pop(best)} images more would be' in said
  told = ', '.join(f'{gain} at r = {r:g}' for r, gain in gains.items())
  assert f'Elsewhere: {told}.' in said
  assert re.search(r'that were given up, \d+ would get an answer', said)
  assert 'estimates without confidence, and no certificates' in said


def test_what_was_the_level_of_image_17_and_how_sure_is_that(text, run):
  [said] = [data(text)['details'][str(17)]['said']]
  row = run.rows[17]
  sigma = run.settings['sigmas'][row.sigma_index]
  votes = row.estimator_estimation[row.sigma_index]
  assert f'The noise level is σ = {sigma:g}' in said[1]
  assert f'How sure is that: {votes} of 100 further votes' in said[1]
  assert NAMES[row.label] in said[0]


def test_every_image_is_in_the_table_by_class_name(text, run):
  columns = {c['name']: c['values'] for c in data(text)['columns']}
  assert columns['idx'] == [row.idx for row in run.rows]
  assert columns['label'] == [NAMES[row.label] for row in run.rows]
  assert columns['answer'] == [
    NAMES[row.predict] if row.predict >= 0 else '' for row in run.rows
  ]
  assert '<b>bird' not in text


def test_the_settings_and_how_to_check_a_row_are_told(text):
  said = words(text)
  assert '"alpha": 0.01' in said
  command = said.index('python -m dualrs_jax.verify rows.tsv')
  assert command < said.index('records.check(row, known)')
  assert 'docs/' not in said


def test_an_opened_image_says_what_limits_it(text, run):
  about = subject.make(run)
  for at in (0, 17):
    said = data(text)['details'][str(at)]['said'][-1]
    assert said.startswith(f'Limited by: {about.terms[at].limit} (')


def test_nothing_is_to_be_shown_where_no_image_was_given_up(run, text):
  button = 'data-outcome="given up"'
  assert button in text
  right = run._replace(rows=[row for row in run.rows if row.predict >= 0])
  said = written(right)
  assert 'No image was given up.' in said
  assert button not in said.replace(page.library(), '')


def test_axes_of_few_images_have_whole_numbers(run_of):
  told = data(written(run_of(3)), 'charts')
  for name, axis in (('levels', 'x'), ('radii', 'y'), ('limits', 'x')):
    values = told[name]['encoding'][axis]['axis']['values']
    assert values == [*range(len(values))]
    assert 2 <= len(values) <= 4


def test_metrics_whose_names_do_not_say_it_are_explained(run):
  row = {'stage': 'estimator-1', 'step': 1, 'soft_radius': 0.5, 'loss': 1.0}
  said = words(written(run, training=[{**row, 'selected/0.5': 1.0}]))
  assert 'soft_radius: a smooth stand-in for the certified radius' in said
  assert 'selected: the share of validation images' in said
  assert 'loss:' not in said


def test_a_run_that_cannot_be_verified_says_so(run):
  for changes in ({'smoothing': 'sum'}, {'task': 'predict', 'goal': 'full'}):
    settings = {**run.settings, **changes}
    about = subject.make(run)._replace(run=run._replace(settings=settings))
    said = words(checking.section(about))
    assert 'rows.tsv cannot check this run: settings.json' in said
    assert 'computes every row again' not in said


def test_pictures_show_the_noise_of_the_votes(text, run, source_of_run):
  uris = data(text)['details']['17']['pictures']
  assert len(uris) == 1 + len(run.settings['sigmas'])
  image = to_unit(source_of_run(run).images[17])
  key = noise.image_key(jax.random.key(run.settings['seed']), 17)
  key = noise.vote_key(key, noise.ESTIMATION, jnp.asarray(0))
  seen = noise.gaussian(key, image, jnp.float32(1.0))
  kind, _, encoded = uris[-1].partition(',')
  assert kind == 'data:image/png;base64'
  shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
  np.testing.assert_allclose(
    shown / 255, np.clip(seen, 0, 1)[..., 0], atol=0.6 / 255
  )


def test_all_charts_compile(text):
  config = data(text, 'config')
  charts = data(text, 'charts')
  assert {'accuracy', 'levels', 'radii', 'votes', 'limits', 'shares'} <= set(
    charts
  )
  for chart in charts.values():
    vl_convert.vegalite_to_vega({**chart, 'config': config})


def test_nothing_is_fetched(text):
  own = text.replace(page.library(), '')
  assert not re.search(r'(src|href)="(?!data:|#)', own)
  assert 'fetch(' not in own
  assert '@import' not in own


def test_a_run_under_way_says_how_far_it_is(run_of):
  said = words(written(run_of(10, asked=40)))
  assert 'PARTIAL: 10 of the 40 images' in said
  assert 'no random sample' not in said  # these are in order
  adaptive = run_of(10, asked=40)
  adaptive.settings['goal'] = 'full'
  assert 'no random sample' in answers.progress(subject.make(adaptive))
  assert 'PARTIAL' not in words(written(run_of(10)))


def test_an_unknown_rule_is_told_and_claims_nothing(run):
  strange = run._replace(settings={**run.settings, 'certificate': 'cascade'})
  said = words(written(strange))
  assert 'No guarantee is stated here' in said
  assert 'With probability at least' not in said


@pytest.mark.parametrize(
  'shape', [(32, 32, 3), (96, 80, 3), (224, 224, 3)], ids=str
)
def test_five_hundred_images_would_fit(shape, run_of, source_of_run):
  run = run_of(10, estimator_sigma=0.75)
  drawn = [*pictures.draw(source_of_run(run, shape), range(10), run.settings)]
  assert 50 * sum(len(uri) for uris in drawn for uri in uris) < pictures.BUDGET


@pytest.mark.slow
def test_five_hundred_images_fit(run_of, source_of_run):
  run = run_of(500, estimator_sigma=0.75)
  text = written(run, source_of_run(run, (224, 224, 3)))
  assert len(text.encode()) < 8_000_000
  assert 'too large' not in text


def test_more_pictures_than_a_file_holds_are_left_out_and_told(
  run, source_of_run, monkeypatch
):
  monkeypatch.setattr(pictures, 'BUDGET', 5000)
  text = written(run, source_of_run(run))
  pictured = [t for t in data(text)['details'].values() if 'pictures' in t]
  assert 0 < len(pictured) < 40
  assert f'The first {len(pictured)} of these have pictures' in words(text)


def test_many_rows_are_sampled_and_told(run_of, monkeypatch):
  monkeypatch.setattr(subject, 'LISTED', 100)
  monkeypatch.setattr(subject, 'DETAILED', 10)
  text = written(run_of(300))
  assert data(text)['rows'] == 100
  assert len(data(text)['details']) == 10
  assert 'a sample of 100 of the 300 rows' in words(text)
  assert 'for 10 of the 300 images' in words(text)


def test_names_must_be_those_of_the_classes(run):
  with pytest.raises(ValueError, match='3 class names do not name the 4'):
    subject.make(run, class_names=NAMES[:3])
