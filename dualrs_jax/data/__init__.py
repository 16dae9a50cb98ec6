"""Sources of images: splits of data sets that yield 8-bit arrays."""

from dualrs_jax.data.registry import OPTIONS as OPTIONS
from dualrs_jax.data.registry import chosen as chosen
from dualrs_jax.data.registry import identity as identity
from dualrs_jax.data.registry import is_published as is_published
from dualrs_jax.data.registry import load as load
from dualrs_jax.data.registry import sources as sources
from dualrs_jax.data.source import Source as Source
from dualrs_jax.data.source import StoredImages as StoredImages
from dualrs_jax.data.source import refuse_unusable as refuse_unusable
from dualrs_jax.data.source import to_unit as to_unit
from dualrs_jax.data.splits import DatasetNotFound as DatasetNotFound
from dualrs_jax.data.worker import WorkerDied as WorkerDied
