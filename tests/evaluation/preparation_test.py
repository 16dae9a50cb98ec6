"""What cannot be certified is said before the training, and as after it."""

import random
import re

import jax
import numpy as np
import pytest

from dualrs_jax import checkpoints, models, sharding
from dualrs_jax.evaluation import (
  certify_dataset,
  noises,
  preparation,
  sampling,
)
from dualrs_jax.programs import train
from dualrs_jax.runtime.processes import Place
from dualrs_jax.training import loop
from tests.training import tiny

WIDTHS = {'classifier-0': 10, 'classifier-1': 10, 'estimator-1': 2}

#: Options of `config.certify`, and what is said of them.
IMPOSSIBLE = [
  ({'task': 'classify'}, 'certify.task must be one of'),
  ({'smoothing': 'twin'}, 'certify.smoothing must be one of'),
  ({'protocol': 'adaptiv'}, "did you mean 'adaptive'"),
  ({'goal': 'best'}, 'certify.goal must be one of'),
  ({'goal': 'radius'}, "goal 'radius' takes one radius"),
  ({'goal': 'radius', 'radii': ()}, "goal 'radius' takes one radius"),
  ({'radii': ()}, "goal 'grid' takes radii"),
  ({'radii': (0.5, 0.25)}, 'radii must increase'),
  ({'radii': (-0.5,)}, r'certify.radii must be numbers from 0 on, unlike -0.5'),
  ({'radii': (float('nan'),)}, 'certify.radii .* unlike nan'),
  ({'radii': ('half',), 'protocol': 'fixed'}, "certify.radii .* 'half'"),
  ({'radii': (float('inf'),), 'goal': 'full'}, 'certify.radii .* unlike inf'),
  ({'noise': 'laplace'}, 'certify.noise must be one of'),
  ({'noise': 'published'}, 'there is no denoiser'),
  ({'certificate': 'papers'}, "did you mean 'paper'"),
  ({'label': '../elsewhere'}, 'certify.label must be the name of a folder'),
  ({'label': 'seed.json'}, 'certify.label .* not of a .json file'),
  ({'label': 151 * 'x'}, 'certify.label has at most 150 bytes, not the 151'),
  ({'split': 'tests'}, 'split must be one of'),
  ({'start': 500}, 'certify.start = 500 leaves none of the 500 images'),
  ({'start': -1}, 'certify.start and certify.count must not be negative'),
  ({'stride': 0}, 'certify.stride must be positive'),
  ({'count': -1}, 'certify.count must not be negative'),
  ({'n0': 0}, 'certify: n0 must be at least 1, not 0'),
  ({'n0': 2**30}, r'certify: n0 must be below 2\*\*30'),
  ({'n': 0}, 'certify: n must be at least 1, not 0'),
  ({'n': -5}, 'certify: n must be at least 1, not -5'),
  ({'n': 2**31}, r'certify: n must be below 2\*\*30'),
  ({'n': 10, 'alpha': 0.001}, 'certify: n = 10 votes can never certify at'),
  ({'alpha': 0.0}, r'certify: alpha .* in \(0, 1\), not 0.0'),
  ({'alpha': 1.0}, r'certify: alpha .* in \(0, 1\), not 1.0'),
  ({'alpha': float('nan')}, r'certify: alpha .* in \(0, 1\), not nan'),
  ({'alpha': 1e-320}, 'certify: alpha = 1e-320 is too small to compute with'),
  ({'chunk_size': -1}, 'certify.chunk_size must be at least 1, or 0'),
  ({'chunk_size': 10**9}, 'certify: chunk_size = 1000000000 takes 10,240,'),
  ({'chunk_size': 2**31}, r'certify: chunk_size must be below 2\*\*30'),
  ({'spread': 'pixels'}, 'certify.spread must be one of'),
  ({'seed': -2}, 'certify.seed must be -1'),
  ({'seed': 2**32}, r'certify: seed must be in \[0, 2\*\*32\)'),
]

#: Protocols and noises, and the smallest alpha that each certifies at.
METHODS = [
  {'protocol': 'adaptive', 'noise': 'lattice'},
  {'protocol': 'adaptive', 'noise': 'gaussian'},
  {'protocol': 'fixed', 'noise': 'lattice'},
  {'protocol': 'fixed', 'noise': 'gaussian'},
  {'protocol': 'fixed', 'noise': 'lattice', 'task': 'predict'},
]


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  mesh = sharding.votes_mesh(jax.local_devices()[:1])
  monkeypatch.setattr(sharding, 'votes_mesh', lambda devices=None: mesh)


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
  """Random networks, saved as training saves them."""
  directory = tmp_path_factory.mktemp('networks')
  for seed, (stage, width) in enumerate(WIDTHS.items()):
    model = models.create(
      **tiny.SIZES, num_classes=width, image_shape=(32, 32, 1), seed=seed
    )
    with checkpoints.Saver(directory / stage, keep=1) as saver:
      state = {checkpoints.MODEL: checkpoints.model_state(model)}
      saver.save(1, state, {})
  return directory


@pytest.fixture
def workdir(networks, tmp_path):
  (tmp_path / 'checkpoints').symlink_to(networks)
  return tmp_path


def make_config(certify, **others):
  config = tiny.get_config().unlock()
  config.update({'baselines': (), **others})
  config.certify.count = 1
  config.certify.update(certify)
  return config.lock()


class Trained(Exception):
  """Stands for a training, which is not what these tests are about."""


def before(config, workdir):
  """What a training says before its first step; None if it begins."""
  with pytest.MonkeyPatch.context() as patch:

    def begin(*_):
      raise Trained

    patch.setattr(loop, 'train', begin)
    try:
      train.main(config, workdir, Place())
    except ValueError as error:
      return str(error)
    except Trained:
      return None


def after(config, workdir):
  """What the certification says after it; None if it ends well."""
  try:
    train.certify(config, workdir, Place())
  except ValueError as error:
    return str(error)


@pytest.mark.parametrize(('changes', 'sentence'), IMPOSSIBLE)
def test_the_same_sentence_before_and_after(workdir, changes, sentence):
  config = make_config(changes)
  told = before(config, workdir)
  assert told is not None
  with pytest.raises(ValueError, match=sentence):
    raise ValueError(told)
  # train.py certifies both ways, whatever the option says.
  if 'smoothing' not in changes:
    assert after(config, workdir) == told
  assert not (workdir / 'certify').exists()


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(
  'alpha', [3e-9, 3e-10, 7e-11, 1e-11, 3e-12, 3e-13, 3e-14, 3e-16]
)
def test_alphas_at_the_edge_are_told_as_they_were_given(
  workdir, method, alpha, monkeypatch
):
  config = make_config(method | {'alpha': alpha, 'n': 1000})
  told = before(config, workdir)
  if told is not None:
    assert told.startswith('certify: ')
    assert f'alpha = {alpha!r}' in told
    assert ('noise takes' in told) == (method['noise'] == 'lattice')
    assert after(config, workdir) == told
    return
  # Then nothing is refused until the first vote.
  voting = Trained()

  def cast(*_):
    raise voting

  monkeypatch.setattr(sampling, 'cast', cast)
  with pytest.raises(Trained):
    after(config, workdir)


@pytest.mark.parametrize(
  ('sigmas', 'certify', 'sentence'),
  [
    ((0.5, 15.5), {}, r"sigma = 15.5 .* certify.noise = 'gaussian' has no"),
    ((0.5, 15.5), {'noise': 'gaussian'}, None),
    ((0.25, 0.25000001), {}, 'sigmas name folders by six digits'),
    ((0.5, 2.0), {'n': 1000}, None),
  ],
)
def test_levels(workdir, sigmas, certify, sentence):
  told = before(make_config(certify, sigmas=sigmas), workdir)
  if sentence is None:
    assert told is None
  else:
    with pytest.raises(ValueError, match=sentence):
      raise ValueError(told)


DUAL = {'smoothing': 'dual', 'sigmas': [0.25, 0.5], 'estimator_sigma': 0.25}


@pytest.mark.parametrize('alpha', [2.5e-13, 5e-13, 1.3e-12, 5e-12, 1e-10])
@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'task': 'predict', 'n0': None},
    DUAL | {'certificate': 'paper'},
    DUAL | {'certificate': 'minimum', 'goal': 'grid', 'radii': [0.1]},
  ],
)
def test_the_votes_asked_for_are_enough_though_the_noise_takes_more_for_them(
  changes, alpha
):
  settings = {
    'task': 'certify',
    'smoothing': 'single',
    'certificate': None,
    'sigmas': [0.25],
    'estimator_sigma': None,
    'n0': 10,
    'n': 10,
    'alpha': alpha,
    'noise': 'lattice',
    'goal': None,
    'radii': [],
  } | changes
  arguments = {'seed': 0, 'chunk_size': 0, 'mesh': sharding.votes_mesh()}
  with pytest.raises(ValueError, match='never|leaves nothing') as caught:
    preparation.prepare(settings, (32, 32, 3), **arguments)
  told = str(caught.value)
  fewest = re.search(r'at least (\d+)', told)
  if fewest is None:
    assert re.search(r'larger alpha|takes alpha = ', told)
    return
  enough = settings | {'n': int(fewest[1])}
  assert preparation.prepare(enough, (32, 32, 3), **arguments)
  fewer = settings | {'n': int(fewest[1]) - 1}
  with pytest.raises(ValueError, match='never'):
    preparation.prepare(fewer, (32, 32, 3), **arguments)


def test_published_noise_beyond_its_schedule(workdir):
  """There is a denoiser here, but its file is not looked for."""
  settings = {
    'task': 'certify',
    'smoothing': 'single',
    'certificate': None,
    'sigmas': [400.0],
    'estimator_sigma': None,
    'n0': 10,
    'n': 100,
    'alpha': 0.01,
    'noise': 'published',
    'goal': None,
    'radii': [],
    'model': {'denoiser': {'schedule': 'linear', 'steps': 1000}},
  }
  arguments = {'seed': 0, 'chunk_size': 0, 'mesh': sharding.votes_mesh()}
  with pytest.raises(ValueError, match='sigma'):
    preparation.prepare(settings, (8, 8, 3), **arguments)
  settings['sigmas'] = [1.0]
  assert preparation.prepare(settings, (8, 8, 3), **arguments).settings


@pytest.mark.parametrize('generator', ['rbg', 'unsafe_rbg'])
def test_a_generator_of_jax_that_is_not_threefry(workdir, generator):
  config = make_config({})
  original = jax.config.jax_default_prng_impl  # pyright: ignore
  jax.config.update('jax_default_prng_impl', generator)
  try:
    told = str(before(config, workdir))
    assert f'not with {generator!r}: use jax.random.key(seed, impl=' in told
    assert after(config, workdir) == told
  finally:
    jax.config.update('jax_default_prng_impl', original)


def test_what_jax_refuses_is_found_without_a_network(workdir, monkeypatch):
  """Here: a rule of JAX's that the noise breaks."""

  def broken(key, image, sigma):
    return image + sigma * np.ones(7, np.float32)

  monkeypatch.setattr(
    noises, 'make', lambda settings: jax.tree_util.Partial(broken)
  )
  for protocol in ('adaptive', 'fixed'):
    config = make_config({'protocol': protocol, 'noise': 'gaussian'})
    with pytest.raises((TypeError, ValueError), match='shape'):
      train.check(config, Place())


#: What may be asked for; some of it together with something else only.
CHOICES = {
  'protocol': ['adaptive', 'fixed', 'paper'],
  'goal': ['grid', 'radius', 'full'],
  'noise': ['auto', 'gaussian', 'lattice', 'published'],
  'certificate': ['agreement', 'minimum', 'paper', 'fallback'],
  'task': ['certify', 'predict'],
  'radii': [(), (0.25,), (0.0, 0.5), (0.5, 0.0), (0.0, 99.0)],
  'label': ['', 'again', 'settings.json'],
  'split': ['test', 'validation'],
  'start': [0, 3, 499, 500],
  'stride': [1, 7, 1000],
  'n0': [1, 10, 40],
  'n': [1, 11, 20, 40, 64],
  'alpha': [0.5, 0.01, 1e-7, 1e-11],
  'chunk_size': [1, 64],
  'seed': [-1, 0, 2**32 - 1],
}


def check_drawn(seed, workdir):
  """What is said before a training is all that is said after it."""
  draw = random.Random(seed)
  names = draw.sample(sorted(CHOICES), 6)
  chosen = {name: draw.choice(CHOICES[name]) for name in names}
  if chosen.get('protocol') == 'paper':
    chosen['chunk_size'] = 64
  config = make_config(chosen)
  assert before(config, workdir) == after(config, workdir), chosen


@pytest.mark.parametrize('seed', range(5))
def test_options_drawn_at_random(seed, workdir, capsys):
  check_drawn(seed, workdir)


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(100, 140))
def test_more_options_drawn_at_random(seed, workdir, capsys):
  check_drawn(seed, workdir)


@pytest.mark.parametrize(
  ('changes', 'recorded'),
  [
    ({'smoothing': 'cascade'}, True),
    ({'certificate': 'fallback'}, True),
    ({'certificate': 'fallback', 'task': 'predict'}, True),
    ({'certificate': 'fallback', 'protocol': 'fixed'}, False),
    ({'smoothing': 'cascade', 'protocol': 'fixed'}, False),
    ({'certificate': 'agreement'}, False),
    ({'certificate': 'minimum'}, False),
    ({'smoothing': 'single'}, False),
  ],
)
def test_what_is_bounded_at_the_smallest_level_is_recorded(changes, recorded):
  """Where it is another bound than before; other runs go on as they are."""
  config = make_config({'protocol': 'adaptive', 'noise': 'gaussian', **changes})
  prepared = certify_dataset.prepare(config, Place())
  said = {run.get('smallest_level') for run in prepared.runs}
  assert said == {'runner-up' if recorded else None}
