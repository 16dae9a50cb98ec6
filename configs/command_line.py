"""What the programs share: their flags, their log, their way to fail.

A mistake of the user ends a program with one sentence, and status 2. Anything
else keeps its traceback.
"""

import contextlib
import logging
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from dualrs_jax import checkpoints
from dualrs_jax.runtime import shards

_OURS = (
  checkpoints.CheckpointError,
  shards.ShardInUse,
  FloatingPointError,
  OSError,
)
_PACKAGE = pathlib.Path(checkpoints.__file__).parent

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'Configuration. A field is changed by --config.<field>=<value>.',
)
flags.mark_flag_as_required('config')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run; by default runs/<config.name>.'
)


def run(main: Callable[[ConfigDict, pathlib.Path], None]) -> None:
  """Parses the flags and calls `main(config, workdir)`; never returns."""

  def called(argv: Sequence[str]) -> None:
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger('dualrs_jax').setLevel(logging.INFO)
    if len(argv) > 1:
      _fail(f'unexpected argument {argv[1]!r}')
    config = _CONFIG.value
    workdir = _WORKDIR.value or pathlib.Path('runs') / config.name
    with _one_sentence():
      main(config, pathlib.Path(workdir))

  app.run(called, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
  try:
    arguments = flags.FLAGS(argv)
    _ = _CONFIG.value.name  # a missing file is only reported here
  except flags.Error as error:
    # A mistake within a configuration comes with its whole traceback.
    _fail(str(error).strip().splitlines()[-1].removeprefix('ValueError: '))
  except (AttributeError, KeyError) as error:
    _fail('unknown field of the configuration: ' + _without_quotes(error))
  except OSError as error:
    _fail(str(error).splitlines()[-1].strip())
  return arguments


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
  try:
    yield
  except KeyboardInterrupt:
    print('\ninterrupted; the same command goes on from here', file=sys.stderr)
    sys.exit(130)
  except _OURS as error:
    _fail(str(error))
  except ValueError as error:
    # Ours say what is wrong; those of other libraries need their traceback.
    raised_in = pathlib.Path(traceback.extract_tb(error.__traceback__)[-1][0])
    if _PACKAGE not in raised_in.parents:
      raise
    _fail(str(error))


def _fail(sentence: str) -> NoReturn:
  print(f'error: {sentence}', file=sys.stderr)
  sys.exit(2)


def _without_quotes(error: BaseException) -> str:
  """The text within nested exceptions, on one line."""
  text = error
  while isinstance(text, BaseException) and text.args:
    text = text.args[0]
  return ' '.join(str(text).split()).strip('"')
