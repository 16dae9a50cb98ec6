"""Runs of several processes that do what `member.py` says."""

import json
import pathlib
from typing import Any, NamedTuple

from tests import programs

MEMBER = pathlib.Path(__file__).with_name('member.py')


class Member(NamedTuple):
  """A process that has ended."""

  status: int
  seen: Any
  log: str


def launch(what, folder, *, count=2, timeout=90):
  """Runs `member.py` in processes of their own, until all of them ended."""
  address = programs.free_address()
  started = [
    programs.Program(MEMBER, what, folder, address, count, index)
    for index in range(count)
  ]
  ended = programs.end_all(started, timeout)
  return [
    Member(program.status, _seen(folder, index), program.printed + program.log)
    for index, program in enumerate(ended)
  ]


def _seen(folder, index):
  path = folder / f'{index}.json'
  return json.loads(path.read_text()) if path.exists() else None
