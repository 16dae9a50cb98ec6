"""Classifiers whose smoothed answers are known in closed form.

Each is a callable pytree: other parameters do not recompile. Besides them,
`binomial_limits` says which number of events a true probability explains.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy import optimize, stats

#: False alarm rate of every statistical test, per side.
FALSE_ALARM = 1e-6


def _one_hot(classes, width):
  return jax.nn.one_hot(classes, width)


def _along(images, direction):
  return images.reshape(images.shape[0], -1) @ direction


def _half_space(direction, offset, images, sigma):
  del sigma
  return _one_hot((_along(images, direction) > offset).astype(int), 2)


def half_space(direction, offset):
  """Class 0 where direction . z <= offset, else class 1.

  With |direction| = 1 the true radius at x is offset - direction . x, at
  every noise level.
  """
  return Partial(_half_space, jnp.float32(direction), jnp.float32(offset))


def _half_spaces(directions, offsets, answers, sigmas, images, sigma):
  level = jnp.argmin(jnp.abs(sigma[:, None] - sigmas[None]), axis=1)
  flat = images.reshape(images.shape[0], -1)
  along = (flat * directions[level]).sum(axis=1)
  beyond = (along > offsets[level]).astype(jnp.int32)
  return _one_hot(jnp.take(answers.reshape(-1), 2 * level + beyond), 3)


def half_spaces(directions, offsets, answers, sigmas):
  """A half-space for each noise level, which it recognises by its sigma.

  At level k it answers answers[k][0] where directions[k] . z <= offsets[k],
  else answers[k][1], of three classes. `half_spaces_class` is its smoothed
  answer.
  """
  return Partial(
    _half_spaces,
    jnp.float32(directions),
    jnp.float32(offsets),
    jnp.int32(answers),
    jnp.float32(sigmas),
  )


def half_spaces_class(directions, offsets, answers, level, points):
  """The exact answers of `half_spaces` under noise at level[i], points[i]."""
  along = (points * np.asarray(directions)[level]).sum(axis=-1)
  beyond = (along > np.asarray(offsets)[level]).astype(int)
  return np.asarray(answers)[level, beyond]


def _bands(direction, edges, answers, images, sigma):
  del sigma
  along = _along(images, direction)
  band = (along[:, None] > edges[None]).astype(jnp.int32).sum(axis=1)
  return _one_hot(jnp.take(answers, band), 3)


def bands(direction, edges, answers):
  """Of three classes: answers[number of the two edges below direction . z]."""
  return Partial(
    _bands, jnp.float32(direction), jnp.float32(edges), jnp.int32(answers)
  )


def _bands_by_level(direction, edges, answers, sigmas, images, sigma):
  level = jnp.argmin(jnp.abs(sigma[:, None] - sigmas[None]), axis=1)
  along = _along(images, direction)
  beyond = (along[:, None] > edges[level]).astype(jnp.int32).sum(axis=1)
  flat = level * answers.shape[1] + beyond
  return _one_hot(jnp.take(answers.reshape(-1), flat), 3)


def bands_by_level(direction, edges, answers, sigmas):
  """`bands` for each noise level, which it recognises by its sigma.

  At level k it answers answers[k][number of edges[k] below direction . z].
  """
  return Partial(
    _bands_by_level,
    jnp.float32(direction),
    jnp.float32(edges),
    jnp.int32(answers),
    jnp.float32(sigmas),
  )


def bands_probabilities(edges, answers, sigma, at):
  """Of three classes under noise, at points with direction . x = `at`."""
  at = np.asarray(at, float)[..., None]
  below = stats.norm.cdf((np.asarray(edges, float) - at) / sigma)
  full = np.ones((*below.shape[:-1], 1))
  parts = np.diff(np.concatenate([0 * full, below, full], axis=-1), axis=-1)
  return parts @ np.eye(3)[np.asarray(answers)]


def cascade_class(edges, answers, sigmas, at):
  """The exact answers of a cascade of `bands_by_level` on a line.

  The largest sigma with a class above 1/2; the smallest answers anyway.
  """
  found = np.full(np.shape(at), -1)
  for level in np.argsort(sigmas)[::-1]:
    p = bands_probabilities(edges[level], answers[level], sigmas[level], at)
    decides = (p.max(axis=-1) > 0.5) | (level == np.argmin(sigmas))
    found = np.where((found < 0) & decides, p.argmax(axis=-1), found)
  return found


def slab(direction, width):
  """Class 0 where |direction . z| <= width, else class 1."""
  return bands(direction, [-width, width], [1, 0, 1])


def slab_probability(at, width, sigma):
  """Of class 0 under noise, where `at` = direction . x."""
  return stats.norm.cdf((width - at) / sigma) - stats.norm.cdf(
    (-width - at) / sigma
  )


def slab_radius(at, width, sigma):
  """The true radius of class 0: the nearest point where it loses."""
  edge = optimize.brentq(
    lambda u: slab_probability(u, width, sigma) - 0.5, abs(at), width + sigma
  )
  return edge - abs(at)


def three_on_a_line(first, second):
  """Of the first of two pixels: class 0 to `first`, 1 to `second`, else 2."""
  return bands([1.0, 0.0], [first, second], [0, 1, 2])


def three_on_a_line_class(first, second, sigma, points):
  """The exact answers of `three_on_a_line` under noise."""
  below = stats.norm.cdf((first - points[:, 0]) / sigma)
  above = stats.norm.sf((second - points[:, 0]) / sigma)
  return np.argmax(np.stack([below, 1 - below - above, above]), axis=0)


def _constant(logits, images, sigma):
  del sigma
  return jnp.broadcast_to(logits, (images.shape[0], logits.shape[0]))


def constant(logits):
  """The same logits for every image."""
  return Partial(_constant, jnp.float32(logits))


def _invalid_beyond(offset, images, sigma):
  del sigma
  bad = images.reshape(images.shape[0], -1)[:, 0] > offset
  logits = _one_hot(jnp.zeros(images.shape[0], int), 2)
  # One NaN, which argmax would have elected.
  return logits.at[:, 1].set(jnp.where(bad, jnp.float32(jnp.nan), 0))


def invalid_beyond(offset):
  """Class 0 of 2 where the first pixel is <= `offset`, else a NaN logit."""
  return Partial(_invalid_beyond, jnp.float32(offset))


def _integer_network(first, second, scale, images, sigma):
  grid = jnp.clip(jnp.round(images * 32), -128, 128).astype(jnp.int32)
  grid = grid.reshape(images.shape[0], -1)
  level = jnp.round(sigma * scale).astype(jnp.int32)
  hidden = jax.nn.relu(grid @ first + level[:, None])
  return (hidden % 61 @ second).astype(jnp.float32)


def integer_network(pixels, classes, *, seed, width=16):
  """A network of integer weights whose float32 logits are exact.

  Its votes do not depend on how a device orders its sums, so they have to be
  identical for every chunk, mesh and transformation.
  """
  generator = np.random.default_rng(seed)
  first = generator.integers(-8, 9, size=(pixels, width), dtype=np.int32)
  second = generator.integers(-8, 9, size=(width, classes), dtype=np.int32)
  return Partial(
    _integer_network, jnp.array(first), jnp.array(second), jnp.float32(64)
  )


def image(*shape, seed=0):
  """A random image in [0.25, 0.75]."""
  generator = np.random.default_rng(seed)
  return jnp.float32(generator.uniform(0.25, 0.75, size=shape))


def binomial_limits(trials, probability):
  """The counts that a true probability leaves with 1 - 2 * FALSE_ALARM."""
  law = stats.binom(trials, probability)
  return int(law.ppf(FALSE_ALARM)), int(law.isf(FALSE_ALARM))


def binomial_power(trials, nominal, true):
  """The probability that `true` exceeds the upper limit of `nominal`."""
  return stats.binom.sf(binomial_limits(trials, nominal)[1], trials, true)
