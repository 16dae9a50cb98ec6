"""Adaptive certification of many images, on networks with exact logits.

Votes are compared as integers. The reference casts every vote of an image by
its definition and drives the decisions with counts of them.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dualrs_jax import (
  ABSTAIN,
  adaptive,
  agreement,
  decisions,
  lattice_noise,
  minimum,
  noise,
  paper,
  plans,
  vote_batches,
  votes_mesh,
  voting,
)
from dualrs_jax.decisions import ESTIMATOR

SIGMAS = (0.25, 0.5, 0.75)
LEVEL = 0.4
OPTIONS = {'n0': 40, 'n': 200, 'alpha': 0.02}
GRID = {'goal': 'grid', 'radii': (0.0, 0.2, 0.4, 0.6)}
FULL = {'goal': 'full', 'radii': ()}
KEY = jax.random.key(3)

#: Six rows of a Hadamard matrix: three for classes, three for noise levels.
PATTERNS = np.array(
  [
    [(-1) ** bin(row & column).count('1') for column in range(16)]
    for row in range(1, 7)
  ],
  np.float32,
)


@pytest.fixture(autouse=True, scope='module')
def _own_cache(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('DUALRS_JAX_CACHE', str(tmp_path_factory.mktemp('cache')))
    yield


def _matches(patterns, limit, images, sigma):
  del sigma
  pixels = jnp.round(images.reshape(images.shape[0], -1) * 64)
  logits = pixels @ patterns
  return jnp.where(pixels[:, :1] > limit, jnp.nan, logits)


def network(patterns, limit=np.inf):
  """The pattern that an image shows; invalid where its first pixel is large.

  It sums integers, which float32 does exactly in any order.
  """
  return Partial(_matches, jnp.asarray(patterns.T), jnp.float32(limit))


CLASSIFIER, ESTIMATE = network(PATTERNS[:3]), network(PATTERNS[3:])
EXPERTS = tuple(network(np.roll(PATTERNS[:3], k, axis=0)) for k in range(3))


def make_examples(count):
  """8-bit images that show a class and a noise level more or less clearly."""
  generator = np.random.default_rng(5)
  shown = generator.integers(0, 3, (2, count))
  clear = generator.uniform([[0.02], [0.0]], 0.3, (2, count))[..., None]
  pixels = (
    0.5 + clear[0] * PATTERNS[shown[0]] + clear[1] * PATTERNS[3 + shown[1]]
  )
  images = (np.rint(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)
  return [
    (100 + 7 * j, image.reshape(4, 4, 1)) for j, image in enumerate(images)
  ]


EXAMPLES = make_examples(12)
GOOD = EXAMPLES[0][1]
ONE = votes_mesh(jax.devices()[:1])


def certify(
  examples=EXAMPLES,
  estimator=ESTIMATE,
  classifier=CLASSIFIER,
  sigmas=SIGMAS,
  level=LEVEL,
  key=KEY,
  **changes,
):
  options = GRID | OPTIONS | {'certificate': agreement, 'chunk_size': 48}
  options |= {'mesh': ONE} | changes
  return adaptive.certify_images(
    estimator, classifier, examples, sigmas, level, key, **options
  )


@jax.jit
def _all_votes(net, image, sigma, key, sampler):
  """The class of every vote in both splits, from its key."""

  def copy(split, vote):
    return sampler(noise.vote_key(key, split, vote), image, sigma)

  def votes(split, count):
    copies = jax.vmap(lambda j: copy(split, j))(jnp.arange(count))
    return voting.cast_votes(net, copies, jnp.broadcast_to(sigma, (count,)))

  return votes(noise.SELECTION, OPTIONS['n0']), votes(
    noise.ESTIMATION, OPTIONS['n']
  )


def reference(
  examples=EXAMPLES,
  estimator=ESTIMATE,
  classifier=CLASSIFIER,
  sigmas=SIGMAS,
  level=LEVEL,
  key=KEY,
  certificate=agreement,
  goal='grid',
  radii=GRID['radii'],
  sampler=noise.gaussian,
):
  """One image after the other, one vote after the other."""
  plan = plans.plan(
    sigmas, level, goal=goal, radii=radii, certificate=certificate, **OPTIONS
  )
  found = {}
  for index, image in examples:

    @functools.cache
    def votes(stage, index=index, image=image):
      net = classifier[stage] if isinstance(classifier, tuple) else classifier
      net = estimator if stage == ESTIMATOR else net
      sigma = level if stage == ESTIMATOR else sigmas[stage]
      image_key = noise.image_key(key, index)
      return jax.device_get(
        _all_votes(net, image, jnp.float32(sigma), image_key, sampler)
      )

    steps = decisions.certification(plan)
    request = next(steps)
    while index not in found:
      cast = votes(request.stage)[request.split][: request.votes]
      counts = np.bincount(cast, minlength=4)[:3]
      try:
        request = steps.send(counts)
      except StopIteration as stop:
        found[index] = stop.value
  return found


@functools.cache
def expected():
  return reference()


def assert_same(found, answers, of=EXAMPLES):
  assert len(found) == len(of)
  found = dict(found)
  assert found.keys() == {index for index, _ in of}
  for index, own in found.items():
    chex.assert_trees_all_equal(own, answers[index])


def test_the_images_are_a_fair_witness():
  answers = expected().values()
  assert len({found.radius for found in answers}) >= 3
  assert len({found.sigma_index for found in answers}) == 3
  assert 0.1 < np.mean([found.prediction != ABSTAIN for found in answers]) < 1
  votes = [sum(f.estimator_cast) + np.sum(f.classifier_cast) for f in answers]
  assert len(set(votes)) > 4
  others = [np.count_nonzero(f.classifier_cast.estimation) for f in answers]
  assert len(set(others)) > 1


@pytest.mark.parametrize(
  'options',
  [
    {},
    GRID | {'certificate': paper},
    FULL | {'certificate': minimum},
    {'goal': 'radius', 'radii': (0.3,), 'certificate': agreement},
  ],
  ids=['grid', 'paper', 'full', 'radius'],
)
def test_certificates_are_those_of_the_votes_one_by_one(options):
  assert_same([*certify(**options)], reference(**options))


needs_eight = pytest.mark.skipif(
  jax.local_device_count() < 8, reason='needs 8 devices'
)


@pytest.mark.parametrize(
  ('chunk_size', 'devices'),
  [(1_000, 1), (7, 1), pytest.param(16, 8, marks=needs_eight)],
)
def test_batches_and_devices_do_not_matter(chunk_size, devices):
  mesh = votes_mesh(jax.devices()[:devices])
  examples = EXAMPLES if chunk_size > 7 else EXAMPLES[:4]
  found = [*certify(examples, chunk_size=chunk_size, mesh=mesh)]
  assert_same(found, expected(), of=examples)


def test_neighbours_and_order_do_not_matter():
  order = np.random.default_rng(0).permutation(len(EXAMPLES))
  assert_same([*certify([EXAMPLES[j] for j in order])], expected())
  for some in (EXAMPLES[3:4], EXAMPLES[1::3]):
    assert_same([*certify(some)], expected(), of=some)
  often = [*certify(3 * EXAMPLES)]
  assert len(often) == 3 * len(EXAMPLES)
  for index, own in often:
    chex.assert_trees_all_equal(own, expected()[index])


def test_experts():
  """Class k of the expert at level k is another one for each k."""
  answers = reference(classifier=EXPERTS)
  found = [*certify(classifier=EXPERTS)]
  assert_same(found, answers)
  assert_same([*certify(classifier=[*EXPERTS])], answers)
  differ = [answers[i].prediction != expected()[i].prediction for i in answers]
  assert np.any(differ)
  assert_same([*certify(classifier=(CLASSIFIER,) * 3)], expected())


def test_one_level_takes_no_estimator():
  options = {'estimator': None, 'sigmas': (0.5,), 'level': None}
  found = [*certify(**options)]
  answers = reference(sigmas=(0.5,), level=0.5)
  assert_same(found, answers)
  for _, own in found:
    assert own.sigma_index == 0
    assert own.estimator_radius == np.inf
    assert sum(own.estimator_cast) == 0
  assert len({own.prediction for _, own in found}) == 4


def test_nothing_is_compiled_twice(caplog):
  list(certify())
  # Newer versions of JAX compile what makes an array, so they are made before.
  examples = [(index + 1, 1 - image) for index, image in EXAMPLES]
  others = {
    'estimator': network(PATTERNS[1:4]),
    'classifier': network(PATTERNS[2:5]),
    'key': jax.random.key(8),
  }
  with jax.log_compiles():
    list(
      certify(
        examples,
        sigmas=(0.3, 0.6, 0.9),
        level=1.0,
        certificate=minimum,
        n=150,
        **others,
        **FULL,
      )
    )
    assert 'Compiling' not in caplog.text
    vote_batches._store(jnp.zeros((2, 7)), np.int32(0), np.zeros(7, np.float32))
    assert 'Compiling jit(_store)' in caplog.text


def test_examples_are_drawn_as_they_are_needed():
  """The source may use its memory again: what was drawn has been copied."""
  many, drawn, decided = make_examples(30), [], []

  def stream():
    buffer = np.empty_like(GOOD)
    for index, image in many:
      drawn.append(index)
      buffer[:] = image
      yield index, buffer

  answers = certify(stream())
  assert len(drawn) == 1  # it shows the shape of the images
  for index, own in answers:
    assert len(drawn) <= len(decided) + 8  # slots of this batch
    decided.append((index, own))
  assert_same(decided, dict(certify(many)), of=many)


def test_no_examples():
  assert list(certify([])) == []
  assert list(certify(iter(()))) == []


def test_lattice_noise():
  sigmas, level, few = (0.06, 0.12, 0.18), 0.09, EXAMPLES[:4]
  exact = lattice_noise([*sigmas, level], columns=1024)
  options = {'sigmas': sigmas, 'level': level, 'radii': (0.0, 0.05, 0.1)}
  answers = reference(few, sampler=exact, **options)
  assert any(own.radius > 0 for own in answers.values())
  assert_same([*certify(few, noise=exact, **options)], answers, of=few)
  off = [*few, (5, np.full((4, 4, 1), 0.3001, np.float32))]
  with pytest.raises(ValueError, match='Lattice noise is for 8-bit images'):
    list(certify(off, noise=exact, **options))
  with pytest.raises(ValueError, match='was made for the levels'):
    certify(few, noise=exact, sigmas=sigmas, level=0.1)


@pytest.mark.parametrize('limit', [-np.inf, 80])
def test_invalid_votes_never_certify(limit):
  """All votes of the classifier are NaN, or those with a large first pixel."""
  classifier = network(PATTERNS[:3], limit)
  found = [*certify(classifier=classifier)]
  assert_same(found, reference(classifier=classifier))
  if limit < 0:
    assert {own.prediction for _, own in found} == {ABSTAIN}
    assert not any(own.classifier_counts.estimation.any() for _, own in found)
  else:
    # Some still certify something, and none more than with all votes.
    radii = [(own.radius, expected()[index].radius) for index, own in found]
    assert all(own <= whole for own, whole in radii)
    assert any(0 < own for own, _ in radii)
    assert any(own < whole for own, whole in radii)


def test_invalid_votes_of_the_estimator():
  estimator = network(PATTERNS[3:], -np.inf)
  for rule in (paper, minimum):
    found = certify(estimator=estimator, certificate=rule)
    assert {own.prediction for _, own in found} == {ABSTAIN}


# What is refused.


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'n0': 0}, 'n0 must be at least 1'),
    ({'n': 3}, 'n = 3 votes can never certify'),
    ({'alpha': 0.0}, 'failure probability in'),
    ({'chunk_size': 0}, 'chunk_size must be at least 1'),
    ({'goal': 'best'}, 'goal must be one of'),
    ({'radii': ()}, "'grid' takes radii"),
    ({'noise': None}, 'noise is a sampler of noisy images'),
    ({'sigmas': (0.25, -0.5, 1.0)}, 'sigmas must be positive'),
    ({'level': 0.0}, 'estimator_sigma must be positive'),
    ({'level': None}, 'An estimator needs its noise level, estimator_sigma'),
    ({'estimator': None}, 'A choice among 3 noise levels takes an estimator'),
    ({'sigmas': (0.25, 0.5)}, 'chooses among 3 noise levels, but sigmas hol'),
    ({'classifier': EXPERTS[:2]}, '2 experts for 3 noise levels'),
    ({'key': jax.random.key(0, impl='rbg')}, "threefry keys, not with 'rbg'"),
    ({'mesh': jax.make_mesh((1,), ('data',))}, "mesh axis 'votes'"),
    ({'classifier': lambda images, sigma: images}, 'maps images'),
  ],
)
def test_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    certify(**changes)


@pytest.mark.parametrize(
  ('example', 'message'),
  [
    ((1, np.zeros((4, 4, 1), np.uint8)), 'image / 255'),
    ((1, GOOD + 1), r'Images lie in \[0, 1\]'),
    ((1, GOOD * np.nan), 'The image holds NaN'),
    ((-1, GOOD), r'A dataset index is in \[0, 2\*\*31\), unlike -1'),
    ((2**31, GOOD), r'A dataset index is in'),
    (7, 'An example is a pair of a dataset index and an image, not a int'),
    (np.stack([GOOD, GOOD]), 'index and an image, not a ndarray'),
    ((1, GOOD, 2), r'not a tuple: enumerate\(images\) makes pairs'),
    ((1.5, GOOD), 'A dataset index must be a whole number, not 1.5'),
  ],
)
def test_refused_examples(example, message):
  """The first one at once, a later one when its turn comes."""
  with pytest.raises(ValueError, match=message):
    certify(iter([example]))
  answers = certify(iter([EXAMPLES[0], example]))
  with pytest.raises(ValueError, match=message):
    list(answers)


def test_images_of_one_run_have_one_shape():
  """Another shape might even be broadcast."""
  for shape in ((1, 4, 1), (4, 4), (5, 4, 1)):
    with pytest.raises(
      ValueError, match=r'have one shape, but \(.* at index 8'
    ):
      list(certify(iter([EXAMPLES[0], (8, np.zeros(shape, np.float32))])))


def test_errors_of_the_source_surface():
  def broken():
    yield from EXAMPLES[:10]
    raise OSError('disk on fire')

  answers = certify(broken())
  assert len(next(answers)) == 2  # the first images are in by then
  with pytest.raises(OSError, match='disk on fire'):
    list(answers)
