"""Models of any framework: the votes of their equals in JAX, or a sentence."""

import functools
import inspect
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dualrs_jax as drs
from dualrs_jax import (
  compilers,
  denoising,
  diffusion,
  independence,
  vote_batches,
)
from tests import oracles

SIGMAS = (0.03, 0.06, 0.12)
IMAGES = np.stack([oracles.image(4, 4, 1, seed=seed) for seed in range(2)])
KEY = jax.random.key(3)
VOTES = {'n': 180, 'alpha': 0.05, 'chunk_size': 60}
BOTH = VOTES | {'n0': 20}
NETWORK = oracles.integer_network(16, 5, seed=1)
CHOOSER = oracles.integer_network(16, 3, seed=2)


def numpy_form(network):
  """The integer network as a function of NumPy images and noise levels."""
  weights = [np.asarray(weight) for weight in network.args]

  def model(images, sigma):
    assert type(images) is type(sigma) is np.ndarray
    assert images.dtype == sigma.dtype == np.float32
    first, second, scale = weights
    grid = np.clip(np.round(images * np.float32(32)), -128, 128).astype(int)
    level = np.round(sigma * scale).astype(int)
    hidden = np.maximum(
      grid.reshape(len(images), -1) @ first + level[:, None], 0
    )
    return (hidden % 61 @ second).astype(np.float32)

  return model


MODEL = numpy_form(NETWORK)


def hosted(function, width=5):
  return drs.host_classifier(function, width, takes_sigma=True)


def both(host_form):
  """Estimator and classifier: of a host, or of JAX."""
  if not host_form:
    return CHOOSER, NETWORK
  return hosted(numpy_form(CHOOSER), 3), hosted(MODEL)


def dual(call, estimator, classifier, **options):
  chosen = options if call is drs.predict_dual else options | {'n0': 20}
  if call is drs.certify_dual:
    chosen |= {'certificate': drs.agreement}
  arguments = estimator, classifier, IMAGES[0], SIGMAS, 0.1, KEY
  return call(*arguments, **VOTES | chosen)


def many(call, *networks, levels=(SIGMAS,), **options):
  found = call(*networks, enumerate(IMAGES), *levels, KEY, **BOTH | options)
  return dict(sorted(found))


DOORS = {
  'certify': lambda h, f: drs.certify(f, IMAGES[0], 0.06, KEY, **BOTH),
  'predict dual': functools.partial(dual, drs.predict_dual),
  'experts': lambda h, f: dual(drs.certify_dual, h, (f, NETWORK, f)),
  'cascade': lambda h, f: drs.certify_cascade(
    f, IMAGES[0], SIGMAS, KEY, **BOTH
  ),
  'images of experts': lambda h, f: many(
    drs.certify_images,
    *(h, (f, NETWORK, f)),
    levels=(SIGMAS, 0.1),
    certificate=drs.minimum,
    goal='grid',
    radii=(0.0, 0.05),
  ),
  'cascade of images': lambda h, f: many(
    drs.certify_cascade_images, f, goal='full'
  ),
}


@pytest.mark.parametrize('door', DOORS)
def test_votes_are_those_of_the_same_network_in_jax(door):
  jax.tree.map(
    lambda mine, other: np.testing.assert_allclose(mine, other, rtol=1e-6),
    DOORS[door](*both(True)),
    DOORS[door](*both(False)),
  )


def test_sigma_is_given_to_those_who_take_it():
  def model(images, sigma):
    assert sigma.shape == images.shape[:1]
    return np.stack([0.05 - sigma, sigma - 0.05], axis=1)

  found = many(
    drs.certify_images,
    *(CHOOSER, hosted(model, 2)),
    levels=(SIGMAS, 0.1),
    certificate=drs.minimum,
    goal='full',
  )
  for answer in found.values():
    if answer.prediction >= 0:
      assert answer.prediction == (SIGMAS[answer.sigma_index] > 0.05)


def test_a_host_is_called_in_the_thread_of_the_caller_with_one_batch_shape():
  calls = []

  def model(images, sigma):
    calls.append((threading.current_thread(), images.shape))
    return MODEL(images, sigma)

  classifier = hosted(model)
  dual(drs.certify_dual, CHOOSER, classifier)
  here = len(calls)
  many(drs.certify_cascade_images, classifier, goal='full')
  assert 4 < here < len(calls)
  assert set(calls) == {(threading.main_thread(), (60, 4, 4, 1))}


def test_devices_share_the_copies_each_in_its_own_thread():
  """Three devices of 60 copies each give the counts of one."""
  threads = [set() for _ in range(3)]
  barrier = threading.Barrier(3, timeout=20)

  meet = threading.Event()

  def on(device):
    def model(images, sigma):
      assert len(images) == 60
      threads[device].add(threading.current_thread())
      if meet.is_set():
        barrier.wait()  # all of them at the same time
      return MODEL(images, sigma)

    return model

  spread = hosted([on(device) for device in range(3)])
  expected = drs.certify(NETWORK, IMAGES[0], 0.06, KEY, **BOTH)
  for _ in range(2):
    found = drs.certify(spread, IMAGES[0], 0.06, KEY, **BOTH)
    np.testing.assert_array_equal(
      found.counts.estimation, expected.counts.estimation
    )
    meet.set()  # the first look was one function after the other
  assert threads[0] == {threading.main_thread()}
  assert len(set.union(*threads)) == 3
  assert all(len(each) == 1 for each in threads)
  meet.clear()
  [*mine] = many(drs.certify_cascade_images, spread, goal='full').values()
  [*other] = many(drs.certify_cascade_images, NETWORK, goal='full').values()
  assert [c.radius for c in mine] == [c.radius for c in other]


def test_a_step_of_a_host_is_drawn_before_the_one_before_is_cast():
  """So that a device draws noise while the host computes."""
  order = []
  draw = vote_batches._draw

  def model(images, sigma):
    order.append('cast')
    return MODEL(images, sigma)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      vote_batches,
      '_draw',
      lambda *a, **o: (order.append('draw'), draw(*a, **o))[1],
    )
    examples = enumerate(np.concatenate([IMAGES] * 4))
    options = BOTH | {'goal': 'full'}
    arguments = hosted(model), examples, SIGMAS, KEY
    assert len([*drs.certify_cascade_images(*arguments, **options)]) == 8
  assert order[:3] == ['draw', 'draw', 'cast']


def test_a_denoiser_stands_before_a_host():
  schedule = diffusion.Schedule.of(diffusion.cosine_alphas(4000))
  network = jax.tree_util.Partial(lambda images, times: 0.1 * images)
  front = denoising.Front(denoising.Denoiser(network, schedule), (8, 8))

  def model(images):
    assert images.shape == (60, 8, 8, 1)
    return np.stack([0.5 - images[:, 3, 3, 0], images[:, 3, 3, 0] - 0.5], -1)

  def same(images, sigma):
    middle = images[:, 3, 3, 0]
    return jnp.stack([0.5 - middle, middle - 0.5], axis=-1)

  mine = front.before(drs.host_classifier(model, 2))
  arguments = IMAGES[0], 0.5, KEY
  found = drs.certify(mine, *arguments, **BOTH).counts.estimation
  expected = drs.certify(
    front.before(jax.tree_util.Partial(same)), *arguments, **BOTH
  )
  # Where a pixel is 0.5 up to rounding, programs may differ.
  assert abs(found - expected.counts.estimation).max() <= 1


def test_an_invalid_vote_is_in_no_class():
  """What turns bad after the first look is counted against all classes."""
  calls = []

  def model(images):
    calls.append(0)
    logits = np.tile(np.float32([0, 1, 0]), (len(images), 1))
    if len(calls) > 2:
      logits[::2, 2] = np.nan
    return logits

  found = drs.certify(
    drs.host_classifier(model, 3), IMAGES[0], 0.06, KEY, **BOTH
  )
  assert np.asarray(found.counts.selection).tolist() == [0, 20, 0]
  assert np.asarray(found.counts.estimation).tolist() == [0, 110, 0]


def test_a_copy_that_is_not_finite_casts_no_vote():
  blind = drs.host_classifier(lambda images: np.tile([1, 0], (60, 1)), 2)
  broken = jax.tree_util.Partial(
    lambda key, image, sigma: jnp.where(key_bit(key), jnp.nan, image)
  )
  key_bit = lambda key: jax.random.bits(key) % 2 == 0
  found = drs.certify(blind, IMAGES[0], 0.06, KEY, noise=broken, **BOTH)
  assert 40 < int(found.counts.estimation[0]) < 140
  [(_, one)] = drs.certify_images(
    *(None, blind, [(0, IMAGES[0])], SIGMAS[:1], None, KEY),
    **BOTH | {'noise': broken, 'goal': 'full', 'certificate': drs.minimum},
  )
  assert int(one.classifier_counts.estimation.sum()) < 140


def first(images):
  return images.reshape(len(images), -1)[:, :5]


def raises(images):
  raise RuntimeError('no weights today\nand more')


def gives(change):
  return lambda images: change(first(images))


WRONG = {
  'raises': (
    raises,
    r'raises raised RuntimeError in .*host_test.py, line \d+: no weights today'
    r' \(given images of shape \(60, 4, 4, 1\)\)',
  ),
  'no array': (gives(lambda x: (x, 1)), 'What the model .* must be an array'),
  'texts': (gives(lambda x: x.astype(str)), 'must be an array of numbers'),
  'complex': (gives(lambda x: x + 1j), 'Logits are real'),
  'flat': (gives(lambda x: x[:, 0]), r'not to an array of shape \(60,\)'),
  'one row': (gives(lambda x: x[:1]), r'not to an array of shape \(1, 5\)'),
  'width': (gives(lambda x: x[:, :4]), 'returns 4 logits .* not the 5'),
  'nan': (gives(lambda x: np.sqrt(x - 2)), 'returns NaN for 60 of 60'),
  'dropout': (
    gives(lambda x: x * np.random.default_rng().integers(0, 2, x.shape)),
    r'answers the same images differently when it is asked again, .*eval\(\)',
  ),
  'batch statistics': (
    gives(lambda x: x - x.mean(axis=0)),
    r'depend on their batch companions, .*model\.eval\(\)',
  ),
  'position': (
    gives(lambda x: x + np.arange(len(x))[:, None] % 2 * np.arange(5)),
    'depend on their batch companions',
  ),
}


@pytest.mark.filterwarnings('ignore:invalid value:RuntimeWarning')
@pytest.mark.parametrize('images', [False, True])
@pytest.mark.parametrize('case', WRONG)
def test_what_cannot_vote_is_found_before_votes_are_counted(case, images):
  function, message = WRONG[case]
  classifier = drs.host_classifier(function, 5)
  call = functools.partial(
    drs.certify, classifier, IMAGES[0], 0.06, KEY, **BOTH
  )
  if images:
    call = functools.partial(
      many, drs.certify_cascade_images, classifier, goal='full'
    )
  with pytest.raises(ValueError, match=message) as caught:
    call()
  if case == 'raises':
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_is_raised_later_is_told_as_well():
  calls = []

  def model(images):
    calls.append(0)
    if len(calls) == 4:
      raise MemoryError('of the device')
    return first(images)

  with pytest.raises(ValueError, match='raised MemoryError .* of the device'):
    drs.certify(drs.host_classifier(model, 5), IMAGES[0], 0.06, KEY, **BOTH)


def test_other_models_are_no_devices_of_one():
  models = [first, lambda images: -first(images)]
  with pytest.raises(ValueError, match='one model on several devices; for sev'):
    drs.certify(drs.host_classifier(models, 5), IMAGES[0], 0.06, KEY, **BOTH)


@pytest.mark.parametrize(
  ('function', 'classes', 'message'),
  [
    (3, 2, 'of a function of NumPy images, not of a int'),
    ([first, None], 2, 'not of a NoneType'),
    ([], 2, 'not of an empty list'),
    (first, 2.0, 'num_classes must be a whole number, not 2.0'),
    (first, 0, 'the width of the logits, not 0'),
    (first, True, 'the width of the logits, not True'),
  ],
)
def test_what_makes_no_host_classifier(function, classes, message):
  with pytest.raises(ValueError, match=message):
    inspect.unwrap(drs.host_classifier)(function, classes)


@pytest.mark.parametrize('around', [jax.jit, jax.vmap, jax.eval_shape])
@pytest.mark.parametrize('call', ['certify', 'dual', 'itself'])
def test_no_program_takes_a_host_in(around, call):
  classifier = drs.host_classifier(first, 5)

  def certified(image):
    if call == 'itself':
      return classifier(image[None], jnp.ones(1))
    if call == 'certify':
      return drs.certify(classifier, image, 0.06, KEY, **BOTH).radius
    return drs.certify_dual(
      *(CHOOSER, classifier, image, SIGMAS, 0.1, KEY),
      **BOTH | {'certificate': drs.minimum},
    ).radius

  if around is jax.eval_shape:
    around = lambda function: functools.partial(jax.eval_shape, function)
  images = jnp.asarray(IMAGES if around is jax.vmap else IMAGES[0])
  with pytest.raises(ValueError, match=r'outside of jax\.jit, jax\.vmap'):
    around(certified)(images)


def test_what_a_host_program_consists_of_is_compiled_as_ever():
  modes = []

  @compilers.jit
  def part(x):
    modes.append(isinstance(x, jax.core.Tracer))
    return x + 1

  @compilers.jit
  def whole(classifier, x):
    modes.append(isinstance(x, jax.core.Tracer))
    return jax.lax.cond(x > 0, part, lambda x: x, x)

  assert int(whole(drs.host_classifier(first, 5), jnp.int32(1))) == 2
  assert modes == [False, True]
  assert int(whole(None, jnp.int32(1))) == 2
  assert modes[2:] == [True]  # part is traced already, or within


def test_a_host_is_checked_for_companions_like_others():
  hosts = {
    0: drs.host_classifier(first, 5),
    1: drs.host_classifier(lambda x: first(x) - first(x).mean(axis=0), 5),
  }
  arguments = IMAGES[0], 0.06, KEY
  independence.check_batch_independence(hosts[0], *arguments, chunk_size=7)
  with pytest.raises(ValueError, match='batch companions'):
    independence.check_batch_independence(hosts[1], *arguments, chunk_size=7)
