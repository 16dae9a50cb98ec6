"""Cascades whose radius is known in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dualrs_jax as drs
from dualrs_jax import Counts, majorities
from tests import oracles

SIGMAS = (0.25, 0.5, 1.0)
#: On a line: at 1.0 nobody has a majority between -.2 and .3, at .5 and .25
#: class 1 has one below .5 and .2.
EDGES = ((0.2, 9.0), (0.5, 9.0), (-0.2, 0.3))
ANSWERS = ((1, 2, 2), (1, 0, 0), (0, 1, 2))
OPTIONS = {'n0': 100, 'alpha': 0.001, 'chunk_size': 2_000}


def network(edges=EDGES, answers=ANSWERS, sigmas=SIGMAS):
  """Along the first of two pixels, from .5 on."""
  shifted = np.array(edges) + 0.5
  return oracles.bands_by_level([1.0, 0.0], shifted, answers, sigmas)


def true_radius(at, edges=EDGES, answers=ANSWERS, sigmas=SIGMAS):
  """How far the class of the cascade goes along the line."""
  steps = np.linspace(0, 3, 30_001)
  here = oracles.cascade_class(edges, answers, sigmas, np.array([at]))
  both = np.stack([at + steps, at - steps])
  same = (oracles.cascade_class(edges, answers, sigmas, both) == here).all(0)
  return int(here[0]), float(steps[np.argmin(same)]) if not same.all() else 3.0


def certify(at, n, **changes):
  image = jnp.float32([0.5 + at, 0.5])
  options = OPTIONS | changes
  key = drs.image_key(jax.random.key(4), 0)
  sigmas = options.pop('sigmas', SIGMAS)
  net = options.pop('classifier', network())
  return drs.certify_cascade(net, image, sigmas, key, n=n, **options)


@pytest.mark.parametrize('at', [-0.4, -0.1, 0.12, 0.2, 0.45])
def test_never_above_and_close_from_below(at):
  """Every term of these cascades is a half-space, so all bounds are tight."""
  label, radius = true_radius(at)
  found = [certify(at, n, n0=1_000) for n in (500, 100_000)]
  for answer in found:
    assert answer.radius <= radius + 1e-4
    assert answer.prediction in (label, drs.ABSTAIN)
  assert found[0].radius < found[1].radius
  assert found[1].prediction == label
  assert found[1].radius > radius - 0.02
  assert found[1].sigma_index == (2 if at < -0.2 or at > 0.3 else 1)


def test_levels_after_the_one_that_answers_are_not_sampled():
  answer = certify(0.0, 500)
  assert answer.sigma_index == 1
  assert answer.counts.estimation.sum(axis=-1).tolist() == [0, 500, 500]
  assert answer.counts.selection.sum(axis=-1).tolist() == [100] * 3
  assert answer.cast.estimation.tolist() == [0, 500, 500]
  again = majorities.certificate_of_counts(
    Counts(*map(np.asarray, answer.counts)),
    SIGMAS,
    n0=100,
    n=500,
    alpha=0.001,
  )
  assert again.prediction == answer.prediction
  assert answer.radius <= again.radius


def test_votes_are_those_of_plain_smoothing():
  """Vote j of a level has the noise it has everywhere else."""
  answer = certify(0.0, 500)
  for level in (1, 2):
    plain = drs.certify(
      network(),
      jnp.float32([0.5, 0.5]),
      SIGMAS[level],
      drs.image_key(jax.random.key(4), 0),
      n=500,
      **OPTIONS,
    )
    for ours, theirs in zip(answer.counts, plain.counts, strict=True):
      np.testing.assert_array_equal(ours[level], theirs)


def test_experts_mesh_vmap_and_chunks():
  experts = [
    oracles.bands([1.0, 0.0], np.array(edges) + 0.5, answers)
    for edges, answers in zip(EDGES, ANSWERS, strict=True)
  ]
  answer = certify(0.0, 500)
  for changes in (
    {'classifier': experts},
    {'chunk_size': 64},
    {'mesh': drs.votes_mesh()},
  ):
    other = jax.block_until_ready(certify(0.0, 500, **changes))
    jax.tree.map(np.testing.assert_array_equal, answer, other)
  images = jnp.float32([[0.5, 0.5], [0.1, 0.5]])
  keys = jnp.stack([drs.image_key(jax.random.key(4), 0)] * 2)
  many = jax.vmap(
    functools.partial(drs.certify_cascade, n=500, **OPTIONS),
    in_axes=(None, 0, None, 0),
  )(network(), images, jnp.float32(SIGMAS), keys)
  assert many.sigma_index.tolist() == [1, 2]
  assert many.radius[0] == answer.radius
  assert many.counts.estimation[1].sum(axis=-1).tolist() == [0, 0, 500]


def test_nan_logits_certify_nothing_at_any_level():
  """Valid below .7, where the true radius of plain smoothing is .2."""
  at = {'classifier': oracles.invalid_beyond(0.7)}
  answer = certify(0.0, 2_000, **at)
  assert answer.prediction == 0
  assert 0.1 < answer.radius < 0.2
  assert certify(0.3, 2_000, **at).prediction == drs.ABSTAIN


@pytest.mark.parametrize('at', [-0.4, 0.0, 0.25, 0.45])
def test_predictions(at):
  label, _ = true_radius(at)
  key = drs.image_key(jax.random.key(5), 0)
  image = jnp.float32([0.5 + at, 0.5])
  options = {'n': 2_000, 'alpha': 0.001, 'chunk_size': 2_000}
  found = drs.predict_cascade(network(), image, SIGMAS, key, **options)
  level = 2 if at < -0.2 or at > 0.3 else 1
  votes = found.counts.sum(axis=-1)
  if found.prediction == drs.ABSTAIN:  # at .25, undecided at 1.0 by 0.05
    assert at == 0.25
  else:
    assert (found.prediction, found.sigma_index) == (label, level)
    assert votes.tolist() == [0, 2_000 if level == 1 else 0, 2_000]


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'sigmas': ()}, 'sigmas is a list of at least one noise level'),
    ({'sigmas': (0.25, -1.0)}, 'sigmas must be positive'),
    ({'n0': 0}, 'n0 must be at least 1'),
    ({'alpha': 2.0}, 'alpha is a failure probability'),
    ({'classifier': [network()] * 2}, 'There are 2 experts for 3 noise levels'),
  ],
)
def test_refusals(changes, says):
  with pytest.raises(ValueError, match=says):
    certify(0.0, 500, **changes)
