"""Checkpoints of models and of the training around them, on Orbax.

A checkpoint is a set of named pytrees ('model', 'optimizer', ...) and a JSON
description, in a folder named by its step. The description holds the shape and
a checksum of every array: a flipped bit on disk, which the storage layer reads
back without complaint, is found, and a checkpoint of another architecture is
told from a broken one.

In a run of several processes all of them save and restore together, in a
folder that all of them see; the arrays are the same everywhere (replicated).
What is written does not depend on the number of processes or devices.
"""

from dualrs_jax.checkpoints.description import MODEL as MODEL
from dualrs_jax.checkpoints.description import (
  CheckpointError as CheckpointError,
)
from dualrs_jax.checkpoints.description import model_state as model_state
from dualrs_jax.checkpoints.description import steps as steps
from dualrs_jax.checkpoints.reader import is_finished as is_finished
from dualrs_jax.checkpoints.reader import load_model as load_model
from dualrs_jax.checkpoints.reader import newest_arrays as newest_arrays
from dualrs_jax.checkpoints.reader import newest_meta as newest_meta
from dualrs_jax.checkpoints.reader import restore as restore
from dualrs_jax.checkpoints.saver import Saver as Saver
