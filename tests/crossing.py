"""Exact probabilities that some look rejects, by plain summation.

Independent of the product: full arrays, direct convolutions, SciPy's binomial.
"""

import numpy as np
from scipy import special, stats


def crossing_probability(looks, limits, z):
  """P[failures at look k <= limits[k] for some k], when p = Phi(z)."""
  crossed, law, votes = 0.0, np.ones(1), 0
  for look, limit in zip(looks, limits, strict=True):
    counts = np.arange(look - votes + 1)
    law = np.convolve(
      law, stats.binom.pmf(counts, look - votes, special.ndtr(-z))
    )
    crossed += law[: limit + 1].sum()
    law[: limit + 1] = 0
    votes = look
  return crossed


def wrong_limits(bounds, z):
  """Per look, the most failures after which the bound is above the truth.

  Args:
    bounds: For each look an array of lower bounds by failure count.
    z: The truth.
  """
  return [np.count_nonzero(row > z) - 1 for row in bounds]


def by_failures(table):
  """The lower bounds of a sequential table, an array by failures per look."""
  return [
    table.lower_z(k, n - np.arange(n + 1)) for k, n in enumerate(table.looks)
  ]
