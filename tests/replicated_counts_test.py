"""Vote counts of the source paper's own networks, certified again.

An independent replication ran the published estimator and classifier on two
images of CIFAR-10 and reports counts, bounds and radii in full: n = 10,000,
alpha / 2 = .0005 for each stage.
"""

import numpy as np
import pytest
from scipy import special, stats

from dualrs_jax import Counts, confidence, paper

N = 10_000
ALPHA = 0.001
SIGMAS = (0.25, 0.5, 1.0)
ESTIMATOR_SIGMA = 1.0

#: Votes for the outcome, the level, the reported bound and radius.
REPORTED = {
  'image 0, estimator': (9_785, 1.0, 0.9733049184994031, 1.9317516774502348),
  'image 0, classifier': (9_586, 0.5, 0.951641975500073, 0.8304935215242373),
  'image 1, estimator': (10_000, 1.0, 0.999240198549462, 3.170913682899454),
  'image 1, classifier': (8_768, 1.0, 0.8656500397324718, 1.106061455351514),
}
#: Of image 1 all votes are for the level 1.
ESTIMATOR_COUNTS = ([208, 9_785, 7], [0, 0, 10_000])


@pytest.mark.parametrize('case', REPORTED)
def test_bounds_and_radii(case):
  votes, sigma, bound, radius = REPORTED[case]
  z = confidence.lower_z(N, ALPHA / 2)[votes]
  assert special.ndtr(z) == pytest.approx(bound, rel=1e-9)
  assert sigma * z == pytest.approx(radius, rel=3e-10)
  # On the safe side: of the reported radius, and of the level.
  assert sigma * z < radius
  tail = stats.binom.cdf(N - votes, N, stats.norm.sf(z))
  assert ALPHA / 2 * (1 - 1e-7) < tail < ALPHA / 2


@pytest.mark.parametrize('image', [0, 1])
def test_paper_rule(image):
  """The certificate of both stages, from all that is known of the votes."""
  estimator = np.array(ESTIMATOR_COUNTS[image])
  level = int(np.argmax(estimator))
  votes, _, _, classifier_radius = REPORTED[f'image {image}, classifier']
  estimator_radius = REPORTED[f'image {image}, estimator'][-1]
  classifier = np.zeros((3, 10), int)
  classifier[level, 3] = votes
  # Which class it was, and which the others were, is not reported.
  classifier[level, 5] = N - votes
  found = paper(
    Counts(estimator // 100, estimator),
    Counts(classifier // 100, classifier),
    SIGMAS,
    ESTIMATOR_SIGMA,
    n=N,
    alpha=ALPHA,
  )
  assert found.prediction == 3
  assert found.sigma_index == level
  for radius, reported in (
    (found.estimator_radius, estimator_radius),
    (found.classifier_radius, classifier_radius),
    (found.radius, min(estimator_radius, classifier_radius)),
  ):
    assert radius == pytest.approx(reported, rel=3e-10)
    assert radius < reported
