"""Randomized smoothing with input-dependent noise, in JAX."""

from dualrs_jax.adaptive import certify_images as certify_images
from dualrs_jax.arrays import certify_array as certify_array
from dualrs_jax.base import ABSTAIN as ABSTAIN
from dualrs_jax.base import AdaptiveCertificate as AdaptiveCertificate
from dualrs_jax.base import CascadeCertificate as CascadeCertificate
from dualrs_jax.base import CascadePrediction as CascadePrediction
from dualrs_jax.base import Cast as Cast
from dualrs_jax.base import Certificate as Certificate
from dualrs_jax.base import Classifier as Classifier
from dualrs_jax.base import Counts as Counts
from dualrs_jax.base import DualCertificate as DualCertificate
from dualrs_jax.base import DualPrediction as DualPrediction
from dualrs_jax.base import Prediction as Prediction
from dualrs_jax.cascade import certify_cascade as certify_cascade
from dualrs_jax.cascade import predict_cascade as predict_cascade
from dualrs_jax.cascade_images import (
  certify_cascade_images as certify_cascade_images,
)
from dualrs_jax.composition import agreement as agreement
from dualrs_jax.composition import minimum as minimum
from dualrs_jax.composition import paper as paper
from dualrs_jax.distance_levels import (
  DistanceCertificate as DistanceCertificate,
)
from dualrs_jax.distance_levels import DistanceLevel as DistanceLevel
from dualrs_jax.distance_levels import (
  certify_distance_level as certify_distance_level,
)
from dualrs_jax.dual import certify_dual as certify_dual
from dualrs_jax.dual import predict_dual as predict_dual
from dualrs_jax.lattice import lattice_noise as lattice_noise
from dualrs_jax.noise import gaussian as gaussian
from dualrs_jax.noise import image_key as image_key
from dualrs_jax.sharding import votes_mesh as votes_mesh
from dualrs_jax.smoothing import certify as certify
from dualrs_jax.smoothing import predict as predict
from dualrs_jax.voting import (
  check_batch_independence as check_batch_independence,
)
from dualrs_jax.voting import ignore_sigma as ignore_sigma

__version__ = '0.1.0'
