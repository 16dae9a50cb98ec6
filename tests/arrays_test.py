"""The NumPy door gives the certificates of the JAX one."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax import (
  ABSTAIN,
  agreement,
  arrays,
  certify,
  certify_array,
  certify_dual,
  certify_images,
  check_batch_independence,
  fallback,
  host_classifier,
  image_key,
  predict,
  predict_dual,
)
from dualrs_jax.lattice import lattice_noise
from tests import oracles

NETWORK = oracles.integer_network(16, 5, seed=1)
IMAGES = np.stack([oracles.image(4, 4, 1, seed=seed) for seed in range(3)])
STATISTICS = {'n0': 20, 'n': 180, 'alpha': 0.05}
SIGMA = 0.06


def model(images):
  assert type(images) is np.ndarray
  assert images.dtype == np.float32
  return np.asarray(NETWORK(jnp.asarray(images), jnp.full(len(images), SIGMA)))


@pytest.mark.parametrize('chunk_size', [30, 1_000])
def test_as_certify(chunk_size):
  key = jax.random.key(3)
  answer = certify_array(
    model, IMAGES, SIGMA, key, chunk_size=chunk_size, **STATISTICS
  )
  assert answer.radius.dtype == np.float64
  for index, image in enumerate(IMAGES):
    single = certify(
      NETWORK,
      image,
      SIGMA,
      image_key(key, index),
      chunk_size=200,
      **STATISTICS,
    )
    for own, other in zip(answer.counts, single.counts, strict=True):
      np.testing.assert_array_equal(own[index], other)
    assert answer.prediction[index] == single.prediction
    # float64, so never below the float32 of the device.
    assert float(single.radius) <= answer.radius[index]
    assert answer.radius[index] == pytest.approx(float(single.radius), rel=4e-7)
  assert np.any(answer.prediction != ABSTAIN)


@pytest.mark.parametrize('chunk_size', [1, 3, 30, 300])
def test_the_model_sees_one_batch_shape(chunk_size):
  shapes = []

  def spy(images):
    shapes.append(images.shape)
    return np.zeros((len(images), 2))

  answer = certify_array(
    spy,
    IMAGES[:1],
    SIGMA,
    jax.random.key(0),
    chunk_size=chunk_size,
    **STATISTICS,
  )
  # One for the number of classes, one more at the first votes for the check of
  # independence; 200 votes in chunks, of which the last is filled up.
  assert shapes == [(chunk_size, 4, 4, 1)] * (2 + -(-200 // chunk_size))
  assert answer.counts.selection.tolist() == [[20, 0]]
  assert answer.counts.estimation.tolist() == [[180, 0]]


@pytest.mark.parametrize('chunk_size', [1, 3, 30])
def test_a_traced_model_sees_one_batch_shape(chunk_size):
  """As one that was exported has no other."""

  def exported(images, sigma):
    assert images.shape[0] == sigma.shape[0] == chunk_size
    return jnp.stack([images[:, 0, 0, 0], images[:, 1, 0, 0]], axis=-1)

  image, key = IMAGES[0], jax.random.key(0)
  votes = {'chunk_size': chunk_size, 'n': 100, 'alpha': 0.05}
  check_batch_independence(exported, image, SIGMA, key, chunk_size=chunk_size)
  certify(exported, image, SIGMA, key, n0=10, **votes)
  predict(exported, image, SIGMA, key, **votes)
  levels = exported, image, [0.1, 0.2], 0.1, key
  certify_dual(exported, *levels, n0=10, certificate=agreement, **votes)
  predict_dual(exported, *levels, **votes)
  found = certify_images(
    *(exported, exported, [(0, image)], [0.1, 0.2], 0.1, key),
    **{'goal': 'full', 'n0': 10, 'certificate': agreement} | votes,
  )
  assert len(list(found)) == 1


def test_a_model_that_answers_at_random_is_refused_in_any_chunk():
  rng = np.random.default_rng(0)
  for chunk_size in (1, 30):
    with pytest.raises(ValueError, match='differently when it is asked again'):
      certify_array(
        lambda images: rng.normal(size=(len(images), 2)),
        *(IMAGES, SIGMA, jax.random.key(0)),
        chunk_size=chunk_size,
        **STATISTICS,
      )


def test_a_model_that_works_in_place_has_its_own_copies():
  """It changes neither the noise nor the logits of a call before."""
  output = np.zeros((30, 2))

  def in_place(images):
    pixel = images[:, 0, 0, 0].copy()
    images *= 0
    output[:, 0], output[:, 1] = pixel, 0.5
    return output

  def plain(images):
    return np.stack([images[:, 0, 0, 0], np.full(len(images), 0.5)], axis=-1)

  arguments = IMAGES, SIGMA, jax.random.key(0)
  options = {'chunk_size': 30} | STATISTICS
  mine, other = (
    certify_array(model, *arguments, **options) for model in (in_place, plain)
  )
  np.testing.assert_array_equal(mine.counts.estimation, other.counts.estimation)

  def centred(images):  # hands out one buffer, and depends on companions
    output[:, 0] = images[:, 0, 0, 0] - images[:, 0, 0, 0].mean()
    return output

  with pytest.raises(ValueError, match='batch companions'):
    certify_array(centred, *arguments, **options)


def test_images_are_float32_in_the_end():
  key, options = jax.random.key(0), {'chunk_size': 200} | STATISTICS
  wide = certify_array(model, IMAGES.astype(np.float64), SIGMA, key, **options)
  narrow = certify_array(model, IMAGES, SIGMA, key, **options)
  np.testing.assert_array_equal(
    wide.counts.estimation, narrow.counts.estimation
  )


def test_a_model_whose_rows_depend_on_each_other_is_refused():
  def centred(images):
    flat = images.reshape(len(images), -1)
    return (flat - flat.mean(axis=0))[:, :2]

  with pytest.raises(ValueError, match='batch companions'):
    certify_array(
      centred,
      np.full((1, 4), 0.5, np.float32),
      0.5,
      jax.random.key(0),
      n0=10,
      n=100,
      alpha=0.01,
      chunk_size=50,
    )


def test_exact_noise_refuses_what_it_was_not_made_for():
  options = {'noise': lattice_noise([0.5])} | STATISTICS
  options['chunk_size'] = 50
  with pytest.raises(ValueError, match=r'round it to 8\s+bits'):
    certify_array(model, IMAGES * 0.999, 0.5, jax.random.key(0), **options)
  with pytest.raises(ValueError, match=r'not for sigma = 0\.25'):
    certify_array(
      model, np.round(IMAGES * 255) / 255, 0.25, jax.random.key(0), **options
    )


@pytest.mark.parametrize(
  ('answer', 'message'),
  [
    (lambda logits: (logits, 1), 'What the model .* must be an array'),
    (lambda logits: logits.astype(str), 'an array of numbers, not a ndarray'),
    (lambda logits: logits + 1j, 'Logits are real'),
    (lambda logits: logits[:, 0], r'not to an array of shape \(5,\)'),
    (lambda logits: logits[:, :1], 'at least two classes'),
    (lambda logits: logits[:, :0], 'at least two classes'),
  ],
)
def test_what_is_no_logits_is_refused(answer, message):
  model = lambda images: answer(images.reshape(len(images), -1)[:, :3])
  with pytest.raises(ValueError, match=message):
    certify_array(
      model,
      np.full((1, 4), 0.5, np.float32),
      0.5,
      jax.random.key(0),
      n0=5,
      n=20,
      alpha=0.05,
      chunk_size=5,
    )


def test_whole_logits_do_not_wrap_where_companions_are_compared():
  """127 - (-1) is -128 in int8, whose absolute value is -128 again."""
  calls = []

  def model(images):
    calls.append(0)
    logits = np.array([127 if len(calls) % 2 else -1, 0], np.int8)
    return np.tile(logits, (len(images), 1))

  with pytest.raises(ValueError, match='so no bound on'):
    certify_array(
      model,
      np.full((1, 4), 0.5, np.float32),
      0.5,
      jax.random.key(0),
      n0=5,
      n=20,
      alpha=0.05,
      chunk_size=5,
    )


def first(images):
  return images.reshape(len(images), -1)[:, :5]


def chooser(images):
  return images.reshape(len(images), -1)[:, -3:]


CHOICE = {'estimator': chooser, 'estimator_sigma': 0.1}
SIGMAS = (0.03, 0.06, 0.12)


@pytest.mark.parametrize('rule', [agreement, fallback])
def test_several_levels_are_certify_dual_in_float64(rule):
  key, options = jax.random.key(3), {'chunk_size': 30} | STATISTICS
  answer = certify_array(
    [first, host_classifier(first, 5), first],  # experts, of any kind
    *(IMAGES[:2], SIGMAS, key),
    **options | CHOICE,
    certificate=rule,
  )
  assert answer.radius.dtype == np.float64
  networks = host_classifier(chooser, 3), host_classifier(first, 5)
  options['certificate'] = rule
  for index, image in enumerate(IMAGES[:2]):
    levels = SIGMAS, 0.1, image_key(key, index)
    one = certify_dual(*networks, image, *levels, **options)
    for own, other in zip(
      answer.classifier_counts, one.classifier_counts, strict=True
    ):
      np.testing.assert_array_equal(own[index], other)
    assert answer.prediction[index] == one.prediction
    assert answer.sigma_index[index] == one.sigma_index
    assert float(one.radius) <= answer.radius[index]
    assert answer.radius[index] == pytest.approx(float(one.radius), rel=1e-6)
  assert np.any(answer.radius > 0)


@pytest.mark.parametrize('several', [False, True])
def test_the_adaptive_protocol_is_certify_images(several, capsys):
  key = jax.random.key(3)
  goal = {'goal': 'grid', 'radii': (0.0, 0.01, 0.02)}
  options = {'chunk_size': 30} | STATISTICS | goal
  choice = CHOICE | {'certificate': agreement} if several else {}
  answer = certify_array(
    *(first, IMAGES, SIGMAS if several else SIGMA, key),
    **options | choice,
    protocol='adaptive',
    progress=True,
  )
  assert 'certify: 100%' in capsys.readouterr().err
  levels = (SIGMAS, 0.1) if several else ([SIGMA], None)
  estimator = host_classifier(chooser, 3) if several else None
  found = certify_images(
    *(estimator, host_classifier(first, 5), enumerate(IMAGES), *levels, key),
    **options,
    certificate=agreement,
  )
  for index, one in found:
    assert answer.prediction[index] == one.prediction
    assert answer.radius[index] == one.radius
    np.testing.assert_array_equal(
      answer.classifier_cast.estimation[index], one.classifier_cast.estimation
    )
  assert np.any(answer.prediction != ABSTAIN)


def test_a_classifier_of_jax_is_taken_as_it_is():
  answer = certify_array(
    *(NETWORK, IMAGES, SIGMA, jax.random.key(3)), chunk_size=200, **STATISTICS
  )
  again = certify_array(
    *(model, IMAGES, SIGMA, jax.random.key(3)), chunk_size=200, **STATISTICS
  )
  np.testing.assert_array_equal(
    answer.counts.estimation, again.counts.estimation
  )


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'sigma': SIGMAS}, 'takes estimator and estimator_sigma and certificate:'),
    (
      {'sigma': SIGMAS, **CHOICE, 'certificate': None},
      'takes certificate: the',
    ),
    ({**CHOICE, 'sigma': SIGMA}, 'sigma is a single one: give a list of them'),
    ({'protocol': 'open'}, "must be 'fixed' or 'adaptive', not 'open'"),
    ({'radii': (0.5,)}, "goal and radii are for protocol='adaptive'"),
    ({'goal': 'grid'}, "goal and radii are for protocol='adaptive'"),
    ({'protocol': 'adaptive', 'goal': 'all'}, "one of .*'all'"),
    ({'model': [first, None]}, 'of NumPy images, or a sequence .* a NoneType'),
    ({'model': [first, first]}, '2 experts for 3 noise levels'),
    ({'model': host_classifier(first, 4)}, '5 logits .* not the 4'),
    ({'estimator': first}, '5 logits .* not the 3'),
    ({'images': IMAGES[:0]}, 'at least one image'),
    ({'images': IMAGES.astype(np.longdouble)}, r'use image.astype\(numpy.fl'),
    (
      {'noise': None},
      'noise is a sampler .* such as dualrs_jax.gaussian, not N',
    ),
    ({'noise': 'gaussian'}, "dualrs_jax.gaussian, not 'gaussian'"),
    ({'radii': None}, 'radii must be an array of numbers, not a NoneType'),
    ({'radii': 0.5}, 'radii is a list of numbers, not 0.5'),
    ({'certificate': 'x'}, "a composition rule such as .*, not 'x'"),
  ],
)
def test_what_is_refused(changes, message):
  several = {'model', 'estimator'} & {*changes}
  options = {'model': first, 'images': IMAGES, 'sigma': SIGMA}
  options |= {'key': jax.random.key(0), 'chunk_size': 30} | STATISTICS
  if several:
    options |= CHOICE | {'sigma': SIGMAS, 'certificate': agreement}
  with pytest.raises(ValueError, match=message):
    inspect.unwrap(arrays.certify_array)(**options | changes)
