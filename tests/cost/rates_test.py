"""Times from a file of a measurement: exact where it was measured, or none."""

import json
import math

import pytest

from configs import imagenet
from dualrs_jax.cost import plan, rates
from dualrs_jax.cost.work import Work

DENOISED = 2 * (856_291_848_192 + 361_986_285_568)
RESNET = 2 * 4_089_184_256


def row(path, method, votes, cost, **others):
  return {
    'path': path,
    'sizes': 'full',
    'method': method,
    'device_kind': 'chip',
    'dtype': 'bfloat16',
    'votes_per_second': votes,
    'flops_per_vote': cost,
  } | others


ROWS = [
  row('imagenet-denoised', 'certify', 50.0, DENOISED),
  row('imagenet-denoised', 'bare forward pass', 60.0, DENOISED),
  row('imagenet-resnet50', 'certify', 4000.0, RESNET),
  row('imagenet-resnet50', 'certify', 1.0, RESNET, sizes='reduced'),
  row('imagenet-resnet50', 'bare forward pass', 1.0, RESNET, dtype='float32'),
]


@pytest.fixture
def measured(tmp_path):
  path = tmp_path / 'chip.json'
  path.write_text(json.dumps({'rows': ROWS}))
  return rates.read(path)


@pytest.fixture(scope='module')
def planned():
  return plan.make(imagenet.get_config())


def test_a_measured_path_takes_its_time(measured, planned):
  """Without an estimator, a vote takes what it was measured to take."""
  found = {one.stage: one for one in planned.stages}
  one = found['plain smoothing, 2 runs']
  seconds = measured.seconds(one, planned.networks)
  assert seconds == pytest.approx(2 * 500 * 10_100 / 50.0)
  seconds = measured.seconds(found['targets-1'], planned.networks)
  assert seconds == pytest.approx(1_280_167 * 2 * 100 / 60.0)


def test_networks_of_two_paths_add_up(measured, planned):
  [dual] = [one for one in planned.stages if one.stage == 'dual, fixed']
  votes = 500 * 10_100
  share = 856_291_848_192 / (DENOISED / 2)
  smaller = 4_087_140_352 / (RESNET / 2)  # two classes
  expected = votes / 50 + votes * share / 50 + votes * smaller / 4000
  seconds = measured.seconds(dual, planned.networks)
  assert seconds == pytest.approx(expected)


def test_what_was_not_measured(measured, planned):
  found = {one.stage: one for one in planned.stages}
  message = (
    r'chip\.json has no row of imagenet-denoised in full sizes, bfloat16,'
    " method 'adaptive', on chip"
  )
  with pytest.raises(rates.NotMeasured, match=message):
    measured.seconds(found['dual, adaptive'], planned.networks)
  with pytest.raises(rates.NotMeasured, match='imagenet-resnet50'):
    measured.seconds(found['estimator-1'], planned.networks)
  other = planned.networks['estimator']._replace(multiply_adds=5)
  assert rates.path_of(other) is None
  with pytest.raises(rates.NotMeasured, match='resnet with 5 multiplications'):
    measured.of(other, 'fixed')


def test_an_assumed_rate(planned):
  [one] = [one for one in planned.stages if one.stage == 'dual, fixed']
  seconds = rates.assume(1e14).seconds(one, planned.networks)
  assert seconds == pytest.approx(
    2 * one.multiply_adds(planned.networks) / 1e14
  )


@pytest.mark.parametrize('text', ['', '{}', '[]', '{"rows": [{"path": 1}]}'])
def test_other_files(tmp_path, text):
  path = tmp_path / 'other.json'
  path.write_text(text)
  with pytest.raises(ValueError, match='is not the JSON of'):
    rates.read(path)


def test_processor_time(tmp_path):
  path = tmp_path / 'core.json'
  path.write_text(json.dumps({'rows': ROWS, 'clock': 'processor'}))
  assert rates.read(path).device == 'one core, chip'


def test_several_kinds_of_devices(tmp_path):
  path = tmp_path / 'two.json'
  rows = [*ROWS, row('imagenet-denoised', 'certify', 1, 1, device_kind='pod')]
  path.write_text(json.dumps({'rows': rows}))
  with pytest.raises(ValueError, match='is of 2 kinds of devices'):
    rates.read(path)


@pytest.mark.parametrize(
  ('kind', 'devices', 'by', 'share'),
  [
    ('fixed', 1, 'images', 1),
    ('fixed', 8, 'images', 1 / 8),
    ('fixed', 24, 'images', 4 / 10 / 8),  # three hosts share 10 images
    ('fixed', 4096, 'images', 1 / 10 / 8),  # most hosts are idle
    ('fixed', 24, 'votes', 42 / 1000),
    ('adaptive', 4096, 'votes', 1 / 1000),
    ('training', 16, 'images', 1 / 10),  # 500 rows: 5 of 8 devices
    ('training', 24, 'images', math.inf),  # 1,000 rows on three hosts
    ('training', 6, 'images', 1 / 5),
    ('targets', 24, 'votes', 4 / 10 / 8),
  ],
)
def test_spread(kind, devices, by, share):
  one = Work('stage', kind, {}, {}, tasks=10, pieces=1000)
  found = rates.spread(7.0, one, devices=devices, per_host=8, by=by)
  assert math.isclose(found, 7 * share)
