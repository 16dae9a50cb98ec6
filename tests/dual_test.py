"""Dual smoothing, against two half-spaces and other exact answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax import (
  ABSTAIN,
  agreement,
  certify,
  certify_dual,
  minimum,
  paper,
  predict_dual,
  voting,
)
from dualrs_jax.fallbacks import fallback
from dualrs_jax.lattice import lattice_noise
from tests import oracles

RULES = [paper, minimum, agreement]
IMAGE = jnp.float32([0.5, 0.5])
X = np.asarray(IMAGE, np.float64)
SIGMAS = (0.25, 0.5)
STATISTICS = {'n0': 50, 'n': 500, 'alpha': 0.001, 'chunk_size': 550}
KEY = jax.random.key(0)

A = np.array([1.0, 0.0])
W = np.array([0.6, 0.8])


def estimator(radius):
  """Selects level 0 within `radius` of the image, in one direction."""
  return oracles.half_space(A, A @ X + radius)


def classifier(radius, other):
  """Class 0 at level 0 within `radius`, class `other` at level 1."""
  return oracles.half_spaces(
    [W, W],
    [W @ X + radius, 1e3],
    [[0, 1], [other, other]],
    SIGMAS,
  )


def certified(rule, first, second, **changes):
  options = STATISTICS | {'certificate': rule} | changes
  return certify_dual(first, second, IMAGE, SIGMAS, 0.5, KEY, **options)


@pytest.mark.parametrize('rule', [minimum, agreement])
@pytest.mark.parametrize(('r_e', 'r_c'), [(0.6, 0.3), (0.3, 0.45)])
def test_two_half_spaces(rule, r_e, r_c):
  """The other level answers another class: the truth is min(r_e, r_c)."""
  found = certified(
    rule,
    estimator(r_e),
    classifier(r_c, other=2),
    n=20_000,
    chunk_size=20_050,
  )
  truth = min(r_e, r_c)
  assert (found.prediction, found.sigma_index) == (0, 0)
  assert 0.93 * truth < float(found.radius) <= truth
  assert 0.93 * r_e < float(found.estimator_radius) <= r_e
  assert 0.93 * r_c < float(found.classifier_radius) <= r_c


def test_agreement_goes_beyond_the_radius_of_the_estimator():
  """The other level agrees: the truth is r_c, though r_e is smaller."""
  r_e, r_c = 0.1, 0.4
  options = {'n': 20_000, 'chunk_size': 20_050}
  stages = estimator(r_e), classifier(r_c, other=0)
  found = certified(agreement, *stages, **options)
  assert found.prediction == 0
  assert r_e < 0.93 * r_c < float(found.radius) <= r_c
  assert float(found.estimator_radius) <= r_e
  assert float(certified(minimum, *stages, **options).radius) <= r_e


def test_agreement_answers_for_an_undecided_estimator():
  found = certified(agreement, estimator(0.0), classifier(0.4, other=0))
  assert (found.prediction, found.estimator_radius) == (0, 0)
  assert 0.3 < float(found.radius) < 0.4
  for rule in (paper, minimum):
    answer = recomposed(rule, found, SIGMAS)
    assert (answer.prediction, answer.radius) == (ABSTAIN, 0)
  disagreeing = certified(agreement, estimator(0.0), classifier(0.4, other=2))
  assert disagreeing.prediction == ABSTAIN


def recomposed(rule, found, sigmas):
  """The certificate of another rule on the same votes, in float64."""
  counts = found.estimator_counts, found.classifier_counts
  return rule(
    *jax.tree.map(np.asarray, counts), sigmas, 0.5, n=500, alpha=0.001
  )


LEVELS = (0.25, 0.5, 1.0)


def random_problem(generator):
  """Three levels in bands of the first pixel, a half-space at each level."""
  cuts = 0.5 + np.sort(generator.uniform(-0.6, 0.6, 2))
  angles = generator.uniform(0, 2 * np.pi, 3)
  directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
  offsets = directions @ X + generator.uniform(-0.2, 0.9, 3)
  answers = generator.choice(
    [[0, 1], [0, 2], [1, 0]], size=3, p=[0.6, 0.3, 0.1]
  )
  return cuts, directions, offsets, answers


def exact_answers(problem, level_sigma, points):
  cuts, directions, offsets, answers = problem
  level = oracles.three_on_a_line_class(*cuts, level_sigma, points)
  return oracles.half_spaces_class(directions, offsets, answers, level, points)


def test_perturbed_images_keep_their_class():
  """G is known exactly; 400 points of each of some 60 certified balls."""
  generator = np.random.default_rng(0)
  problems = [random_problem(generator) for _ in range(150)]
  found = _certify_problems(
    *(
      jnp.asarray(np.stack(parts), jnp.float32)
      for parts in zip(*problems, strict=True)
    ),
    jax.random.split(KEY, len(problems)),
  )
  # Under vmap all levels are sampled, so every rule has all its votes.
  for answer in (
    found,
    *(recomposed(rule, found, LEVELS) for rule in RULES),
  ):
    _perturb(problems, answer)


def _perturb(problems, found):
  generator = np.random.default_rng(1)
  answered = np.flatnonzero(np.asarray(found.prediction) != ABSTAIN)
  assert len(answered) > 50
  tight = 0
  for index in answered:
    steps = generator.normal(size=(400, 2))
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    radius = float(found.radius[index])
    steps[200:] *= np.sqrt(generator.uniform(size=(200, 1)))
    inside = exact_answers(problems[index], 0.5, X + radius * steps)
    assert np.all(inside == int(found.prediction[index])), index
    further = exact_answers(problems[index], 0.5, X + 2 * radius * steps)
    tight += np.any(further != int(found.prediction[index]))
  # The test has teeth: twice the radius is often too much.
  assert tight > 0.2 * len(answered)


@jax.jit
@jax.vmap
def _certify_problems(cuts, directions, offsets, answers, key):
  return certify_dual(
    oracles.three_on_a_line(cuts[0], cuts[1]),
    oracles.half_spaces(directions, offsets, answers, LEVELS),
    IMAGE,
    LEVELS,
    0.5,
    key,
    **(STATISTICS | {'certificate': agreement}),
  )


PICTURE = oracles.image(4, 4, 1)
ROUTER = oracles.integer_network(16, 3, seed=7)
NETWORK = oracles.integer_network(16, 4, seed=2)


def with_networks(rule, first=ROUTER, second=NETWORK, key=KEY, **options):
  options = {'n0': 20, 'n': 180, 'alpha': 0.05, 'chunk_size': 200} | options
  return certify_dual(
    first,
    second,
    PICTURE,
    (0.03, 0.05, 0.05),
    0.04,
    key,
    certificate=rule,
    **options,
  )


def all_levels(first, second, image, sigmas, level_sigma, key, n0, n):
  """Counts of the estimator, and of every level, without skipping any."""
  options = {'n0': n0, 'n': n, 'chunk_size': n0 + n}
  of_estimator = voting.count_votes(first, image, level_sigma, key, **options)
  rows = [
    voting.count_votes(second, image, sigma, key, **options) for sigma in sigmas
  ]
  return of_estimator, jax.tree.map(lambda *c: jnp.stack(c), *rows)


@jax.jit
def _agreement(of_estimator, of_levels):
  return agreement(of_estimator, of_levels, LEVELS, 0.5, n=500, alpha=0.001)


def test_levels_that_are_skipped_change_nothing():
  """Recomputed with every level sampled, the certificates are the same."""
  generator = np.random.default_rng(3)
  skipped = []
  for index in range(25):
    cuts, directions, offsets, answers = random_problem(generator)
    first = oracles.three_on_a_line(*cuts)
    second = oracles.half_spaces(directions, offsets, answers, LEVELS)
    key = jax.random.key(index)
    found = certify_dual(
      first,
      second,
      IMAGE,
      LEVELS,
      0.5,
      key,
      **(STATISTICS | {'certificate': agreement}),
    )
    of_estimator, full = all_levels(
      first, second, IMAGE, LEVELS, 0.5, key, 50, 500
    )
    whole = _agreement(of_estimator, full)
    for own, other in zip(found[:5], whole[:5], strict=True):
      np.testing.assert_array_equal(own, other)
    np.testing.assert_array_equal(
      found.estimator_counts.estimation, of_estimator.estimation
    )
    sampled = np.asarray(found.classifier_counts.selection).any(axis=1)
    assert sampled[int(found.sigma_index)]
    for own, other in zip(found.classifier_counts, full, strict=True):
      np.testing.assert_array_equal(own, np.where(sampled[:, None], other, 0))
    skipped.append((~sampled).sum())
  # All of 0, 1 and 2 levels were skipped somewhere.
  assert set(skipped) == {0, 1, 2}


@pytest.mark.parametrize('rule', [paper, minimum])
def test_only_the_selected_level_is_sampled(rule):
  found = with_networks(rule)
  sampled = np.asarray(found.classifier_counts.estimation).any(axis=1)
  assert sampled.tolist() == [k == found.sigma_index for k in range(3)]


@pytest.mark.parametrize('rule', [*RULES, fallback])
def test_a_certificate_can_be_recomputed_from_its_counts(rule):
  found = with_networks(rule, key=jax.random.key(2))
  again = rule(
    *(
      jax.tree.map(np.asarray, counts)
      for counts in (found.estimator_counts, found.classifier_counts)
    ),
    (0.03, 0.05, 0.05),
    0.04,
    n=180,
    alpha=0.05,
    n0=20,
  )
  assert again.prediction == found.prediction
  assert again.radius.dtype == np.float64
  assert 0 < float(found.radius) <= again.radius
  assert float(found.radius) == pytest.approx(again.radius, rel=1e-6)


@pytest.mark.parametrize('rule', [agreement, fallback])
def test_equal_experts_are_one_classifier(rule):
  single = with_networks(rule)
  experts = with_networks(rule, second=(NETWORK,) * 3)
  listed = with_networks(rule, second=[NETWORK] * 3)
  for other in (experts, listed):
    for own, leaf in zip(
      jax.tree.leaves(single), jax.tree.leaves(other), strict=True
    ):
      np.testing.assert_array_equal(own, leaf)


def test_experts_are_routed_by_index():
  """Levels 1 and 2 share their sigma, not their expert."""
  experts = tuple(oracles.constant(np.eye(3)[answer]) for answer in (2, 0, 1))
  for level, answer in enumerate((2, 0, 1)):
    chooser = oracles.constant(np.eye(3)[level])
    found = with_networks(minimum, chooser, experts)
    assert (found.sigma_index, found.prediction) == (level, answer)
    predicted = predict_dual(
      chooser,
      experts,
      PICTURE,
      (0.03, 0.05, 0.05),
      0.04,
      KEY,
      n=180,
      alpha=0.05,
      chunk_size=180,
    )
    assert (predicted.sigma_index, predicted.prediction) == (level, answer)


def test_agreement_looks_at_the_other_expert():
  """Its expert says otherwise, though the sigma is the same."""
  middle = A @ X
  undecided = oracles.three_on_a_line(middle - 9.0, middle)  # levels 1 and 2
  say = [oracles.constant(np.eye(3)[answer]) for answer in (2, 0, 1)]
  options = {'certificate': agreement} | STATISTICS
  for experts, answer in (
    ((say[0], say[1], say[1]), 0),
    ((say[0], say[1], say[2]), ABSTAIN),
  ):
    found = certify_dual(
      undecided, experts, IMAGE, (0.1, 0.5, 0.5), 0.5, KEY, **options
    )
    assert found.prediction == answer


class Pair(tuple):
  """A classifier that happens to be a tuple of its weights."""

  def __call__(self, images, sigma):
    return oracles.half_space(*self)(images, sigma)


jax.tree_util.register_pytree_node(
  Pair, lambda pair: (tuple(pair), None), lambda _, leaves: Pair(leaves)
)


def test_a_classifier_that_is_a_tuple_is_no_list_of_experts():
  pair = Pair((W, W @ X + 0.4))
  jax.eval_shape(lambda: certified(minimum, estimator(0.4), pair))


@pytest.mark.parametrize('rule', [minimum, agreement])
def test_one_level_is_plain_smoothing(rule):
  found = certify_dual(
    oracles.constant([0.0]),
    NETWORK,
    PICTURE,
    (0.05,),
    0.3,
    KEY,
    certificate=rule,
    n0=20,
    n=180,
    alpha=0.05,
    chunk_size=200,
  )
  plain = certify(
    NETWORK, PICTURE, 0.05, KEY, n0=20, n=180, alpha=0.05, chunk_size=200
  )
  assert found.prediction == plain.prediction != ABSTAIN
  assert found.radius == found.classifier_radius == plain.radius
  assert found.estimator_radius == np.inf
  for own, other in zip(found.classifier_counts, plain.counts, strict=True):
    np.testing.assert_array_equal(own[0], other)


@pytest.mark.parametrize('stage', ['estimator', 'classifier'])
def test_invalid_votes_of_a_stage_abstain(stage):
  """All logits NaN: a competitor may have had every vote."""
  stages = {'estimator': 0.9, 'classifier': 0.9} | {stage: -1e3}
  found = certified(
    agreement, *(oracles.invalid_beyond(offset) for offset in stages.values())
  )
  # The levels agree: whichever the estimator means, the answer is class 0.
  assert (found.prediction != ABSTAIN) == (stage == 'estimator')
  for answer in (
    found,
    recomposed(paper, found, SIGMAS),
    recomposed(minimum, found, SIGMAS),
  ):
    if stage == 'estimator':
      assert found.estimator_counts.estimation.sum() == 0
      assert answer.estimator_radius == 0
    else:
      assert answer.classifier_radius == 0
    assert answer is found or answer.prediction == ABSTAIN


@jax.jit
def _traced(sigmas, level_sigma, image):
  stages = oracles.constant([1.0, 0.0]), oracles.constant([1.0, 0.0])
  options = {'certificate': agreement} | STATISTICS
  return certify_dual(*stages, image, sigmas, level_sigma, KEY, **options)


@pytest.mark.parametrize('bad', [np.nan, -0.5, 0.0, np.inf])
def test_traced_levels_that_make_no_sense_abstain(bad):
  good = jnp.float32([0.25, 0.5])
  for arguments in (
    (good.at[0].set(bad), jnp.float32(0.5), IMAGE),
    (good, jnp.float32(bad), IMAGE),
    (good, jnp.float32(0.5), IMAGE.at[0].set(jnp.nan)),
  ):
    found = _traced(*arguments)
    assert (found.prediction, found.radius) == (ABSTAIN, 0)
  assert _traced(good, jnp.float32(0.5), IMAGE).radius > 0


def test_new_levels_do_not_recompile(caplog):
  def certify(sigmas):
    certify_dual(
      ROUTER,
      NETWORK,
      PICTURE,
      sigmas,
      sigmas[0],
      KEY,
      certificate=minimum,
      n0=30,
      n=170,
      alpha=0.05,
      chunk_size=200,
    )

  with jax.log_compiles():
    certify((0.2, 0.4, 0.4))
    assert 'Compiling jit(_certify_dual)' in caplog.text
    caplog.clear()
    certify((0.3, 0.1, 1.0))
    certify([0.5, 0.2, 0.7])
  assert 'Compiling jit(_certify_dual)' not in caplog.text


@pytest.mark.parametrize('missing', ['a level', "the estimator's"])
def test_exact_noise_is_for_the_levels_of_both_stages(missing):
  made_for = {'a level': [0.25, 0.5], "the estimator's": [0.25, 0.75]}[missing]
  arguments = (np.zeros((4, 4, 1), np.float32), (0.25, 0.75), 0.5, KEY)
  options = {'n': 180, 'alpha': 0.05, 'chunk_size': 200}
  options['noise'] = lattice_noise(made_for)
  networks = oracles.constant([1.0, 0.0]), NETWORK
  with pytest.raises(ValueError, match='was made for the levels'):
    certify_dual(*networks, *arguments, certificate=minimum, n0=20, **options)
  with pytest.raises(ValueError, match='was made for the levels'):
    predict_dual(*networks, *arguments, **options)
