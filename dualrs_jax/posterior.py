"""What a few votes leave open about the probability of a vote.

Unanimous votes are no certainty: of many images, some were merely lucky. How
many follows from the others. A beta distribution of vote probabilities is
fitted to all images (empirical Bayes), and what the votes on one of them leave
open is again a beta distribution.

Nothing here bounds anything: it is for targets of training and for forecasts.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special

#: Logarithms of the parameters stay within.
_MOST = 5.0


class Prior(NamedTuple):
  """The beta distribution of the vote probabilities of images.

  Attributes:
    a: Its first parameter, as if so many votes had been won.
    b: Its second one, as if so many had been lost.
  """

  a: float
  b: float

  def draw(
    self,
    wins: Int[np.ndarray, '*images'],
    cast: int,
    rng: np.random.Generator,
    draws: tuple[int, ...] = (),
  ) -> Float[np.ndarray, '*draws_images']:
    """Draws probabilities that votes leave open.

    Args:
      wins: Votes that were won on each image.
      cast: How many there were.
      rng: Draws them.
      draws: The shape of several draws for each image, which comes first.
    """
    shape = (*draws, *np.shape(wins))
    return rng.beta(wins + self.a, cast - wins + self.b, size=shape)

  def quantile(
    self,
    wins: Int[np.ndarray, ' images'],
    cast: int,
    at: Float[np.ndarray, ' images'],
  ) -> Float[np.ndarray, ' images']:
    """Quantiles of the probabilities that votes leave open.

    Args:
      wins: Votes that were won on each image.
      cast: How many there were.
      at: Where in (0, 1), for each image.
    """
    return special.betaincinv(wins + self.a, cast - wins + self.b, at)


def fit(wins: Int[np.ndarray, ' images'], cast: int) -> Prior:
  """The prior under which the votes on all images are most likely.

  Args:
    wins: Votes that were won on each image.
    cast: How many there were on each.
  """
  values, images = np.unique(wins, return_counts=True)

  def surprise(logs):
    a, b = np.exp(np.clip(logs, -_MOST, _MOST))
    evidence = special.betaln(values + a, cast - values + b)
    return -images @ (evidence - special.betaln(a, b))

  found = optimize.minimize(surprise, [0.0, 0.0], method='Nelder-Mead')
  return Prior(*np.exp(np.clip(found.x, -_MOST, _MOST)).tolist())
