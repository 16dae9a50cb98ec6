"""Randomized smoothing with input-dependent noise, in JAX.

What has no need of JAX, such as `dualrs_jax.verify`, is imported without it: a
name comes from its module when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from dualrs_jax import xla_flags

if TYPE_CHECKING:
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
  from dualrs_jax.classifiers import ignore_sigma as ignore_sigma
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
  from dualrs_jax.dual_prediction import predict_dual as predict_dual
  from dualrs_jax.fallbacks import fallback as fallback
  from dualrs_jax.host import host_classifier as host_classifier
  from dualrs_jax.independence import (
    check_batch_independence as check_batch_independence,
  )
  from dualrs_jax.lattice import lattice_noise as lattice_noise
  from dualrs_jax.lookups import open_ended as open_ended
  from dualrs_jax.lookups import planned as planned
  from dualrs_jax.noise import gaussian as gaussian
  from dualrs_jax.noise import image_key as image_key
  from dualrs_jax.predicting import predict_images as predict_images
  from dualrs_jax.sharding import votes_mesh as votes_mesh
  from dualrs_jax.smoothing import certify as certify
  from dualrs_jax.smoothing import predict as predict

__version__ = '0.1.0'

xla_flags.leave_out_fusion()  # before JAX starts

#: The names of the library, by the module that has them.
_NAMES = {
  'adaptive': ('certify_images',),
  'arrays': ('certify_array',),
  'base': (
    'ABSTAIN',
    'AdaptiveCertificate',
    'CascadeCertificate',
    'CascadePrediction',
    'Cast',
    'Certificate',
    'Classifier',
    'Counts',
    'DualCertificate',
    'DualPrediction',
    'Prediction',
  ),
  'cascade': (
    'certify_cascade',
    'predict_cascade',
  ),
  'cascade_images': ('certify_cascade_images',),
  'classifiers': ('ignore_sigma',),
  'composition': (
    'agreement',
    'minimum',
    'paper',
  ),
  'distance_levels': (
    'DistanceCertificate',
    'DistanceLevel',
    'certify_distance_level',
  ),
  'dual': ('certify_dual',),
  'dual_prediction': ('predict_dual',),
  'fallbacks': ('fallback',),
  'host': ('host_classifier',),
  'independence': ('check_batch_independence',),
  'lattice': ('lattice_noise',),
  'lookups': (
    'open_ended',
    'planned',
  ),
  'noise': (
    'gaussian',
    'image_key',
  ),
  'predicting': ('predict_images',),
  'sharding': ('votes_mesh',),
  'smoothing': (
    'certify',
    'predict',
  ),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  home = importlib.import_module(f'{__name__}.{_HOMES[name]}')
  globals()[name] = found = getattr(home, name)
  return found


def __dir__() -> list[str]:
  return sorted({*globals(), *_HOMES})
