"""Exact integer noise: its sampler, and that nothing leaks.

What it is for is tested in lattice_attack_test.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import dualrs_jax
from dualrs_jax import independence, lattice, lattice_law, voting
from dualrs_jax import noise as noise_lib
from dualrs_jax.data import to_unit
from tests import oracles

KEY = noise_lib.image_key(jax.random.key(0), 5)
LEVELS = (0.12, 0.25, 0.5)
GREYS = np.arange(256, dtype=np.uint8)
#: The float32 numbers that people call k / 255.
DIVISIONS = {
  'to_unit': np.asarray(to_unit(GREYS)),
  'divided': GREYS.astype(np.float32) / np.float32(255),
  'float64': (GREYS / 255).astype(np.float32),
  'multiplied': GREYS.astype(np.float32) * np.float32(1 / 255),
}

_noisy_copies = jax.jit(voting.noisy_copies)


@pytest.fixture(scope='module')
def noise():
  return lattice.lattice_noise(LEVELS)


def exactly(level):
  """The level as float32 has it, which is the one that is sampled."""
  return float(np.float32(level))


def copies(noise, image, level, *, key=KEY, votes=2_000):
  """Noisy copies of 256 pixels, in units of 1 / 255."""
  noisy = _noisy_copies(
    jnp.asarray(image, jnp.float32),
    jnp.float32(level),
    key,
    jnp.full(votes, noise_lib.ESTIMATION, jnp.int32),
    jnp.arange(votes),
    noise=noise,
  )
  steps = np.asarray(noisy, np.float64) * 255
  np.testing.assert_allclose(steps, np.rint(steps), rtol=0, atol=1e-3)
  return np.rint(steps).astype(int)


def test_distances_are_those_of_the_documents():
  """docs/lattice.md, for CIFAR-10 and for ImageNet."""
  noise = lattice.lattice_noise([0.25, 0.5])
  np.testing.assert_allclose(
    3_072 * noise.total_variation(), [2.41e-14, 5.05e-14], rtol=0.01
  )
  np.testing.assert_allclose(
    150_528 * noise.total_variation(), [1.18e-12, 2.47e-12], rtol=0.01
  )
  added = noise.failure_probability(pixels=3_072, votes=20_000)
  assert added >= 3_072 * 20_000 * noise.total_variation().max()
  assert added == pytest.approx(1.0e-9, rel=0.02)


# The sampler.


def masses_of(high, packed):
  """The law that the words of a table amount to, from their definition."""
  columns = len(high)
  bits = columns.bit_length() - 1
  size = 2 ** (64 - bits)
  masses = [0] * columns
  for column, (upper, lower) in enumerate(
    zip(high.tolist(), packed.tolist(), strict=True)
  ):
    threshold = (upper << (32 - bits)) | (lower >> bits)
    assert 0 <= threshold < size
    masses[column] += threshold
    masses[lower & (columns - 1)] += size - threshold
  return tuple(masses)


@pytest.mark.parametrize(
  ('levels', 'columns'),
  [(LEVELS, 8192), ((0.001, 0.06), 256), ((0.12,), 2**14), ((0.06,), 2**16)],
)
def test_tables_hold_exactly_the_masses(levels, columns):
  noise = lattice.lattice_noise(levels, columns=columns)
  assert noise.high.shape == noise.packed.shape == (len(levels), columns)
  np.testing.assert_array_equal(noise.levels, np.float32(levels))
  for row, level in enumerate(levels):
    found = masses_of(
      np.asarray(noise.high[row]), np.asarray(noise.packed[row])
    )
    assert found == lattice_law.law(exactly(level), columns).masses


def test_words_are_read_as_the_table_means_them(noise):
  """Every pixel of a draw, recomputed with Python integers."""
  shape, level = (3, 50), 1
  words = np.asarray(jax.random.bits(KEY, (2, *shape), jnp.uint32))
  drawn = np.asarray(jax.jit(lambda n: n.draw(KEY, shape, level))(noise))
  high, packed = (
    np.asarray(part[level]) for part in (noise.high, noise.packed)
  )
  for index in np.ndindex(shape):
    first, second = (int(word[index]) for word in words)
    column = second >> 19
    position = (first << 19) | (second & (2**19 - 1))
    threshold = (int(high[column]) << 19) | (int(packed[column]) >> 13)
    outcome = column if position < threshold else int(packed[column]) & 8191
    assert drawn[index] == outcome - 4096


def test_the_last_bit_of_a_threshold_counts(noise):
  """Draws next to a threshold, with bits that are made for them."""
  column, threshold = 4100, int(noise.high[1, 4100]) << 19
  threshold |= int(noise.packed[1, column]) >> 13
  alias = int(noise.packed[1, column]) & 8191
  assert 0 < threshold
  assert alias != column
  for position, outcome in ((threshold - 1, column), (threshold, alias)):
    words = jnp.array(
      [[position >> 19], [column << 19 | position & (2**19 - 1)]], jnp.uint32
    )
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(jax.random, 'bits', lambda *_, words=words: words)
      assert noise.draw(KEY, (1,), 1).tolist() == [outcome - 4096]


def chi_square(drawn, level):
  """The p-value of draws under the law of a level."""
  masses = np.array(lattice_law.law(exactly(level), 8192).masses, np.float64)
  expected = masses / 2.0**64 * drawn.size
  observed = np.bincount(drawn.reshape(-1) + 4096, minlength=8192)
  # Outcomes of fewer than 10 expected draws are one.
  rare = expected < 10
  expected = np.append(expected[~rare], expected[rare].sum())
  observed = np.append(observed[~rare], observed[rare].sum())
  expected *= observed.sum() / expected.sum()  # which rounding tells apart
  return stats.chisquare(observed, expected).pvalue


def test_draws_follow_the_law(noise):
  """Power: a sigma that is wrong by 1% is refused."""
  drawn = np.stack(
    [
      copies(noise, np.zeros(256), 0.12, key=jax.random.key(seed))
      for seed in range(5)
    ]
  )
  assert chi_square(drawn, 0.12) > oracles.FALSE_ALARM
  assert chi_square(drawn, 0.12 * 1.01) < oracles.FALSE_ALARM
  assert chi_square(drawn, 0.12 / 1.01) < oracles.FALSE_ALARM
  assert abs(drawn.mean()) < 5 * 255 * 0.12 / np.sqrt(drawn.size)


def test_pixels_and_votes_are_independent(noise):
  drawn = copies(noise, np.zeros(256), 0.12)
  assert np.unique(drawn, axis=0).shape == drawn.shape
  table = np.corrcoef(drawn.T) - np.eye(256)
  assert np.abs(table).max() < 6 / np.sqrt(len(drawn))


@pytest.mark.parametrize('level', LEVELS)
def test_each_level_has_its_own_table(noise, level):
  drawn = copies(noise, np.zeros(256), level)
  deviation = np.sqrt(np.mean(np.square(drawn, dtype=float)))
  ideal = np.sqrt((255 * level) ** 2 + 1 / 12)
  assert abs(deviation / ideal - 1) < 5 / np.sqrt(2 * drawn.size)
  assert np.abs(drawn).max() <= 4095


# Nothing but k + t.


def test_noise_shifts_with_the_image(noise):
  """The same vote on any image: the same integer is added."""
  key = jax.random.key(2)
  zero = copies(noise, np.zeros(256), 0.25, key=key)
  for name, image in DIVISIONS.items():
    shifted = copies(noise, image, 0.25, key=key)
    np.testing.assert_array_equal(
      shifted - zero, np.tile(GREYS, (len(zero), 1)), name
    )


def bits(array):
  return np.asarray(array, np.float32).view(np.uint32)


def _first_operations(noisy):
  """What networks do first, and compilers like to fuse with a product."""
  centred = 2 * noisy - 1
  scaled = noisy * jnp.float32(4.367) + jnp.float32(-2.118)
  return noisy, centred, scaled, jnp.tanh(noisy * scaled)


@pytest.mark.parametrize(
  ('division', 'constant'),
  [(division, False) for division in DIVISIONS] + [('divided', True)],
)
def test_the_input_is_a_function_of_the_sum_alone(division, constant):
  """Bitwise, over all that can be reached: k = 0..255 and abs(t) <= 4095.

  Under jit with the operations that follow, and where the compiler knows the
  image, so that nothing it does to the sum can tell k from t.
  """
  values = np.arange(-4095, 4096, dtype=np.int32)
  image = np.repeat(DIVISIONS[division][:, None], len(values), axis=1)
  noise = np.tile(values, (256, 1))
  program = lambda image, noise: _first_operations(
    lattice.noisy_image(image, noise)
  )
  if constant:
    program = functools.partial(program, jnp.asarray(image))
    outputs = jax.jit(program)(noise)
  else:
    outputs = jax.jit(program)(image, noise)
  total = GREYS[:, None].astype(int) + values
  np.testing.assert_array_equal(
    bits(outputs[0]), bits(total.astype(np.float32) * np.float32(1 / 255))
  )
  for output in outputs:
    found = bits(output)
    first = np.zeros(total.max() - total.min() + 1, np.uint32)
    first[total - total.min()] = found
    np.testing.assert_array_equal(first[total - total.min()], found)


@pytest.mark.parametrize('step', [-4095, -1, 0, 1, 4095])
def test_the_whole_sampler_at_a_given_noise(step):
  """A table with a single outcome, through all that a vote goes through."""
  table = jnp.full((1, 8192), step + 4096, jnp.uint32)
  noise = lattice.Lattice(jnp.array([0.5]), jnp.zeros_like(table), table)
  for image in DIVISIONS.values():
    noisy = _noisy_copies(
      image,
      jnp.float32(0.5),
      KEY,
      jnp.zeros(2, jnp.int32),
      jnp.arange(2),
      noise=noise,
    )
    expected = (GREYS.astype(np.int32) + step).astype(np.float32)
    expected *= np.float32(1 / 255)
    np.testing.assert_array_equal(bits(noisy), bits(np.tile(expected, (2, 1))))


# As a `Noise`.


def votes(noise, image=None, sigma=0.5, classifier=None, **options):
  image = to_unit(np.full((4, 4, 1), 100, np.uint8)) if image is None else image
  network = oracles.integer_network(16, 5, seed=1)
  options = {'n0': 20, 'n': 180, 'chunk_size': 100} | options
  return voting.count_votes(
    classifier or network, image, sigma, KEY, noise=noise, **options
  )


def as_lists(counts):
  return [np.asarray(split).tolist() for split in counts]


def test_devices_and_transformations_change_nothing(noise):
  expected = as_lists(votes(noise))
  assert [sum(split) for split in expected] == [20, 180]
  mesh = dualrs_jax.votes_mesh(jax.devices())
  meshed = jax.block_until_ready(votes(noise, chunk_size=25, mesh=mesh))
  assert as_lists(meshed) == expected
  image = to_unit(np.full((4, 4, 1), 100, np.uint8))
  mapped = jax.jit(
    jax.vmap(lambda noise, sigma: votes(noise, image, sigma), (None, 0))
  )(noise, jnp.float32(LEVELS))
  for row, sigma in enumerate(LEVELS):
    alone = as_lists(votes(noise, image, sigma))
    assert [split[row].tolist() for split in mapped] == alone


def lowest(images, sigma):
  """Finite logits whatever the image: a NaN does not get through."""
  del sigma
  return oracles.constant([0.0, 1.0])(images, images)


GREY = np.float32(100) / np.float32(255)


@pytest.mark.parametrize(
  ('pixel', 'sigma', 'message'),
  [
    (GREY, 0.3, r'levels .*, not for sigma = 0.3; pass every level'),
    (GREY, 0.5 + 2.0**-24, 'not for sigma'),
    (GREY, np.nan, 'not for sigma'),
    (np.float32(0.3), 0.5, r'8-bit images.*0\.300000012: round it to 8 bits'),
    (GREY + np.float32(1e-6), 0.5, '8-bit images'),
    (np.float32(np.nan), 0.5, '8-bit images'),
    (np.float32(np.inf), 0.5, '8-bit images'),
    (np.float32(256 / 255), 0.5, '8-bit images'),
    (np.float32(-1 / 255), 0.5, '8-bit images'),
    (np.float32(1e30), 0.5, '8-bit images'),
  ],
)
def test_what_the_noise_is_not_made_for(noise, pixel, sigma, message):
  """A sentence where values are known; under a trace, no vote is valid."""
  image = np.full((4, 4, 1), GREY)
  image[1, 2, 0] = pixel
  with pytest.raises(ValueError, match=message):
    votes(noise, image, sigma, lowest)
  counts = _traced_votes(noise, image, np.float32(sigma))
  assert as_lists(counts) == [[0, 0], [0, 0]]
  assert np.isnan(_noisy_copy(noise, image, np.float32(sigma))).all()


@jax.jit
def _noisy_copy(noise, image, sigma):
  return noise(KEY, image, sigma)


@jax.jit
def _traced_votes(noise, image, sigma):
  return votes(noise, image, sigma, lowest)


def test_images_of_every_division_are_taken(noise):
  for image in DIVISIONS.values():
    noise.check(image, LEVELS)
    noise.check(1 - image, np.float32(LEVELS))
    assert np.asarray(lattice.on_lattice(jnp.asarray(image))).all()
    for neighbour in (-np.inf, np.inf):
      near = np.nextafter(image, np.float32(neighbour))
      assert np.asarray(lattice.on_lattice(jnp.asarray(near))).all()
  counts = _traced_votes(noise, np.full((4, 4, 1), GREY), np.float32(0.5))
  assert as_lists(counts) == [[0, 20], [0, 180]]


def test_images_between_two_steps_are_not():
  between = (np.arange(255) + np.float32(0.5)) / np.float32(255)
  assert not np.asarray(lattice.on_lattice(jnp.float32(between))).any()
  for dtype in (jnp.bfloat16, jnp.float16):
    narrow = jnp.asarray(DIVISIONS['divided'], dtype).astype(jnp.float32)
    assert not np.asarray(lattice.on_lattice(narrow)).all()


@pytest.mark.parametrize(
  ('sigmas', 'options', 'message'),
  [
    ([], {}, 'at least one noise level'),
    ([0.5, 0.0], {}, r'positive and finite, not \[0.5, 0.0\]'),
    ([-0.5], {}, 'positive and finite'),
    ([np.nan], {}, 'positive and finite'),
    ([np.inf], {}, 'positive and finite'),
    ([0.5, 15.5], {}, r'sigma = 15.5 is too large .* at most 15.4961; gauss'),
    (
      [0.5, 3.0],
      {'columns': 8192},
      r'sigma = 3.0 is too large .* 8192 .* at most 1.9368; .* columns=16384',
    ),
    ([0.0605], {'columns': 256}, 'at most 0.0602; .* columns=8192'),
    ([0.5], {'columns': 8000}, 'power of 2 from 256 to 65536, not 8000'),
    ([0.01], {'columns': 128}, 'power of 2'),
    ([0.5], {'columns': 2**17}, 'power of 2'),
  ],
)
def test_levels_that_are_refused(sigmas, options, message):
  with pytest.raises(ValueError, match=message):
    lattice.lattice_noise(sigmas, **options)


@pytest.mark.parametrize(
  ('sigma', 'columns'),
  [(1.9368, 2**13), (1.9369, 2**14), (3.8739, 2**15), (15.4961, 2**16)],
)
def test_a_table_is_as_large_as_its_level_needs(sigma, columns, monkeypatch):
  sizes, small = [], lattice_law.table(0.06, 256)

  def table(level, size):  # a true one takes seconds
    sizes.append(size)
    return small

  monkeypatch.setattr(lattice_law, 'table', table)
  lattice.lattice_noise([0.5, sigma])
  assert sizes == [columns] * 2


def test_a_larger_table_is_as_close_to_the_normal_law():
  noise = lattice.lattice_noise([0.5, 2.0])
  assert noise.high.shape == (2, 2**14)
  assert (noise.total_variation() < [1.7e-17, 6.2e-17]).all()
  steps = np.asarray(noise.draw(jax.random.key(0), (100_000,), 1)) / 255
  assert steps.std() == pytest.approx(2, rel=0.01)
  usual = lattice.lattice_noise([0.5], columns=2**13).total_variation()
  assert noise.total_variation()[0] == usual[0]


def test_levels_are_sorted_and_not_repeated():
  noise = lattice.lattice_noise([0.06, 0.03, 0.06], columns=256)
  np.testing.assert_array_equal(noise.levels, np.float32([0.03, 0.06]))


def test_a_certificate_of_a_half_space_is_below_the_truth_and_tight(noise):
  """After rounding the pixel, its edge is in the middle of two steps."""
  edge, grey, sigma = 140.5 / 255, 100, 0.25
  true = edge - grey / 255
  answer = dualrs_jax.certify(
    oracles.half_space([1.0, 0.0], edge),
    to_unit(np.full(2, grey, np.uint8)),
    sigma,
    KEY,
    n0=100,
    n=20_000,
    alpha=0.001,
    chunk_size=4_020,
    noise=noise,
  )
  assert int(answer.prediction) == 0
  assert 0.9 * true < float(answer.radius) <= true
  wins = int(answer.counts.estimation[0])
  masses = lattice_law.law(sigma, 8192).masses
  exact = sum(masses[: 4096 + 41]) / 2**64
  assert exact == pytest.approx(stats.norm.cdf(true / sigma), abs=1e-12)
  low, high = oracles.binomial_limits(20_000, exact)
  assert low <= wins <= high


def test_dual_certificates(noise):
  """The estimator's level must be among those of the noise as well."""
  image = to_unit(np.full((4, 4, 1), 100, np.uint8))
  answer = functools.partial(
    dualrs_jax.certify_dual,
    oracles.constant([1.0, 0.0]),
    oracles.constant([0.0, 1.0]),
    image,
    (0.12, 0.25),
    n0=10,
    n=100,
    alpha=0.01,
    certificate=dualrs_jax.minimum,
    chunk_size=110,
    noise=noise,
  )
  program = jax.jit(lambda sigma: answer(estimator_sigma=sigma, key=KEY))
  good, bad = program(0.5), program(0.3)
  assert int(good.prediction) == 1
  assert float(good.radius) > 0
  assert int(bad.prediction) == dualrs_jax.ABSTAIN
  assert float(bad.radius) == 0


def test_the_check_of_independence_works_with_this_noise(noise):
  image = to_unit(np.full((4, 4, 1), 100, np.uint8))
  check = functools.partial(
    independence.check_batch_independence,
    image=image,
    sigma=0.25,
    key=KEY,
    chunk_size=16,
    noise=noise,
  )
  network = oracles.integer_network(16, 5, seed=1)
  check(network)
  with pytest.raises(ValueError, match='batch companions'):
    check(lambda images, sigma: network(jnp.roll(images, 1, axis=0), sigma))
