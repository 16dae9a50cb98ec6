import math

import numpy as np
import pytest
from scipy import stats

from dualrs_jax import base
from dualrs_jax.evaluation import (
  accuracy_table,
  facts,
  methods,
  records,
  run_rows,
)
from dualrs_jax.evaluation import summary as module

RADII = (0.0, 0.25, 0.4)


def make_run(settings, votes, *, label='dual-minimum', idx=0, **changes):
  """Rows whose classifier gave `votes` of 100 to class 0, the label."""
  settings = {
    'certificate': 'minimum',
    'data': {'name': 'digits'},
    'split': 'test',
    'seed': 5,
    'images': len(votes),
    **{name: settings[name] for name in settings if name != 'certificate'},
    **changes,
  }
  levels = len(settings['sigmas'])
  estimator = np.eye(levels, dtype=int)[0] * 100
  rows = []
  for number, count in enumerate(votes):
    classifier = np.zeros((levels, 3), int)
    classifier[0] = [count, 100 - count, 0]
    rows.append(
      records.of_votes(
        methods.fixed_votes(
          base.Counts(estimator, estimator),
          base.Counts(classifier, classifier),
          settings,
        ),
        settings,
        idx=idx + number,
        label=0,
        time=0.5 + number,
      )
    )
  return run_rows.Run(label, settings, rows)


def single(settings, votes, sigma, **changes):
  return make_run(
    settings,
    votes,
    **{
      'label': f'single-{sigma:g}',
      'smoothing': 'single',
      'sigmas': [sigma],
      'certificate': None,
      **changes,
    },
  )


@pytest.fixture
def run(settings):
  return make_run(settings, [100, 100, 95, 80, 55, 10])


def test_certified_accuracy_is_over_all_rows_with_its_interval(run):
  summary = module.summarize(run, [], RADII)
  header, cells = summary.table
  assert header == ['certified, %', 'r = 0', 'r = 0.25', 'r = 0.4']
  radii = np.array([row.radius for row in run.rows])
  for cell, radius in zip(cells[1:], RADII, strict=True):
    hits = sum(row.correct and row.radius >= radius for row in run.rows)
    interval = stats.binomtest(hits, 6).proportion_ci(0.95, 'exact')
    low, high = math.floor(100 * interval.low), math.ceil(100 * interval.high)
    assert cell == f'{100 * hits / 6:.1f} [{low}, {high}]'
  assert cells[1].startswith('66.7 ')  # one abstains, one is wrong
  assert 0 < (radii >= 0.4).sum() < (radii >= 0.25).sum() < 5


def test_facts(run):
  text = module.to_text(module.summarize(run, [], RADII))
  assert 'abstentions: 1 of 6 (classifier undecided 1)' in text
  assert 'clean accuracy: 66.7 [' in text
  assert 'noise level used: 0.25 on 6, 0.5 on 0, 1 on 0' in text
  assert 'n0 = 20, n = 100 votes, alpha = 0.01, gaussian noise, seed 5' in text
  assert 'median time per image: 3 s' in text
  assert 'Clopper-Pearson' in text
  assert 'PARTIAL' not in text


def test_average_radius_comes_with_its_cap_and_caveat(run):
  text = module.to_text(module.summarize(run, [], RADII))
  radii = [row.radius * row.correct for row in run.rows]
  assert f'average certified radius: {np.mean(radii):.3f}' in text
  assert f'(no more than {facts.largest_radius(run):.3f} is' in text
  assert 'no way to rank methods' in text
  assert max(radii) < facts.largest_radius(run)


def test_the_largest_radius_is_that_of_unanimous_votes(run, settings):
  z = stats.norm.ppf(0.01 ** (1 / 100))
  assert facts.largest_radius(run) == pytest.approx(0.5 * z)  # estimator's cap
  alone = single(settings, [100], 0.25)
  assert facts.largest_radius(alone) == pytest.approx(0.25 * z)
  assert alone.rows[0].radius == facts.largest_radius(alone)


def test_a_partial_file_says_so(run):
  partial = run._replace(settings={**run.settings, 'images': 10})
  text = module.to_text(module.summarize(partial, [], RADII))
  assert 'PARTIAL: 6 of the 10 images asked for' in text


def test_ratio_to_the_best_single_sigma(run, settings):
  low = single(settings, [100, 100, 100, 100, 100, 30], 0.25)
  high = single(settings, [100, 97, 40, 40, 30, 10], 1.0)
  summary = module.summarize(run, [low, high], (0.0, 0.5, 3.0))
  rows = {cells[0]: cells[1:] for cells in summary.table}
  assert rows['single-0.25'][0].startswith('83.3 [')
  assert rows['single-1'][1].startswith('33.3 [')
  ratio = rows['ratio to the best']
  assert ratio[0].startswith('0.80 [')
  dual_at_half = float(rows['dual-minimum'][1].split()[0])
  best = max(
    float(rows[name][1].split()[0]) for name in rows if 'sin' in name[:3]
  )
  assert float(ratio[1].split()[0]) == pytest.approx(
    dual_at_half / best, abs=0.01
  )
  assert ratio[2] == '-'  # no baseline reaches it
  assert 'paired bootstrap' in module.to_text(summary)


def test_comparison_is_on_common_images_and_says_so(run, settings):
  few = single(settings, [100, 100], 0.25, idx=4)
  assert accuracy_table.comparable(run, few)
  summary = module.summarize(run, [few], RADII)
  text = module.to_text(summary)
  assert 'on the 2 images that all of these runs hold' in ' '.join(text.split())
  rows = {cells[0]: cells[1:] for cells in summary.table}
  assert rows['dual-minimum'][0].startswith('66.7 [')  # all of its own rows
  assert rows['ratio to the best'][0].startswith('0.00 [')


def test_only_like_is_compared_with_like(run, settings):
  other = single(settings, [100], 0.25)
  assert accuracy_table.comparable(run, other)
  assert not accuracy_table.comparable(other, run)
  assert not accuracy_table.comparable(run, run)
  for changes in ({'n': 200}, {'alpha': 0.1}, {'split': 'validation'}):
    changed = other._replace(settings={**other.settings, **changes})
    assert not accuracy_table.comparable(run, changed)
  assert not accuracy_table.comparable(
    run, single(settings, [100], 0.25, idx=100)
  )


def test_predictions_have_accuracy_and_no_radii(settings):
  run = make_run(settings, [100, 90, 55, 10], task='predict', n0=None)
  summary = module.summarize(run, [], RADII)
  assert summary.table == summary.notes == []
  text = module.to_text(summary)
  assert 'clean accuracy: 50.0 [' in text
  assert 'radius' not in text


def test_markdown_is_a_table(run):
  text = module.to_markdown(module.summarize(run, [], RADII))
  assert text.startswith('### dual-minimum\n\n- 6 images of digits (test)')
  assert '| certified, % | r = 0 | r = 0.25 | r = 0.4 |\n' in text
  assert '| :-- | --: | --: | --: |\n| dual-minimum | 66.7 [' in text


def test_text_lines_are_readable(run):
  lines = module.to_text(module.summarize(run, [], RADII)).splitlines()
  assert max(map(len, lines)) <= 100
