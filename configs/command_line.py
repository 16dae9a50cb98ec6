"""What the programs share: their flags, their log, their way to fail.

A mistake of the user ends a program with one sentence and status 2; a run that
was preempted ends with `preemption.EXIT_STATUS`; anything else keeps its
traceback.
"""

import contextlib
import logging
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from dualrs_jax import checkpoints
from dualrs_jax.runtime import preemption, processes, shards

_OURS = (
  checkpoints.CheckpointError,
  shards.ShardInUse,
  FloatingPointError,
  OSError,
)
_PACKAGE = pathlib.Path(checkpoints.__file__).parent


def run(
  main: Callable[[Any, pathlib.Path, processes.Place], None],
  *,
  independent: bool = False,
) -> None:
  """Parses the flags and calls `main(config, workdir, place)`; never returns.

  Args:
    main: What the program does, in the place that it has among several.
    independent: Whether the processes may also do without a coordinator, and
      then know nothing of each other.
  """
  config = config_flags.DEFINE_config_file(
    'config',
    None,
    'Configuration. A field is changed by --config.<field>=<value>.',
  )
  workdir = flags.DEFINE_string(
    'workdir', None, 'Folder of the run; by default runs/<config.name>.'
  )
  coordinator_address = flags.DEFINE_string(
    'coordinator_address',
    None,
    'host:port of the first process of a run of several, where'
    " --config.distributed='auto' does not find it.",
  )
  num_processes = flags.DEFINE_integer(
    'num_processes', None, 'How many processes there are.'
  )
  process_id = flags.DEFINE_integer(
    'process_id', None, 'The index of this process, from 0 on.'
  )
  flags.mark_flag_as_required('config')

  def parse(argv: Sequence[str]) -> list[str]:
    with _one_sentence_for_flags():
      arguments = flags.FLAGS(argv)
      _ = config.value.name  # a missing file is only reported here
    if len(arguments) > 1:
      _fail(f'unexpected argument {arguments[1]!r}')
    return arguments

  def start(argv: Sequence[str]) -> None:
    del argv
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger('dualrs_jax').setLevel(logging.INFO)
    folder = workdir.value or pathlib.Path('runs') / config.value.name
    with _one_sentence():
      number, index = num_processes.value, process_id.value
      distributed = config.value.distributed
      alone = not (distributed or coordinator_address.value)
      if independent and alone and number is not None and index is not None:
        place = processes.independent(number, index)
      else:
        place = processes.start(
          distributed,
          coordinator_address=coordinator_address.value,
          num_processes=number,
          process_id=index,
        )
    handler = absl_logging.get_absl_handler().python_handler
    processes.label_log(place, [handler])
    with processes.in_step(processes.here()), _one_sentence():
      main(config.value, pathlib.Path(folder), place)

  app.run(start, flags_parser=parse)


@contextlib.contextmanager
def _one_sentence_for_flags() -> Iterator[None]:
  try:
    yield
  except flags.Error as error:
    # A mistake within a configuration comes with its whole traceback.
    last_line = str(error).strip().splitlines()[-1]
    _fail(last_line.removeprefix('ValueError: '))
  except (AttributeError, KeyError) as error:
    _fail('unknown field of the configuration: ' + _innermost_text(error))
  except OSError as error:
    _fail(str(error).splitlines()[-1].strip())


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
  try:
    yield
  except KeyboardInterrupt:
    print('\ninterrupted; the same command goes on from here', file=sys.stderr)
    sys.exit(130)
  except preemption.Preempted as error:
    print(f'{error}; the same command goes on from here', file=sys.stderr)
    sys.exit(preemption.EXIT_STATUS)
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


def _innermost_text(error: BaseException) -> str:
  """The text within nested exceptions, on one line."""
  text = error
  while isinstance(text, BaseException) and text.args:
    text = text.args[0]
  return ' '.join(str(text).split()).strip('"')
