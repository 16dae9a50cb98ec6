r"""What a configuration costs: passes, operations, hours, bytes.

  python -m dualrs_jax.cost --config configs/imagenet.py:denoised \
      --throughput benchmarks/results/throughput-NAME.json --devices 1 8 64
  python -m dualrs_jax.cost --config configs/imagenet.py:denoised \
      --flops 100e12 --set targets.count=50000 targets.votes=32

Hours are those of the JSON of benchmarks/throughput.py, each network at the
rate of the path in which it was measured, or of a rate that is assumed; without
either there are none. They are of the devices alone: what keeps them waiting is
in docs/running.md. Nothing is read but the configuration: data sets have their
published sizes, and so has a converted network whose folder is missing.
"""

import argparse
import ast
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dualrs_jax import folders, shipped
from dualrs_jax.cost import plan, rates, report
from dualrs_jax.runtime import environment, output


def main(arguments: Sequence[str] | None = None) -> int:
  """Prints what the command line asks for; returns the exit status."""
  output.open_closed()
  options = _parser().parse_args(arguments)
  try:
    environment.check_devices()
    settings = _load(options.config)
    _change(settings, dict(options.set))
    if options.throughput:
      device = rates.read(options.throughput)
    elif options.flops:
      device = rates.assume(options.flops)
    else:
      device = None
    output.say(
      report.report(
        plan.make(settings),
        device,
        devices=options.devices,
        per_host=options.per_host,
      )
    )
  except (ValueError, OSError, environment.NoDevice) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m dualrs_jax.cost',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--config', required=True, metavar='FILE[:ARGUMENT]')
  speed = parser.add_mutually_exclusive_group()
  speed.add_argument(
    '--throughput', metavar='JSON', help='of benchmarks/throughput.py'
  )
  speed.add_argument(
    '--flops', type=_positive(float), help='operations per second, assumed'
  )
  add(
    '--devices',
    nargs='+',
    type=_positive(int),
    default=[1],
    metavar='D',
    help='how many; one column for each',
  )
  add(
    '--per-host', type=_positive(int), default=8, help='devices of a host (8)'
  )
  add(
    '--set',
    nargs='+',
    default=[],
    type=_field,
    metavar='FIELD=VALUE',
    help='changes the configuration, such as targets.count=50000',
  )
  return parser


def _positive(kind: type) -> Any:
  def parse(text: str) -> Any:
    value = kind(text)
    if not value > 0:
      raise argparse.ArgumentTypeError(f'{text} is not positive')
    return value

  return parse


def _field(text: str) -> tuple[str, Any]:
  name, equals, value = text.partition('=')
  if not equals:
    raise argparse.ArgumentTypeError(f'{text!r} is not FIELD=VALUE')
  try:
    return name, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return name, value


def _load(place: str) -> Any:
  """The configuration of a file, and of an argument after a colon."""
  path, _, argument = shipped.find(place).partition(':')
  file = folders.expand(path)
  if not file.is_file():
    raise FileNotFoundError(f'there is no configuration {path}')
  spec = importlib.util.spec_from_file_location('configuration', file)
  if spec is None or spec.loader is None:
    raise ValueError(f'{path} is no Python file')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(argument)


def _change(settings: Any, values: Mapping[str, Any]) -> None:
  for name, value in values.items():
    *groups, field = name.split('.')
    place = settings
    try:
      for group in groups:
        place = place[group]
      place[field] = value
    except (AttributeError, KeyError, TypeError) as error:
      text = ' '.join(str(error.args[0]).split())
      text = re.sub(' Other fields present: .*?(?= Did you mean|$)', '', text)
      raise ValueError(f'--set {name}={value}: {text}') from error


if __name__ == '__main__':
  sys.exit(main())
