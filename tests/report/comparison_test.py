"""Runs are compared on the same images, and the page says on which."""

import numpy as np

from dualrs_jax.evaluation import accuracy_table
from dualrs_jax.report import certification, comparison, subject
from tests.report.certification_test import data, words


def shares(run, images, radius):
  return 100 * np.mean(accuracy_table.hits(run, [radius], images))


def points(text):
  found = data(text, 'charts')['accuracy']['data']['values']
  return {(point['name'], point['radius']): point['share'] for point in found}


def test_runs_are_compared_on_the_images_that_all_have(run, run_of):
  grid = {'radii': [0.0, 0.25]}
  one, other = run_of(40, **grid), run_of(30, label='other', **grid)
  other = other._replace(rows=other.rows[13:])
  text = comparison.write('c', {'one': one, 'other': other}, {})
  common = [*range(13, 30)]
  assert shares(one, common, 0.25) != shares(one, range(40), 0.25)
  told = points(text)
  for name, each in (('one', one), ('other', other)):
    assert told[name, 0.25] == round(shares(each, common, 0.25), 2)
    assert f'{name} {shares(each, common, 0.0):.1f} [' in ' '.join(
      words(text).split()
    )
  assert words(text).count('of the 17 images that all of them have') == 2


def test_runs_without_a_common_image_say_so(run, run_of):
  other = run_of(30, label='other', source='another')
  text = comparison.write('c', {'one': run, 'other': other}, {})
  said = words(text)
  assert 'there is none that all of them have' in said
  assert 'one (40 images)' in said
  assert 'other (30 images)' in said
  assert 'of all 40 images' in words(comparison.write('c', {'one': run}, {}))


def test_the_table_of_a_page_is_of_the_images_of_its_chart(run_of):
  grid = {'radii': [0.0, 0.25]}
  one, single = run_of(40, **grid), run_of(15, label='single', **grid)
  single = single._replace(settings={**single.settings, 'sigmas': [0.5]})
  about = subject.make(one, singles=[single])
  text = certification.write(about, [])
  share = shares(one, range(15), 0.25)
  assert points(text)['dual (agreement)', 0.25] == round(share, 2)
  said = words(text)
  assert 'Images at each radius, of the 15 that all of these runs have' in said
  assert f'({share:.1f} %)' in said
  assert 'On the 15 of 40 images' in said
