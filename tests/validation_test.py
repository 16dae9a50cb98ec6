"""Bad arguments fail in one clear sentence; traced ones are let through."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax import (
  agreement,
  certify,
  certify_array,
  certify_dual,
  certify_images,
  minimum,
  paper,
  predict,
  predict_dual,
  validation,
)
from tests import oracles

IMAGE = oracles.image(2)
CLASSIFIER = oracles.half_space([1.0, 0.0], 0.7)
KEY = jax.random.key(0)
STATISTICS = {'n0': 10, 'n': 50, 'alpha': 0.05, 'chunk_size': 30}
DUAL = STATISTICS | {'certificate': agreement}
SIGMAS = (0.25, 0.5)


def single(image=IMAGE, sigma=0.5, key=KEY, **changes):
  return certify(CLASSIFIER, image, sigma, key, **(STATISTICS | changes))


def dual(image=IMAGE, sigmas=SIGMAS, level=0.5, key=KEY, **changes):
  stages = {'estimator': CLASSIFIER, 'classifier': CLASSIFIER}
  stages |= {name: changes.pop(name) for name in stages if name in changes}
  return certify_dual(
    stages['estimator'],
    stages['classifier'],
    image,
    sigmas,
    level,
    key,
    **(DUAL | changes),
  )


def single_prediction(image=IMAGE, sigma=0.5, key=KEY, **changes):
  options = {'n': 50, 'alpha': 0.05, 'chunk_size': 30} | changes
  return predict(CLASSIFIER, image, sigma, key, **options)


def dual_prediction(image=IMAGE, sigmas=SIGMAS, level=0.5, key=KEY, **changes):
  options = {'n': 50, 'alpha': 0.05, 'chunk_size': 30} | changes
  return predict_dual(
    CLASSIFIER, CLASSIFIER, image, sigmas, level, key, **options
  )


def arrays(images=None, sigma=0.5, key=KEY, **changes):
  images = np.asarray(IMAGE)[None] if images is None else images
  return certify_array(
    lambda images: np.zeros((len(images), 2)),
    images,
    sigma,
    key,
    **(STATISTICS | changes),
  )


ONE_LEVEL = [single, single_prediction, arrays]
TWO_LEVELS = [dual, dual_prediction]


def _with_pixel(call, value):
  image = np.asarray(IMAGE).copy()
  image[1] = value
  return image[None] if call is arrays else image


@pytest.mark.parametrize('call', ONE_LEVEL + TWO_LEVELS)
def test_images(call):
  with pytest.raises(ValueError, match='The image holds NaN'):
    call(_with_pixel(call, np.nan))
  with pytest.raises(ValueError, match=r'\[0, 1\].*spans \[.*, 1.5\]'):
    call(_with_pixel(call, 1.5))
  with pytest.raises(ValueError, match=r'\[0, 1\].*spans \[-0.1, '):
    call(_with_pixel(call, -0.1))


@pytest.mark.parametrize('call', ONE_LEVEL + TWO_LEVELS)
def test_one_rounding_above_white_is_told_with_all_its_digits(call):
  above = np.nextafter(np.float32(1), np.float32(2))
  sentence = r'spans \[.*, 1.0000001\]: .* use jnp.clip\(image, 0, 1\)'
  with pytest.raises(ValueError, match=sentence):
    call(_with_pixel(call, above))
  call(np.clip(_with_pixel(call, above), 0, 1))


@pytest.mark.parametrize(
  ('dtype', 'white', 'advice'),
  [
    (np.uint8, 255, 'image / 255'),
    (np.uint16, 65535, 'image / 65535'),
    (bool, True, r'image\.astype\(float\)'),
    (np.longdouble, 1, r'image\.astype\(numpy\.float32\)'),
    (np.int32, 1000, 'divide them by what is white'),
  ],
)
def test_images_that_are_not_scaled(dtype, white, advice):
  image = np.array([0, white], dtype)
  with pytest.raises(ValueError, match=f'not {image.dtype}: .*{advice}\\.$'):
    validation.check_image(image)
  scaled = {
    'uint8': image / 255,
    'uint16': image / 65535,
    'bool': image.astype(float),
    np.dtype(np.longdouble).name: image.astype(np.float32),
    'int32': image / white,
  }[image.dtype.name]
  validation.check_image(scaled)
  np.testing.assert_array_equal(scaled, [0, 1])


def test_a_batch_of_images_is_an_array_of_them():
  with pytest.raises(ValueError, match=r'batch \[batch, \*image\]'):
    arrays(np.zeros(3, np.float32))
  with pytest.raises(ValueError, match='at least one image'):
    arrays(np.zeros((0, 3), np.float32))


@pytest.mark.parametrize('bad', [0.0, -0.5, np.nan, np.inf, 1e-50, 1e39])
def test_sigma(bad):
  for call in ONE_LEVEL:
    with pytest.raises(ValueError, match='sigma must be positive and finite'):
      call(sigma=bad)
  for call in TWO_LEVELS:
    with pytest.raises(ValueError, match='sigmas must be positive and finite'):
      call(sigmas=(0.25, bad))
    with pytest.raises(ValueError, match='estimator_sigma must be positive'):
      call(level=bad)


def test_one_sigma_is_a_scalar_and_several_are_a_list():
  with pytest.raises(ValueError, match='one noise level, a scalar'):
    validation.check_scalar_sigma(jnp.ones(2))
  for bad in (0.5, np.ones((2, 2)), ()):
    with pytest.raises(ValueError, match='a list of at least one noise level'):
      validation.check_levels(bad, 0.5)
  with pytest.raises(ValueError, match='estimator_sigma is one noise level'):
    validation.check_levels((0.5, 0.25), jnp.ones(2))


@pytest.mark.parametrize('call', ONE_LEVEL + TWO_LEVELS)
@pytest.mark.parametrize('bad', [0.0, 1.0, -0.1, 2.0, np.nan])
def test_alpha(call, bad):
  with pytest.raises(ValueError, match=r'failure probability in \(0, 1\)'):
    call(alpha=bad)


@pytest.mark.parametrize('call', ONE_LEVEL + TWO_LEVELS)
def test_numbers_of_votes(call):
  with pytest.raises(ValueError, match='chunk_size must be at least 1, not 0'):
    call(chunk_size=0)
  with pytest.raises(ValueError, match=r'n = 3 votes can never|never predict'):
    call(n=3)
  with pytest.raises(ValueError, match=r'n must be at least 1|never predict'):
    call(n=0)


@pytest.mark.parametrize('call', [single, arrays, dual])
def test_selection_needs_votes(call):
  with pytest.raises(ValueError, match='n0 must be at least 1, not 0'):
    call(n0=0)


@pytest.mark.parametrize(
  ('rule', 'alpha', 'fewest'),
  [
    (minimum, 0.001, 10),  # .001 ** (1 / 10) > 1 / 2
    (paper, 0.001, 11),  # the same of .0005
    (agreement, 0.001, 11),
  ],
)
def test_votes_that_no_rule_could_certify(rule, alpha, fewest):
  with pytest.raises(ValueError, match=f'at least {fewest} are needed'):
    dual(certificate=rule, alpha=alpha, n=fewest - 1)
  jax.eval_shape(lambda: dual(certificate=rule, alpha=alpha, n=fewest))


def test_votes_that_could_never_predict():
  """Two-sided test: 2 * 2 ** -n <= alpha."""
  with pytest.raises(ValueError, match='at least 11 are needed'):
    single_prediction(n=10, alpha=0.001)
  jax.eval_shape(lambda: single_prediction(n=11, alpha=0.001))
  with pytest.raises(ValueError, match='at least 12 are needed'):
    dual_prediction(n=11, alpha=0.001)
  jax.eval_shape(lambda: dual_prediction(n=12, alpha=0.001))


@pytest.mark.parametrize(
  'bad',
  [
    0,
    np.zeros(2, np.uint32),
    jax.random.split(jax.random.key(0)),
    jax.random.key(0, impl='rbg'),
    jax.random.key(0, impl='unsafe_rbg'),
  ],
  ids=['int', 'raw', 'two', 'rbg', 'unsafe'],
)
def test_keys(bad):
  with pytest.raises(ValueError, match=r'key'):
    validation.check_key(bad)


def test_key_messages():
  with pytest.raises(ValueError, match=r'use jax.random.key\(seed\)'):
    validation.check_key(jax.random.PRNGKey(0))
  with pytest.raises(ValueError, match=r'one key, not an array of shape'):
    validation.check_key(jax.random.split(KEY, 3))
  with pytest.raises(ValueError, match="threefry keys, not with 'rbg'"):
    validation.check_key(jax.random.key(0, impl='rbg'))
  validation.check_key(KEY)
  validation.check_key(jax.random.key(0, impl='threefry2x32'))


def test_width_of_the_estimator():
  with pytest.raises(
    ValueError, match='chooses among 2 noise levels, but sigmas holds 3'
  ):
    dual(sigmas=(0.25, 0.5, 1.0))


def test_experts():
  with pytest.raises(ValueError, match='3 experts for 2 noise levels'):
    dual(classifier=(CLASSIFIER,) * 3)
  with pytest.raises(ValueError, match=r'widths are \[2, 3\]'):
    dual(classifier=(CLASSIFIER, oracles.constant([0.0, 1.0, 0.0])))


def test_a_single_logit_is_no_classifier():
  one, two = (
    lambda images, sigma, width=width: jnp.zeros((len(images), width))
    for width in (1, 2)
  )
  level, options = {'n': 50, 'alpha': 0.05, 'chunk_size': 30}, DUAL
  with pytest.raises(ValueError, match='at least two classes, and this one'):
    certify(one, IMAGE, 0.5, KEY, **STATISTICS)
  with pytest.raises(ValueError, match='at least two classes'):
    predict(one, IMAGE, 0.5, KEY, **level)
  with pytest.raises(ValueError, match='at least two classes'):
    certify_array(
      lambda images: np.zeros((len(images), 1)),
      np.asarray(IMAGE)[None],
      0.5,
      KEY,
      **STATISTICS,
    )
  with pytest.raises(ValueError, match='at least two classes'):
    certify_dual(two, one, IMAGE, SIGMAS, 0.5, KEY, **options)
  with pytest.raises(ValueError, match='at least two classes'):
    predict_dual(two, one, IMAGE, SIGMAS, 0.5, KEY, **level)
  with pytest.raises(ValueError, match='at least two classes'):
    certify_images(
      two, one, [(0, IMAGE)], SIGMAS, 0.5, KEY, goal='full', **options
    )
  dual(sigmas=(0.5,), estimator=one)  # which has one level to choose


def test_classifier_of_a_wrong_shape():
  with pytest.raises(ValueError, match=r'logits \[batch, classes\]'):
    dual(classifier=lambda images, sigma: images[0])
  with pytest.raises(ValueError, match=r'logits \[20, classes\]'):
    certify_array(
      lambda images: np.zeros(3),
      np.asarray(IMAGE)[None],
      0.5,
      KEY,
      **(STATISTICS | {'chunk_size': 20}),
    )


def test_traced_values_are_not_looked_at():
  """They abstain instead, see smoothing_test and dual_test."""

  def checks(image, sigma, key):
    validation.check_image(image)
    validation.check_scalar_sigma(sigma)
    validation.check_levels(jnp.stack([sigma, sigma]), sigma)
    validation.check_key(key)
    return sigma

  jax.jit(checks)(jnp.full(2, 9.0), -1.0, KEY)
  jax.vmap(checks)(
    jnp.full((3, 2), jnp.nan), jnp.zeros(3), jax.random.split(KEY, 3)
  )


@pytest.mark.parametrize('name', ['n0', 'n'])
def test_numbers_of_votes_are_whole(name):
  numbers = {'n0': 10, 'n': 1000, 'chunk_size': 100} | {name: 1e3}
  with pytest.raises(ValueError, match=f'{name} must be a whole number'):
    # The type checks of the tests would speak first.
    getattr(validation.check_votes, '__wrapped__', validation.check_votes)(
      numbers['n0'], numbers['n'], 0.001, numbers['chunk_size']
    )


def test_numbers_of_other_kinds_are_what_they_say():
  for alpha in (0.05, np.float32(0.5), np.array(0.5), jnp.float32(0.5)):
    assert type(validation.as_alpha(alpha)) is float
  for n in (50, np.int64(50), 50.0, np.array(50), jnp.int32(50)):
    assert validation.as_votes('n', n) == 50
    assert type(validation.as_votes('n', n)) is int
  for bad in ('0.5', None, [0.5], np.ones(2), True):
    with pytest.raises(ValueError, match='alpha must be a number, not'):
      validation.as_alpha(bad)
  for bad in (50.5, jnp.float32(0.5)):
    with pytest.raises(ValueError, match='n must be a whole number, not'):
      validation.as_votes('n', bad)
  with pytest.raises(ValueError, match='alpha must be known before the votes'):
    jax.jit(validation.as_alpha)(0.5)


def test_arrays_of_other_kinds_are_what_they_hold():
  for value in ([0.25, 0.5], (0.25, 0.5), [jnp.float32(0.25), 0.5]):
    np.testing.assert_array_equal(validation.as_array(value, 'x'), [0.25, 0.5])
  for bad in ('0.5', None, ['a'], object(), [[1], [1, 2]], {}):
    with pytest.raises(ValueError, match=r'^sigma must be an array'):
      validation.as_array(bad, 'sigma')
  stacked = jax.jit(lambda a: jnp.sum(validation.as_array([a, a], 'x')))
  assert stacked(1.0) == 2


def test_radii_are_a_list_of_numbers():
  for radii in ((0.25, 0.5), [jnp.float32(0.25), 0.5], np.array([0.25, 0.5])):
    assert validation.as_radii(radii) == (0.25, 0.5)
  assert validation.as_radii(()) == ()
  for bad in ('12', None, ['a']):
    with pytest.raises(ValueError, match='^radii must be an array of numbers'):
      validation.as_radii(bad)
  for bad in (0.5, [[0.5]], [0.5j]):
    with pytest.raises(ValueError, match='^radii is a list of numbers, not'):
      validation.as_radii(bad)


HABITS = """
import jax, jax.numpy as jnp, numpy as np
import dualrs_jax as drs

class Tensor:  # of another framework
  def __array__(self, dtype=None, copy=None):
    return np.full((2, 2), 0.5, np.float32)

def model(images, sigma):
  return jnp.stack([images[:, 0, 0], 1 - images[:, 1, 1]], axis=-1)

images = [Tensor(), [[0.5, 0.5], [0.5, 0.5]], np.full((2, 2), 0.5)]
key = jax.random.key(0)
kinds = [
  (0.05, 50), (np.float32(0.05), np.int64(50)), (jnp.float32(0.05), 50.0)
]
for image, (alpha, n) in zip(images, kinds):
  votes = {'n': n, 'alpha': alpha, 'chunk_size': np.int32(10)}
  sigmas = [0.25, jnp.float32(0.5)]
  calls = [
    lambda **v: drs.certify(model, image, jnp.float32(0.5), key, n0=n, **v),
    lambda **v: drs.predict(model, image, np.array(0.5), key, **v),
    lambda **v: drs.certify_dual(
      model, model, image, sigmas, 0.5, key, n0=n, certificate=drs.paper, **v),
    lambda **v: drs.predict_dual(model, model, image, sigmas, 0.5, key, **v),
    lambda **v: list(drs.certify_images(
      model, model, [(0, image)], sigmas, 0.5, key, goal='full', n0=n,
      certificate=drs.paper, **v)),
    lambda **v: drs.certify_array(
      lambda images: np.asarray(model(images, 0)), [np.asarray(image)], 0.5,
      key, n0=n, **v),
  ]
  for call in calls:
    call(**votes)
    for bad in (
      {'alpha': '0.05'}, {'n': 'many'}, {'n': 50.5}, {'chunk_size': None}
    ):
      try:
        call(**(votes | bad))
      except ValueError as error:
        assert ' must be a' in str(error), error
      else:
        raise AssertionError(bad)
for key in (0, jax.random.PRNGKey(0), np.zeros(2, np.uint32), None):
  for sigma, wrong in ((0.5, key), ('0.5', jax.random.key(0))):
    try:
      drs.certify(
        model, images[2], sigma, wrong,
        n0=10, n=50, alpha=0.05, chunk_size=10)
    except ValueError as error:
      assert 'key must be typed' in str(error) or 'sigma must be' in str(error)
    else:
      raise AssertionError(key)
images = [(0, np.full((2, 2), 0.5))]
options = {'goal': 'full', 'n0': 10, 'n': 50, 'alpha': 0.05}
options |= {'certificate': drs.minimum, 'chunk_size': 10}
for examples, changes, message in (
  (7, {}, 'An example is a pair of a dataset index and an image, not a int'),
  (images, {'tolerance': None}, 'tolerance must be a number, not None'),
  (images, {'bounds': 'open'}, "dualrs_jax.open_ended, not 'open'"),
  (images, {'certificate': 'x'}, "a composition rule such as"),
):
  try:
    drs.certify_images(
      None, model, examples, [0.5], None, jax.random.key(0),
      **options | changes)
  except ValueError as error:
    assert message in str(error), error
  else:
    raise AssertionError(message)
print('fine')
"""


def test_habits_work_or_are_told():
  """Without the type checks of the tests, which would speak first."""
  done = subprocess.run(
    [sys.executable, '-c', HABITS], capture_output=True, text=True
  )
  assert done.stdout == 'fine\n', done.stderr
