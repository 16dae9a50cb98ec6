"""A classifier that reads the image off the last bits of float32 noise.

float32 has many more numbers than the sum of an image and float32 noise takes:
which of them occur depends on the image. The classifier has seen noisy copies
of one image and remembers the numbers. It tells that image from its neighbours
with certainty, however much noise there is.

References:
  Voracek and Hein (2022), Sound randomized smoothing in floating-point
  arithmetics, https://arxiv.org/abs/2207.07209
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dualrs_jax import certify, lattice, lattice_law, voting
from dualrs_jax import noise as noise_lib

SIGMA = 0.5
SHAPE = (10, 10, 1)
OPTIONS = {'n0': 100, 'n': 10_000, 'alpha': 0.001, 'chunk_size': 1_010}
NOISE = lattice.lattice_noise([SIGMA])

#: Room for what the classifier remembers: all have one shape, and compile once.
ROOM = 3_000_000

#: Two grey images, which differ by one step in each of 100 pixels.
IMAGES = [np.full(SHAPE, grey / 255, np.float32) for grey in (127, 128)]
DISTANCE = float(np.linalg.norm(IMAGES[1] - IMAGES[0]))

_noisy_copies = jax.jit(voting.noisy_copies)


def remembered(noise, copies=170_000):
  """The distinct numbers in noisy copies of the first image, in order.

  Of those next to 0, where float32 is finer than the noise is.
  """
  seen = _noisy_copies(
    IMAGES[0],
    jnp.float32(SIGMA),
    jax.random.key(1),  # the certificates below draw other noise
    jnp.zeros(copies, jnp.int32),
    jnp.arange(copies),
    noise=noise,
  )
  seen = np.asarray(seen).reshape(-1)
  return padded(np.unique(seen[np.abs(seen) < 0.25]))


def padded(memory):
  return np.pad(
    memory, (0, ROOM - len(memory)), constant_values=np.float32(np.inf)
  )


def familiar(memory, pixels):
  """Which pixels are in the range of the memory, and which are in it."""
  readable = jnp.abs(pixels) < 0.25
  at = jnp.searchsorted(memory, pixels)
  return readable, readable & (memory[at] == pixels)


def _attack(memory, images, sigma):
  """Class 0 where half of the readable pixels or more are familiar, else 1."""
  del sigma
  readable, known = familiar(memory, images.reshape(images.shape[0], -1))
  score = 2 * known.sum(axis=1) - readable.sum(axis=1)
  return jnp.stack([score, -score], axis=1).astype(jnp.float32)


def certificates(memory, noise):
  classifier = jax.tree_util.Partial(_attack, jnp.asarray(memory))
  return [
    certify(classifier, image, SIGMA, jax.random.key(3), noise=noise, **OPTIONS)
    for image in IMAGES
  ]


@pytest.fixture(scope='module')
def memory():
  return remembered(noise_lib.gaussian)


def test_gaussian_noise_certifies_a_false_radius(memory):
  first, second = certificates(memory, noise_lib.gaussian)
  assert (int(first.prediction), int(second.prediction)) == (0, 1)
  assert DISTANCE < 0.04
  # All votes agree, or nearly: 1.6 is claimed where the class flips at 0.04.
  for answer in (first, second):
    assert float(answer.radius) > 1.5


def exact_probability(memory, k):
  """Of class 0 under lattice noise, by the law of its independent pixels."""
  masses = lattice_law.law(SIGMA, NOISE.high.shape[1]).masses
  masses = np.array(masses, np.float64) / 2.0**64
  steps = np.arange(len(masses)) - len(masses) // 2
  noisy = (k + steps).astype(np.float32) * np.float32(1 / 255)
  readable, known = familiar(jnp.asarray(memory), jnp.asarray(noisy))
  readable, known = masses[readable].sum(), masses[known].sum()
  pixels = int(np.prod(SHAPE))
  numbers = np.arange(pixels + 1)
  wins = stats.binom.sf((numbers + 1) // 2 - 1, numbers, known / readable)
  votes = stats.binom.pmf(numbers, pixels, readable) @ wins
  return min(float(votes), 1.0)


@pytest.mark.parametrize('source', ['gaussian', 'lattice', 'even'])
def test_lattice_noise_certifies_no_more_than_the_truth(memory, source):
  """Whatever the classifier knows: seen floats, all there are, every other."""
  if source != 'gaussian':
    memory = remembered(NOISE, copies=10_000)
    if source == 'even':
      memory = padded(memory[np.isfinite(memory)][::2])
  truth = [exact_probability(memory, k) for k in (127, 128)]
  for answer, probability in zip(
    certificates(memory, NOISE), truth, strict=True
  ):
    wins, losses = answer.counts.estimation.tolist()
    assert wins + losses == OPTIONS['n']
    assert stats.binomtest(wins, OPTIONS['n'], probability).pvalue > 1e-6
    true_radius = SIGMA * stats.norm.ppf(max(probability, 1 - probability))
    assert float(answer.radius) <= true_radius
  # The probability moves no faster than the certificate takes it to.
  z = np.clip(stats.norm.ppf(truth), -9, 9)
  assert abs(z[1] - z[0]) <= DISTANCE / SIGMA
