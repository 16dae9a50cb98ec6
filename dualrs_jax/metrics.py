"""Summary figures of a certified data set, from arrays, in NumPy float64.

Every figure is over all rows that were attempted: an abstention counts as a
failure, and predictions equal to `ABSTAIN` (-1) are never right.
"""

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy import special

from dualrs_jax.base import ABSTAIN


def correct(
  predictions: Int[np.ndarray, 'images'] | Int[jax.Array, 'images'],
  labels: Int[np.ndarray, 'images'] | Int[jax.Array, 'images'],
) -> np.ndarray:
  """Whether each prediction is right, a bool array [images]."""
  predictions, labels = np.asarray(predictions), np.asarray(labels)
  if predictions.shape != labels.shape or predictions.ndim != 1:
    raise ValueError(
      'Predictions and labels are one array [images] each, not of shapes'
      f' {predictions.shape} and {labels.shape}.'
    )
  if predictions.size == 0:
    raise ValueError('There are no rows to summarise.')
  return (predictions == labels) & (predictions != ABSTAIN)


def clean_accuracy(predictions, labels) -> float:
  """The share of rows whose prediction is right."""
  return float(correct(predictions, labels).mean())


def abstention_rate(predictions) -> float:
  """The share of rows without a prediction."""
  predictions = np.asarray(predictions)
  if predictions.size == 0:
    raise ValueError('There are no rows to summarise.')
  return float((predictions == ABSTAIN).mean())


def certified_accuracy(
  predictions, labels, radii, at
) -> Float[np.ndarray, '...'] | float:
  """The share of rows that are right and certified at each radius.

  Args:
    predictions: Predicted classes, shape [images]; `ABSTAIN` where there is
      none.
    labels: True classes, shape [images].
    radii: Certified l2 radii in pixel units, shape [images].
    at: The radii to report, a scalar or an array; a row counts where its
      radius is not smaller.

  Returns:
    Shares in [0, 1], of the shape of `at`.
  """
  right = correct(predictions, labels)
  radii = np.asarray(radii, np.float64)
  reached = radii >= np.asarray(at, np.float64)[..., None]
  return (right & reached).mean(axis=-1)


def accuracy_interval(
  share, rows: int, *, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
  """The two-sided Clopper-Pearson interval of a share of rows.

  Guarantee: if the rows are a uniform sample of a population, the share of the
  population lies inside with probability at least 1 - alpha. This is the
  uncertainty from having few images; that of the noise is in the radii.

  Args:
    share: Observed shares, multiples of 1 / rows.
    rows: Number of rows.
    alpha: Failure probability.
  """
  hits = np.rint(np.asarray(share) * rows)
  low = np.where(
    hits > 0,
    special.betaincinv(np.maximum(hits, 1), rows - hits + 1, alpha / 2),
    0.0,
  )
  high = np.where(
    hits < rows,
    special.betainccinv(hits + 1, np.maximum(rows - hits, 1), alpha / 2),
    1.0,
  )
  return low, high


def average_certified_radius(predictions, labels, radii) -> float:
  """The mean radius over all rows, zero where the prediction is not right.

  Read it with care: it is capped by the number of votes and rewards very
  easy inputs; a trivial classifier can have a large one (Sun et al. 2024,
  https://arxiv.org/abs/2410.06895). Certified accuracy over radii says more.
  """
  right = correct(predictions, labels)
  return float((right * np.asarray(radii, np.float64)).mean())


def vote_probability(counts, n: int) -> Float[np.ndarray, 'images']:
  """The observed share of votes for the class that has most of them.

  Args:
    counts: Estimation votes, shape [images, classes].
    n: Number of votes, the invalid ones included.
  """
  return np.asarray(counts).max(axis=-1) / n


def paired_bootstrap_ratio(
  hits,
  baseline_hits,
  *,
  seed: int,
  resamples: int = 10_000,
  alpha: float = 0.05,
) -> tuple[float, float, float]:
  """The ratio of two accuracies on the same images, with its interval.

  Args:
    hits: Whether each image counts, bool array [images].
    baseline_hits: The same of the baseline; or [baselines, images], of which
      each resample takes the best one, as the ratio itself does.
    seed: Of the resampling.
    resamples: Number of bootstrap samples of the images.
    alpha: One minus the nominal coverage of the interval.

  Returns:
    The ratio, and the percentile interval's lower and upper end.
  """
  hits = np.asarray(hits, bool)
  baselines = np.atleast_2d(np.asarray(baseline_hits, bool))
  images = hits.shape[0]
  generator = np.random.default_rng(seed)
  # How often each image is drawn, instead of the draws: one matrix product.
  draws = generator.multinomial(
    images, np.full(images, 1 / images), size=resamples
  )
  ratios = (draws @ hits) / np.maximum((draws @ baselines.T).max(axis=1), 1)
  low, high = np.quantile(ratios, [alpha / 2, 1 - alpha / 2])
  ratio = hits.sum() / max(baselines.sum(axis=1).max(), 1)
  return float(ratio), float(low), float(high)
