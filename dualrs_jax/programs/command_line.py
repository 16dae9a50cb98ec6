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

from dualrs_jax import checkpoints, data, folders, shipped
from dualrs_jax.runtime import (
  environment,
  locks,
  output,
  preemption,
  processes,
)

_OURS = (
  checkpoints.CheckpointError,
  locks.InUse,
  data.WorkerDied,
  environment.NoDevice,
  FloatingPointError,
  OSError,
)
_PACKAGE = pathlib.Path(checkpoints.__file__).parents[1]


def run(
  main: Callable[[Any, pathlib.Path, processes.Place], None],
  find_place: Callable[[Any, pathlib.Path], Callable[..., processes.Place]],
  *,
  doc: str | None,
  own: Sequence[str],
) -> None:
  """Parses the flags and calls `main(config, workdir, place)`; never returns.

  Args:
    main: What the program does, in the place that it has among several.
    find_place: How a process finds its place, by configuration and working
      directory: `cluster.start`, where processes compute together, or
      `cluster.locate`, where each works by itself.
    doc: What `--help` says of it.
    own: The flags that it has for itself.
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
  sys.modules['__main__'].__doc__ = doc
  holders = (workdir, coordinator_address, num_processes, process_id)
  for name in ['config', *(holder.name for holder in holders), *own]:
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])

  def parse(argv: Sequence[str]) -> list[str]:
    with _one_sentence_for_flags():
      arguments = flags.FLAGS(list(_with_file(argv)))
      if len(arguments) > 1:
        _fail(f'unexpected argument {arguments[1]!r}')
      if not flags.FLAGS['config'].present:
        _fail(
          'which configuration? Such as --config digits, or a file of yours'
        )
      _ = config.value.name  # a missing file is only reported here
    return arguments

  def start(argv: Sequence[str]) -> None:
    del argv
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger('dualrs_jax').setLevel(logging.INFO)
    with _one_sentence():
      folder = folders.expand(workdir.value or f'runs/{config.value.name}')
    if folder.exists() and not folder.is_dir():
      _fail(f'the working directory {folder} is a file')
    index, count, given = (
      process_id.value,
      num_processes.value,
      processes.Place(),
    )
    if index is not None and count is not None:
      given = processes.Place(index, count)
    with _one_sentence(given.label):
      place = find_place(config.value, folder)(
        config.value.distributed,
        coordinator_address=coordinator_address.value,
        num_processes=num_processes.value,
        process_id=process_id.value,
      )
    handler = absl_logging.get_absl_handler().python_handler
    processes.label_log(place, [handler])
    joined = processes.here()
    with (
      # So that no signal is lost between two parts of the program. In a run it
      # is JAX that catches them.
      preemption.watch(together=False)
      if joined.count == 1
      else contextlib.nullcontext(),
      processes.in_step(joined),
      _one_sentence(place.label),
    ):
      environment.check_devices()
      main(config.value, folder, place)

  output.open_closed()
  app.run(start, flags_parser=parse)


def _with_file(argv: Sequence[str]) -> Iterator[str]:
  """The arguments with the file of the configuration in the place of its name.

  It is read while they are parsed.
  """
  before = ''
  for argument in argv:
    name, equals, value = argument.partition('=')
    if before.lstrip('-') == 'config':
      yield _file_of(argument)
    elif equals and name.lstrip('-') == 'config':
      yield f'{name}={_file_of(value)}'
    else:
      yield argument
    before = argument


def _file_of(configuration: str) -> str:
  if configuration.startswith('~'):
    return str(folders.expand(configuration))
  return shipped.find(configuration)


@contextlib.contextmanager
def _one_sentence_for_flags() -> Iterator[None]:
  try:
    yield
  except flags.Error as error:
    # A mistake within a configuration comes with its whole traceback.
    last_line = str(error).strip().splitlines()[-1]
    _fail(last_line.removeprefix('ValueError: '))
  except (AttributeError, KeyError) as error:
    _fail(f'unknown field of the configuration: {_innermost_text(error)}')
  except SyntaxError as error:
    where = f'{error.filename}, line {error.lineno}'
    _fail(f'the configuration is no Python: {where}: {error.msg}')
  except OSError as error:
    text = str(error).splitlines()[-1].rpartition('] ')[2]
    known = ', '.join(shipped.names())
    _fail(
      f'the configuration cannot be read: {text}; those that come with the'
      f' package are {known}'
    )


@contextlib.contextmanager
def _one_sentence(label: str = '') -> Iterator[None]:
  """Ends the program as its errors deserve; each sentence has the label."""
  again = 'the same command goes on from here'
  try:
    yield
  except KeyboardInterrupt:
    print(f'\n{label}interrupted; {again}', file=sys.stderr)
    sys.exit(130)
  except preemption.Preempted as error:
    print(f'{label}{error}; {again}', file=sys.stderr)
    sys.exit(preemption.EXIT_STATUS)
  except _OURS as error:
    _fail(_of_the_system(error), label)
  except ValueError as error:
    # Ours say what is wrong; those of other libraries need their traceback.
    raised_in = pathlib.Path(traceback.extract_tb(error.__traceback__)[-1][0])
    if _PACKAGE not in raised_in.parents:
      raise
    _fail(str(error), label)


def _fail(sentence: str, label: str = '') -> NoReturn:
  print(f'{label}error: {sentence}', file=sys.stderr)
  sys.exit(2)


def _of_the_system(error: BaseException) -> str:
  """An error as text: one of the system by its file and what is the matter."""
  if isinstance(error, OSError) and error.filename and error.strerror:
    return f'{error.filename}: {error.strerror}'
  return str(error)


def _innermost_text(error: BaseException) -> str:
  """The text within nested exceptions, on one line."""
  text = error
  while isinstance(text, BaseException) and text.args:
    text = text.args[0]
  return ' '.join(str(text).split()).strip('"')
