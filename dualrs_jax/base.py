"""The nouns that every layer shares: classifiers, vote counts, certificates."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int

#: The prediction of a smoothed classifier that declines to answer.
ABSTAIN = -1


@runtime_checkable
class Classifier(Protocol):
  """A base classifier f, as a callable pytree.

  Pass it to jitted functions as an argument; a closure would bake its weights
  into the compiled program. A row of the result may depend on its own image
  and sigma alone: no batch statistics, no dropout. A Flax NNX module, an
  Equinox module and `jax.tree_util.Partial(linen_module.apply, variables)`
  all qualify; `dualrs_jax.ignore_sigma` wraps a model of images alone.
  """

  def __call__(
    self,
    images: Float[Array, 'batch *image'],
    sigma: Float[Array, 'batch'],
  ) -> Float[Array, 'batch classes']:
    """Returns the logits of each noisy image.

    Args:
      images: Noisy images, in pixel units (a clean image lies in [0, 1]).
      sigma: The standard deviation of the noise on each image.
    """
    ...


class Counts(NamedTuple):
  """Votes per class, in two disjoint samples.

  A vote whose logits hold a NaN is *invalid*: it is in no class, so the
  number of invalid votes is the sample's size minus the sum of the counts.

  Attributes:
    selection: Votes that choose what is to be certified, shape [..., classes].
    estimation: Fresh votes that bound its probability, shape [..., classes].
  """

  selection: Int[Array | np.ndarray, '*batch classes']
  estimation: Int[Array | np.ndarray, '*batch classes']


class Certificate(NamedTuple):
  """The answer of a smoothed classifier at one noise level.

  Attributes:
    prediction: The class, or `ABSTAIN`.
    radius: The certified l2 radius in pixel units; 0 for an abstention.
    counts: The votes from which both follow.
  """

  prediction: Int[Array | np.ndarray, '*batch']
  radius: Float[Array | np.ndarray, '*batch']
  counts: Counts


class DualCertificate(NamedTuple):
  """The answer of a dual smoothed classifier.

  Only `radius` belongs to the guarantee of the composition rule in full. The
  two stage radii are each valid at the level that the rule gave them, one at
  a time, and are there to show which stage limits the result.

  Attributes:
    prediction: The class, or `ABSTAIN`.
    radius: The certified l2 radius in pixel units; 0 for an abstention.
    sigma_index: The selected noise level, an index into `sigmas`.
    estimator_radius: Within it the estimator keeps that level; infinite for
      a single level, and 0 where this is undecided.
    classifier_radius: Within it the classifier at that level, or the cascade
      from there down where the rule falls back, keeps its class; 0 where this
      is undecided.
    estimator_counts: Votes over the noise levels, arrays of shape [..., K].
    classifier_counts: Votes over the classes at each level, arrays of shape
      [..., K, classes]; all zero at a level that was not sampled.
  """

  prediction: Int[Array | np.ndarray, '*batch']
  radius: Float[Array | np.ndarray, '*batch']
  sigma_index: Int[Array | np.ndarray, '*batch']
  estimator_radius: Float[Array | np.ndarray, '*batch']
  classifier_radius: Float[Array | np.ndarray, '*batch']
  estimator_counts: Counts
  classifier_counts: Counts


class Cast(NamedTuple):
  """How many votes were cast, the invalid ones included.

  Attributes:
    selection: In the sample that chooses, shape [...].
    estimation: In the sample that bounds, shape [...].
  """

  selection: int | Int[Array | np.ndarray, '*batch']
  estimation: int | Int[Array | np.ndarray, '*batch']


class AdaptiveCertificate(NamedTuple):
  """The answer of a dual smoothed classifier, from as many votes as it took.

  Attributes:
    prediction: The class, or `ABSTAIN`.
    radius: The certified l2 radius in pixel units; with the goals 'radius' and
      'grid' the largest of their radii that is certified, which may be 0; with
      'full' the one that the bounds at the last looks give, where more votes
      are not expected to give a larger one. 0 for an abstention.
    sigma_index: The selected noise level, an index into `sigmas`.
    estimator_radius: As in `DualCertificate`, at the last look.
    classifier_radius: As in `DualCertificate`, at the last look.
    estimator_counts: Votes over the noise levels, arrays of shape [K].
    classifier_counts: Votes over the classes at each level, [K, classes].
    estimator_cast: How many votes the estimator cast.
    classifier_cast: How many the classifier cast at each level, arrays [K].
  """

  prediction: int
  radius: float
  sigma_index: int
  estimator_radius: float
  classifier_radius: float
  estimator_counts: Counts
  classifier_counts: Counts
  estimator_cast: Cast
  classifier_cast: Cast


class CascadeCertificate(NamedTuple):
  """The answer of a cascade of noise levels.

  Only `radius` belongs to the guarantee in full. The other two are each valid
  at the same alpha, one at a time, and show what limits it.

  Attributes:
    prediction: The class, or `ABSTAIN`.
    radius: The certified l2 radius in pixel units; 0 for an abstention.
    sigma_index: The level that answers, an index into `sigmas`.
    earlier_radius: Within it no earlier level answers another class; infinite
      for the first level, and 0 where this is undecided.
    level_radius: Within it the level that answers keeps its class; 0 where
      this is undecided.
    counts: Votes over the classes at each level, arrays of shape
      [..., K, classes]; estimation votes are zero at a level after the one
      that answers.
    cast: How many votes were cast at each level, arrays of shape [..., K].
  """

  prediction: int | Int[Array | np.ndarray, '*batch']
  radius: float | Float[Array | np.ndarray, '*batch']
  sigma_index: int | Int[Array | np.ndarray, '*batch']
  earlier_radius: float | Float[Array | np.ndarray, '*batch']
  level_radius: float | Float[Array | np.ndarray, '*batch']
  counts: Counts
  cast: Cast


class CascadePrediction(NamedTuple):
  """A prediction of a cascade of noise levels, without a radius.

  Attributes:
    prediction: The class, or `ABSTAIN`.
    sigma_index: The level that answers, or `ABSTAIN`.
    counts: The votes over the classes at each level, [..., K, classes]; all
      zero at a level that was not visited.
  """

  prediction: Int[Array | np.ndarray, '*batch']
  sigma_index: Int[Array | np.ndarray, '*batch']
  counts: Int[Array | np.ndarray, '*batch levels classes']


class Prediction(NamedTuple):
  """A prediction of a smoothed classifier, without a radius.

  Attributes:
    prediction: The class, or `ABSTAIN`.
    counts: The votes per class, shape [..., classes].
  """

  prediction: Int[Array | np.ndarray, '*batch']
  counts: Int[Array | np.ndarray, '*batch classes']


class DualPrediction(NamedTuple):
  """A prediction of a dual smoothed classifier, without a radius.

  Attributes:
    prediction: The class, or `ABSTAIN`.
    sigma_index: The predicted noise level, or `ABSTAIN`.
    estimator_counts: Votes over the noise levels, shape [..., K].
    classifier_counts: Votes over the classes at that level, [..., classes].
  """

  prediction: Int[Array | np.ndarray, '*batch']
  sigma_index: Int[Array | np.ndarray, '*batch']
  estimator_counts: Int[Array | np.ndarray, '*batch levels']
  classifier_counts: Int[Array | np.ndarray, '*batch classes']
