"""Classifiers of the user's own, as they come, routed to on own images."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from configs import own
from dualrs_jax import data, named
from dualrs_jax.data import splits
from dualrs_jax.evaluation import certify_dataset, report, run_settings
from dualrs_jax.programs import train
from dualrs_jax.runtime import settings
from dualrs_jax.runtime.processes import Place
from dualrs_jax.training import loop, recipe
from dualrs_jax.verify import verify
from tests.training import tiny

NETS = """
import numpy as np

CALLS = []

def bright(images):
  CALLS.append(images.shape)
  middle = images.mean(axis=(1, 2, 3))
  return np.stack([middle - level for level in np.linspace(1, 0, 10)], axis=1)

def low(): return bright
def high(): return lambda images: -bright(images)
"""

FILE = """
import pathlib
import torch

HERE = pathlib.Path(__file__).parent

def net():
  return torch.nn.Sequential(
    torch.nn.Conv2d(1, 24, 5, stride=2),
    torch.nn.BatchNorm2d(24),
    torch.nn.ReLU(),
    torch.nn.Conv2d(24, 48, 5, stride=3),
    torch.nn.ReLU(),
    torch.nn.Dropout(0.2),
    torch.nn.Flatten(),
    torch.nn.Linear(48 * 16, 10),
  )

def _load(name):
  module = net()
  module.load_state_dict(torch.load(HERE / name))
  return module  # in training mode, as it comes

def low(): return _load('low.pt')
def high(): return _load('high.pt')
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  splits.tell_once.cache_clear()


@pytest.fixture
def config(tmp_path):
  """Two functions of NumPy images, on the digits, in seconds."""
  path = tmp_path / 'nets.py'
  path.write_text(NETS)
  config = tiny.get_config()
  with config.unlocked():
    config.model.classifier = {
      'functions': (f'{path}:low', f'{path}:high'),
      'identity': 'of May',
    }
    config.baselines = ()
    config.classifier.steps = config.finetune.steps = 0
    config.certify.chunk_size = 30
    config.targets.update(chunk_size=30, votes=10, count=40, shard_size=40)
    config.estimator.steps = 10
  return config


def change(config, **changes):
  with config.unlocked():
    for name, value in changes.items():
      group, _, field = name.rpartition('__')
      place = config
      for part in group.split('__'):
        place = place[part]
      place[field] = value
  return config


def test_from_functions_to_rows(config, tmp_path):
  """Targets, an estimator, rows of the pair: all by batches of 30."""
  workdir = tmp_path / 'run'
  with tiny.one_device():
    loop.train(config, workdir)
  for protocol in ('adaptive', 'fixed'):
    config.certify.protocol = protocol
    rows = certify_dataset.certify_dataset(config, workdir)
    [run] = run_settings.runs(config)
    folder = workdir / 'certify' / run_settings.label(config, run)
    found = json.loads((folder / 'settings.json').read_text())
    assert len(rows) == 3
    assert found['model']['classifier']['functions'] == [
      'nets.py:low of May',
      'nets.py:high of May',
    ]
    assert found['hosts'] == [[''], ['']]
    assert {*found['sources']} == {'classifier'}
    assert verify(folder / 'rows.tsv').problems == []
  calls = named.attribute(f'{tmp_path}/nets.py:CALLS')
  assert {shape[0] for shape in calls} == {30}
  # Other weights are another training, and other rows.
  before = recipe.identity(config)
  config.model.classifier.identity = 'of June'
  assert recipe.identity(config)['model'] != before['model']
  with pytest.raises(settings.SettingsMismatch, match='model'):
    certify_dataset.certify_dataset(config, workdir)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'classifier__steps': 5}, 'functions are not trained: classifier.steps'),
    ({'model__classifier__functions': ('a.py:x',) * 3}, '3 classifiers for 2'),
    (
      {'model__estimator': {'functions': ('a.py:x',)}},
      'the estimator is trained here',
    ),
    ({'certify__chunk_size': 0}, 'certify.chunk_size must be at least 1'),
    ({'certify__spread': 'votes'}, 'vote in one process: certify.spread'),
    ({'model__classifier__functions': ('no.py:x',) * 2}, 'no file no.py'),
  ],
)
def test_what_is_refused_before_anything_is_computed(
  config, tmp_path, changes, message
):
  change(config, **changes)
  with pytest.raises(ValueError, match=message):
    train.check(config, Place())
  assert not (tmp_path / 'run').exists()


def test_a_model_that_does_not_answer_leaves_its_folder_to_the_next(
  config, tmp_path
):
  path, workdir = tmp_path / 'nets.py', tmp_path / 'run'
  path.write_text(NETS.replace('-bright(images)', 'bright(images)[:, :5]'))
  with pytest.raises(ValueError, match=r'returns 5 logits .* not the 10 of'):
    loop.train(config, workdir)
  assert not workdir.exists()


@pytest.mark.torch
@pytest.mark.slow
def test_two_torch_networks_are_routed_to(tmp_path, caplog):
  """Trained at two levels on real digits; the pair bears more than either."""
  pytest.importorskip('torch')
  pictures = _as_a_folder(tmp_path / 'pictures')
  (tmp_path / 'my_models.py').write_text(FILE)
  for name, sigma in (('low', 0.25), ('high', 1.0)):
    _trained(tmp_path / 'my_models.py', name, sigma)
  config = own.get_config()
  with config.unlocked():
    config.data.data_dir = str(pictures)
    config.model.classifier.functions = tuple(
      f'{tmp_path}/my_models.py:{name}' for name in ('low', 'high')
    )
    config.model.classifier.image_mean = (0.1,)
    config.model.classifier.image_deviation = (0.25,)
    config.model.estimator.image_mean = 0.1
    config.targets.votes = 32
    config.estimator.steps = 500
    config.certify.count = 120
    config.certify.n = 1_000
    config.certify.seed = 3
  workdir = tmp_path / 'run'
  with caplog.at_level(logging.INFO):
    loop.train(config, workdir)
  assert 'images can be certified' in caplog.text
  dual = certify_dataset.certify_dataset(config, workdir)
  config.certify.smoothing = 'single'
  singles = certify_dataset.certify_dataset(config, workdir)
  labels = ['dual-agreement', 'single-0.25-expert-0', 'single-1-expert-1']
  for label in labels:
    assert verify(workdir / 'certify' / label / 'rows.tsv').problems == []
  print(report.report(workdir, labels, radii=own.RADII))
  assert {row.sigma_index for row in dual} >= {0, 1}
  both, low, high = (
    [_accuracy(rows, radius) for radius in (0.0, 0.25, 1.0, 1.5)]
    for rows in (dual, singles[: len(dual)], singles[len(dual) :])
  )
  assert low[0] > high[0] + 0.1  # little noise is for small radii
  assert high[2] > low[2] == 0  # and much for large ones
  # The pair has much of what each has where it is the better one.
  assert both[0] > (low[0] + high[0]) / 2
  assert both[2] > high[2] / 2


def _accuracy(rows, radius):
  return np.mean(
    [row.predict == row.label and row.radius >= radius for row in rows]
  )


def _as_a_folder(root):
  """The digits as files, in splits."""
  for split in ('train', 'validation', 'test'):
    source = data.load('digits', split, renderings=2)
    for number, label in enumerate(source.labels.tolist()):
      folder = root / split / str(label)
      folder.mkdir(parents=True, exist_ok=True)
      image = Image.fromarray(source.images[number, ..., 0])
      image.save(folder / f'{number}.png')
  return root


def _trained(path, name, sigma):
  """Trains a network of the file under noise, and leaves its weights there."""
  torch = pytest.importorskip('torch')
  torch.manual_seed(0)
  module = named.attribute(f'{path}:net')()
  source = data.load('digits', 'train', renderings=2)
  images = torch.from_numpy(source.images.copy()).permute(0, 3, 1, 2) / 255
  labels = torch.from_numpy(source.labels).long()
  optimizer = torch.optim.Adam(module.parameters(), 2e-3)
  for _ in range(700):
    chosen = torch.randint(len(images), (64,))
    noisy = images[chosen] + sigma * torch.randn(64, 1, 32, 32)
    logits = module((noisy - 0.1) / 0.25)
    loss = torch.nn.functional.cross_entropy(logits, labels[chosen])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
  torch.save(module.state_dict(), path.parent / f'{name}.pt')
