"""Votes: who gets one, and who gets none."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dualrs_jax import classifiers, noise, voting
from tests import oracles

IMAGE = oracles.image(4, 4, 1)
NETWORK = oracles.integer_network(16, 5, seed=1)
KEY = noise.image_key(jax.random.key(0), 5)


def count(classifier=NETWORK, image=IMAGE, sigma=0.5, key=KEY, **options):
  options = {'n0': 20, 'n': 180, 'chunk_size': 100} | options
  return voting.count_votes(classifier, image, sigma, key, **options)


@jax.jit
def _winner(split, vote):
  """One vote, from the definition of the noise."""
  key = jax.random.fold_in(jax.random.fold_in(KEY, split), vote)
  noisy = IMAGE + 0.5 * jax.random.normal(key, IMAGE.shape)
  return jnp.argmax(NETWORK(noisy[None], jnp.full(1, 0.5))[0])


def by_hand(n0=20, n=180):
  """One vote after the other, without the code under test."""
  return [
    np.bincount([_winner(split, vote) for vote in range(size)], minlength=5)
    for split, size in ((0, n0), (1, n))
  ]


def test_counts_are_those_of_votes_counted_one_by_one():
  counts = count()
  for found, expected in zip(counts, by_hand(), strict=True):
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, expected)
  # The network is a fair witness: every class has votes.
  assert np.all(np.asarray(counts.estimation) > 0)


@pytest.mark.parametrize('chunk_size', [1, 7, 1_000])
def test_chunks_change_nothing(chunk_size):
  chex.assert_trees_all_equal(count(chunk_size=chunk_size), count())


def test_padding_is_never_counted():
  """17 + 100 votes in chunks of 30: three votes of padding."""
  for n0, n, chunk_size in ((17, 100, 30), (0, 10, 4)):
    counts = count(
      oracles.constant([0.0, 1.0]), n0=n0, n=n, chunk_size=chunk_size
    )
    assert counts.selection.tolist() == [0, n0]
    assert counts.estimation.tolist() == [0, n]


def test_a_vote_keeps_its_noise_when_there_are_more():
  """100 + 100 votes against 20 + 180: each split goes on where it was."""
  counts, others = count(n0=100, n=100), count()
  assert np.all(counts.selection >= others.selection)
  assert np.all(counts.estimation <= others.estimation)
  # And the splits do not share noise.
  assert counts.selection.tolist() != counts.estimation.tolist()


def test_votes_with_nan_are_in_no_class():
  offset = float(IMAGE.reshape(-1)[0])
  counts = count(oracles.invalid_beyond(offset))
  for split, size in zip(counts, (20, 180), strict=True):
    assert split[1] == 0
    assert 0.25 < int(split[0]) / size < 0.75


@pytest.mark.parametrize(
  ('row', 'winner'),
  [
    ([1.0, np.nan, 3.0], 3),
    ([np.nan, np.nan, np.nan], 3),
    ([1.0, 2.0, 2.0], 1),
    ([-np.inf, -np.inf, 0.0], 2),
    ([0.0, np.inf, 0.0], 1),
  ],
)
def test_winners(row, winner):
  assert voting.winners(jnp.array([row])).tolist() == [winner]


@pytest.mark.parametrize('sigma', [np.nan, -0.5, 0.0, np.inf])
def test_no_vote_is_valid_at_a_level_that_makes_no_sense(sigma):
  counts = count(oracles.constant([0.0, 1.0]), sigma=sigma)
  assert jax.tree.map(lambda c: c.sum().tolist(), tuple(counts)) == (0, 0)


@pytest.mark.parametrize('pixel', [np.nan, np.inf])
def test_no_vote_is_valid_on_an_image_that_is_not_finite(pixel):
  counts = count(
    oracles.constant([0.0, 1.0]), image=IMAGE.at[1, 1, 0].set(pixel)
  )
  assert jax.tree.map(lambda c: c.sum().tolist(), tuple(counts)) == (0, 0)


def _some_copies_fail(value, key, image, sigma):
  """One pixel of half of the copies is not finite."""
  noisy = noise.gaussian(key, image, sigma)
  fails = noisy[0, 0, 0] > image[0, 0, 0]
  return noisy.at[2, 1, 0].set(jnp.where(fails, value, noisy[2, 1, 0]))


@pytest.mark.parametrize('value', [np.nan, -np.inf])
def test_no_vote_is_valid_on_a_copy_that_is_not_finite(value):
  """Whatever the logits are: a network need not pass a NaN on."""
  failing = jax.tree_util.Partial(_some_copies_fail, jnp.float32(value))
  counts = count(oracles.constant([0.0, 1.0]), noise=failing)
  expected = count(oracles.invalid_beyond(float(IMAGE[0, 0, 0])))
  for split, other in zip(counts, expected, strict=True):
    assert split.tolist() == other.tolist()[::-1]
    assert split[1] > 0


def test_votes_of_a_batch():
  copies = jnp.zeros((3, 2, 2, 1)).at[1, 1, 0, 0].set(jnp.nan)
  sigma = jnp.array([1.0, 1.0, jnp.nan])
  classifier = lambda images, sigma: jnp.stack([sigma, 2 * sigma], axis=1)
  assert voting.cast_votes(classifier, copies, sigma).tolist() == [1, 2, 2]


def test_a_noise_may_refuse_images_and_levels():
  class Picky:
    def check(self, image, sigmas):
      raise ValueError(f'not {sigmas}')

    def __call__(self, key, image, sigma):
      return image

  with pytest.raises(ValueError, match=r'not 0\.5'):
    count(noise=Picky())


@pytest.mark.parametrize('dtype', [jnp.float16, jnp.bfloat16])
def test_votes_are_cast_in_float32(dtype):
  """A narrow image is widened first: its noise is not rounded."""
  image = IMAGE.astype(dtype)
  chex.assert_trees_all_equal(
    count(image=image), count(image=image.astype(jnp.float32))
  )


def test_other_levels_images_keys_and_weights_do_not_recompile():
  @jax.jit
  @chex.assert_max_traces(n=1)
  def program(classifier, image, sigma, key):
    return voting.count_votes(
      classifier, image, sigma, key, n0=20, n=180, chunk_size=100
    )

  for seed, sigma in enumerate((0.25, 0.5, 1.0)):
    network = oracles.integer_network(16, 5, seed=seed)
    counts = program(network, IMAGE * sigma, sigma, jax.random.key(seed))
    assert counts.estimation.sum() == 180


def test_sigma_reaches_the_classifier():
  def by_level(images, sigma):
    return jnp.stack([sigma, jnp.full(images.shape[0], 0.5)], axis=1)

  assert count(by_level, sigma=0.25).estimation.tolist() == [0, 180]
  assert count(by_level, sigma=1.0).estimation.tolist() == [180, 0]


def test_a_model_of_images_alone():
  def model(images):
    return NETWORK(images, jnp.full(images.shape[0], 0.5))

  chex.assert_trees_all_equal(count(classifiers.ignore_sigma(model)), count())
  linear = nnx.Linear(16, 3, rngs=nnx.Rngs(0))
  ignored = classifiers.ignore_sigma(linear)
  images = jnp.ones((2, 16))
  np.testing.assert_array_equal(ignored(images, jnp.ones(2)), linear(images))
  assert len(jax.tree.leaves(ignored)) == 2


def test_a_network_of_one_batch_sees_no_other():
  def exported(images, sigma):
    if len(images) != 32:
      raise TypeError(f'a batch of 32 was exported, not of {len(images)}')
    return jnp.stack([images.sum(-1), -images.sum(-1)], axis=-1)

  def free(images, sigma):
    seen.append(len(images))
    return jnp.stack([images.sum(-1), -images.sum(-1)], axis=-1)

  seen = []
  counts = [
    voting.count_votes(
      network, np.zeros(5, np.float32), 0.5, KEY, n0=5, n=60, chunk_size=32
    )
    for network in (exported, free)
  ]
  chex.assert_trees_all_equal(*counts)
  assert set(seen) == {22}, '65 votes are three times 22, and one of padding'
