"""What configurations come to, against their own tables and by hand."""

import pathlib
import re
from typing import Any

import pytest

from benchmarks import paths
from configs import cifar10, digits, imagenet
from dualrs_jax.cost import plan, rates, sizes, storage
from dualrs_jax.training import fitting

ROOT = pathlib.Path(__file__).resolve().parents[2]

#: Names of the lines of the tables in the heads of configurations.
LINES = {
  'a baseline': ('single-0.5-0', 'single-0.5'),
  '500 test images, n = 10,000': ('dual, fixed',),
}


def costed(module):
  """The variants whose networks are known before any is trained."""
  return [variant for variant in module.VARIANTS if variant != 'routing']


def make(module, arg):
  return plan.make(module.get_config(arg))


def changeable() -> Any:
  return digits.get_config().copy_and_resolve_references()


def stages(planned):
  return {one.stage: one for one in planned.stages}


def table(module: Any) -> dict[str, dict[str, str]]:
  """The multiply-adds that a head says, by variant and stage."""
  rows = {}
  for line in module.__doc__.splitlines():
    found = re.fullmatch(r'    (\S.*?)\s{2,}(-|[\d.]+e\d+)\s+(\S.*)', line)
    if found:
      rows[found[1]] = [found[2], *found[3].split()]
  return {
    variant: {line: cells[place] for line, cells in rows.items()}
    for place, variant in enumerate(costed(module))
  }


@pytest.mark.parametrize(
  ('module', 'variant'),
  [
    (module, variant)
    for module in (cifar10, imagenet)
    for variant in costed(module)
  ],
)
def test_heads_of_configurations(module, variant):
  planned = make(module, variant)
  found = stages(planned)
  said = table(module)[variant]
  assert len(said) == 6
  for line, cell in said.items():
    names = LINES.get(line, (line,))
    if cell == '-':
      assert not {*names} & {*found}
    else:
      count = sum(found[n].multiply_adds(planned.networks) for n in names)
      assert f'{float(cell):.1e}' == f'{count:.1e}', line
  assumed = bool(planned.networks['classifier'].assumed)
  assert assumed == (variant in ('denoised', 'experts'))


def test_networks_that_are_still_to_be_trained(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match='single-0.25 is not there: a training'):
    make(cifar10, 'routing')


def test_stages_by_hand():
  config = changeable()
  config.baselines = (0.5,)
  config.rounds = 2
  config.targets.count = 100
  config.checkpoint.evaluate_steps = 300
  config.certify.goal = 'full'
  found = stages(plan.make(config))
  assert [*found] == [
    'classifier-0',
    'targets-1',
    'estimator-1',
    'classifier-1',
    'targets-2',
    'estimator-2',
    'classifier-2',
    'single-0.5-0',
    'single-0.5',
    'plain smoothing, 7 runs',
    'dual, fixed',
    'dual, adaptive',
  ]
  one = found['classifier-0']  # 200 validation images, at 3 levels, 3 times
  assert one.backward == {'classifier': 700 * 256 * 2}
  assert one.forward == {'classifier': 700 * 256 * 2 + 3 * 200 * 3}
  assert one.passes() == {'classifier': 3 * 700 * 256 * 2 + 3 * 200 * 3}
  one = found['targets-2']
  assert one.forward == {'classifier': 100 * 3 * 64}
  assert (one.tasks, one.pieces) == (1, 500)
  one = found['estimator-1']
  assert one.forward['estimator'] == 500 * 128 * 4 + 2 * 200 * 32
  one = found['classifier-2']
  assert one.forward['estimator'] == 900 * 256
  assert one.forward['classifier'] == 900 * 256 * 2 + 3 * 200 * 3
  assert one.backward == {'classifier': 900 * 256 * 2}
  one = found['single-0.5-0']
  assert one.forward['classifier'] == 700 * 256 * 2 + 3 * 200
  one = found['single-0.5']
  assert one.forward == {'classifier': 1800 * 256 * 2 + 6 * 200}
  one = found['plain smoothing, 7 runs']
  assert one.forward == {'classifier': 7 * 100 * 1100}
  one = found['dual, fixed']
  assert one.forward == {'classifier': 110_000, 'estimator': 110_000}
  assert (one.tasks, one.pieces) == (100, 2200)
  one = found['dual, adaptive']
  assert one.forward['classifier'] == pytest.approx(0.995 * 110_000)
  assert one.forward['estimator'] == pytest.approx(0.358 * 110_000)


def test_a_denoiser_stands_before_both():
  found = stages(make(cifar10, 'denoised'))
  one = found['classifier-1']
  assert 'denoiser' not in one.backward
  both = one.forward['classifier'] + one.forward['estimator']
  assert one.forward['denoiser'] == both
  assert one.forward['estimator'] == one.backward['classifier']


@pytest.mark.parametrize(
  ('changes', 'stage', 'votes'),
  [
    ({'protocol': 'paper', 'n': 700}, 'dual, fixed', 2 * 10_100),
    ({'protocol': 'fixed', 'n': 700}, 'dual, fixed', 2 * 800),
    (
      {'certificate': 'fallback', 'protocol': 'fixed', 'n': 700},
      'dual, fixed',
      (3 + 1) * 800,
    ),
    ({'task': 'predict', 'protocol': 'fixed'}, 'dual, fixed', 2 * 1000),
    ({'smoothing': 'single'}, 'single, fixed', 3 * 1100),
    (
      {'smoothing': 'single', 'levels': (0.5,)},
      'single, fixed',
      1100,
    ),
    (
      {'smoothing': 'cascade', 'levels': (0.25, 0.5)},
      'cascade, fixed, at most',
      2 * 1100,
    ),
    (
      {'smoothing': 'single', 'classifier': 'single-0.5'},
      'single, fixed',
      1100,
    ),
  ],
)
def test_certification(changes, stage, votes):
  config = changeable()
  config.certify.update(changes)
  last = plan.make(config).stages[-1]
  assert (last.stage, last.tasks, last.pieces) == (stage, 100, votes)


def test_shares_are_those_of_the_results():
  """Columns of docs/results_cost.md: cost, classifier, estimator."""
  text = (ROOT / 'docs' / 'results_cost.md').read_text()
  for goal, shares in plan.ADAPTIVE.items():
    [row] = re.findall(rf'^\| goal `{goal}`.*$', text, re.MULTILINE)
    assert tuple(map(float, row.split('|')[3:5])) == shares


def test_constants_of_others():
  assert plan.VALIDATION_VOTES == fitting._VALIDATION_VOTES
  assert set(rates.PATHS) == set(paths.FULL)
  for name, path in paths.FULL.items():
    given = [sizes.PUBLISHED[place][1] for place in rates.PATHS[name]]
    assert given[::-1] == [described for _, described in path.described]


def test_what_is_left_on_the_disk():
  planned = make(digits, 'full')
  found = {one.what: one.size for one in planned.stored}
  network, files = planned.networks['classifier'], 18 + 1
  # The weights, their mean, two moments of AdamW, and a few counters.
  least = 2 * 4 * network.weight_bytes
  assert 0 < found['2 checkpoints of classifier-0'] - least < 100
  of_image = 2 * 8 + 3 * 3 * 4  # where it is, and 3 numbers for each level
  assert found['targets-1'] == 8776 * of_image + files * storage._SHARD
  assert found['metrics of single-1-0'] == 3000 // 50 * storage.METRICS_LINE


def test_unknown_data():
  config = changeable()
  config.data = {'name': 'mine'}
  with pytest.raises(ValueError, match="unknown data set 'mine'"):
    plan.make(config)
