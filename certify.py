"""Certifies a data set with the networks that train.py left.

    python certify.py --config configs/digits.py

goes on where it was if it is interrupted, and prints a summary at the end. The
options are those of the configuration, for example

    --config.certify.smoothing=single     plain smoothing at every noise level
    --config.certify.protocol=paper       the certificate of Sun et al. (2026)
    --config.certify.task=predict         predictions without radii
    --config.certify.start=0 --config.certify.stride=5 --config.certify.count=0
    --config.certify.seed=7               instead of a fresh one
"""

import logging
import pathlib
import sys

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from dualrs_jax import checkpoints
from dualrs_jax.evaluation import certify_dataset
from dualrs_jax.runtime import shards

_CONFIG = config_flags.DEFINE_config_file('config', lock_config=True)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Where the networks are; by default runs/<config.name>.'
)
flags.mark_flag_as_required('config')

#: What a user can put right, told in one sentence.
_USER_ERRORS = (
  checkpoints.CheckpointError,
  shards.ShardInUse,
  ValueError,
  OSError,
)


def main(argv: list[str]) -> int:
  """Certifies, then prints and draws what was found."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected argument {argv[1]!r}')
  if not flags.FLAGS['verbosity'].present:
    absl_logging.set_verbosity(absl_logging.WARNING)
  config = _CONFIG.value
  workdir = pathlib.Path(_WORKDIR.value or pathlib.Path('runs') / config.name)
  try:
    certify_dataset.certify_dataset(config, workdir)
    print(certify_dataset.report_dataset(config, workdir))
  except _USER_ERRORS as error:
    logging.debug('', exc_info=True)
    print(f'certify.py: {error}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print('certify.py: interrupted; the same command goes on', file=sys.stderr)
    return 130
  return 0


if __name__ == '__main__':
  app.run(main)
