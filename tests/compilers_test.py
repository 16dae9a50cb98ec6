"""Votes are not mixed up by a compiler that is known to do so.

The tests of this process run with the flag that avoids it, so the failing
program runs in processes of its own, where nothing is set.
"""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax import compilers

#: Votes of a classifier that reads pixels as colours, as many as all copies of
#: a chunk have: with the failing program an image in two gets another's class.
PROGRAM = """
import json, os, sys
import jax, jax.numpy as jnp, numpy as np
import dualrs_jax as drs
from dualrs_jax import classifiers, compilers, vote_batches

device = jax.devices()[0]
known = compilers.canary(device, {})
result = {'known': known, 'options': compilers.options(device)}
result['guarded'] = compilers.canary(device, compilers.options(device))
rows = np.arange(40_000 * 3, dtype=np.float32).reshape(-1, 3) % 251
weights = np.diag(np.array([1, 2, 1], np.float32))
right = rows**2 @ np.array([1, 4, 1])
plain = jax.jit(compilers.squared_lengths)(weights, rows)
result['plain'] = int(np.sum(np.asarray(plain) != right))
safe = compilers.jit(compilers.squared_lengths)(weights, rows)
result['safe'] = int(np.sum(np.asarray(safe) != right))

def classifier(images, sigma):  # class 1 where a copy is far from grey
  far = compilers.squared_lengths(weights, images - 0.5)
  return jnp.stack([jnp.full_like(far, 0.2), far], axis=-1)

def exact(images, sigma):  # the same function, of which nothing is fused
  far = ((images - 0.5) ** 2 * np.array([1, 4, 1], np.float32)).sum(axis=-1)
  return jnp.stack([jnp.full_like(far, 0.2), far], axis=-1)

image, key = np.full(3, 0.5, np.float32), jax.random.key(0)
votes = {'n0': 100, 'n': 39_900, 'alpha': 0.001, 'chunk_size': 40_000}
found = [drs.certify(f, image, 0.2, key, **votes) for f in (classifier, exact)]
result['counts'] = [f.counts.estimation.tolist() for f in found]
step = vote_batches.VoteBatch(
  *(np.zeros(40_000, np.int32),) * 3,
  vote=np.arange(40_000, dtype=np.int32),
  sigma=np.full(40_000, 0.2, np.float32),
)
mesh = drs.votes_mesh([device])
classes = [
  vote_batches.Device(
    [(classifiers.as_pytree(f), 2)], image, key, drs.gaussian, mesh, 40_000
  ).cast(0, step)
  for f in (classifier, exact)
]
result['moved'] = int(np.sum(np.asarray(classes[0]) != np.asarray(classes[1])))
try:
  certify = lambda image: drs.certify(classifier, image, 0.2, key, **votes)
  jax.jit(certify)(image)
  result['nested'] = ''
except ValueError as error:
  result['nested'] = str(error)
print(json.dumps(result))
"""


@pytest.fixture(scope='module')
def outcome():
  """What a process without flags finds."""
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
  environment.pop('XLA_FLAGS', None)
  run = subprocess.run(
    [sys.executable, '-c', PROGRAM],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(run.stdout)


def test_failing_program_is_right_where_votes_are_cast(outcome):
  assert outcome['guarded'] == outcome['safe'] == 0
  assert outcome['plain'] == 0 or outcome['known'] > 0  # the canary sees it
  if outcome['options']:
    assert outcome['options'] == compilers.OPTIONS


def test_votes_are_those_of_their_own_copies(outcome):
  mixed, exact = outcome['counts']
  # Squares in another order round: a copy at the boundary may turn.
  assert np.abs(np.subtract(mixed, exact)).max() <= 3
  assert outcome['moved'] <= 3
  assert min(exact) > 10_000


def test_a_program_that_others_compile_is_refused_where_it_would_fail(outcome):
  refused = (
    'XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=' in (outcome['nested'])
  )
  assert refused == (outcome['known'] > 0)


@pytest.fixture
def failing(monkeypatch):
  """A compiler that fails unless it is given options, on any machine."""
  found = lambda platform, kind, chosen: 0 if chosen else 7
  monkeypatch.setattr(compilers, '_wrong_rows', found)
  monkeypatch.setattr(compilers, '_knows_options', lambda *_: True)


def test_nested_programs_need_a_compiler_in_order(failing):
  double = compilers.jit(lambda x: 2 * x)
  assert double(jnp.float32(2)) == 4
  assert jax.vmap(double)(jnp.ones(3)).tolist() == [2, 2, 2]
  with pytest.raises(ValueError, match=r'7 rows of .* XLA_FLAGS='):
    jax.jit(double)(jnp.float32(2))
  with pytest.raises(ValueError, match='7 rows'):
    jax.lax.map(double, jnp.ones(3))
  with compilers.guarded():
    # A function of its own, as JAX may keep the trace of one that it knows.
    assert jax.eval_shape(lambda x: double(x), jnp.float32(2)).shape == ()
  nested = compilers.jit(lambda x: double(x) + 1)
  assert nested(jnp.float32(2)) == 5
  with pytest.raises(ValueError, match='7 rows'):  # the guard has ended
    jax.jit(double)(jnp.float32(3))


def test_a_compiler_without_the_option_has_to_be_in_order(monkeypatch):
  monkeypatch.setattr(compilers, '_knows_options', lambda *_: False)
  monkeypatch.setattr(compilers, '_wrong_rows', lambda *_: 0)
  assert compilers.jit(lambda x: 2 * x)(jnp.float32(2)) == 4
  monkeypatch.setattr(compilers, '_wrong_rows', lambda *_: 7)
  with pytest.raises(ValueError, match='7 rows'):
    compilers.jit(lambda x: 2 * x)(jnp.float32(2))


def test_static_arguments_and_keywords_pass():
  power = compilers.jit(lambda x, *, k: x**k, static_argnames='k')
  assert power(jnp.float32(3), k=2) == 9
  assert power(jnp.float32(3), k=3) == 27


def test_what_is_recorded():
  described = compilers.describe(jax.devices()[0])
  assert described['XLA_FLAGS'] == os.environ['XLA_FLAGS']
  assert described['wrong_rows'] == 0
  assert json.loads(json.dumps(described)) == described
