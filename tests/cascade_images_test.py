"""Cascades of many images, adaptively, against closed forms."""

import jax
import numpy as np
import pytest

import dualrs_jax as drs
from tests.cascade_test import SIGMAS, network, true_radius

PLACES = (-0.45, -0.05, 0.08, 0.4, 0.45)
OPTIONS = {'n0': 100, 'n': 4_000, 'alpha': 0.001}


def certify(goal, radii=(), chunk_size=64, sigmas=SIGMAS, **changes):
  images = [np.float32([0.5 + at, 0.5]) for at in PLACES]
  found = drs.certify_cascade_images(
    changes.pop('classifier', network()),
    enumerate(images),
    sigmas,
    jax.random.key(1),
    goal=goal,
    radii=radii,
    chunk_size=chunk_size,
    **(OPTIONS | changes),
  )
  return dict(found)


@pytest.mark.parametrize(
  ('goal', 'radii'), [('full', ()), ('grid', (0.0, 0.05, 0.1, 0.2))]
)
def test_never_above_the_truth(goal, radii):
  answers = certify(goal, radii)
  assert sorted(answers) == list(range(len(PLACES)))
  close = 0
  for index, at in enumerate(PLACES):
    label, radius = true_radius(at)
    answer = answers[index]
    assert answer.radius <= radius + 1e-4
    assert answer.prediction in (label, drs.ABSTAIN)
    close += answer.radius > radius - 0.09
    if goal == 'grid':
      assert answer.radius in radii
  if goal == 'full':
    assert close >= 4


def test_votes_do_not_depend_on_lanes_or_neighbours():
  first, second = certify('full', n=500), certify('full', n=500, chunk_size=17)
  for index in first:
    jax.tree.map(np.testing.assert_array_equal, first[index], second[index])


def test_votes_are_those_of_the_fixed_number():
  """The same noise, and all of it: the same counts."""
  answers = certify('full', n=500)
  index = max(answers, key=lambda at: answers[at].cast.estimation.sum())
  level = int(np.argmax(answers[index].cast.estimation))
  assert answers[index].cast.estimation[level] == 500
  fixed = drs.certify_cascade(
    network(),
    np.float32([0.5 + PLACES[index], 0.5]),
    SIGMAS,
    drs.image_key(jax.random.key(1), index),
    n0=100,
    n=500,
    alpha=0.001,
    chunk_size=600,
  )
  np.testing.assert_array_equal(
    answers[index].counts.estimation[level], fixed.counts.estimation[level]
  )


def test_refusals():
  with pytest.raises(ValueError, match='sigmas must be positive'):
    certify('full', sigmas=(1.0, 0.0))
  with pytest.raises(ValueError, match='There are 2 experts for 3'):
    certify('full', classifier=[network()] * 2)
  found = drs.certify_cascade_images(
    network(), [], SIGMAS, jax.random.key(0), goal='full', chunk_size=8,
    **OPTIONS,
  )  # fmt: skip
  assert not list(found)
