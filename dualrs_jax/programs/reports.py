"""The pages that the programs write: one beside each certification."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

from dualrs_jax.evaluation import run_inputs, run_settings
from dualrs_jax.report import writing
from dualrs_jax.runtime import processes
from dualrs_jax.runtime.processes import Place


def write(config: Any, workdir: pathlib.Path) -> str:
  """Writes the pages of what `config.certify` asked for; says where."""
  return writing.told(
    workdir,
    [run_settings.label(config, run) for run in run_settings.runs(config)],
    radii=config.certify.radii,
    source=run_inputs.load_source(config),
  )


def while_running(
  config: Any, workdir: pathlib.Path, place: Place
) -> Callable[[pathlib.Path], None]:
  """What writes the page of a certification under way, in the first process."""
  if not (place.first and processes.here().first):
    return lambda _: None
  return writing.while_running(
    workdir,
    radii=config.certify.radii,
    load=functools.partial(run_inputs.load_source, config),
  )
