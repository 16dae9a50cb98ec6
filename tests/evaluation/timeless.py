"""Rows as certify.py leaves them, without the times that they took."""

import pathlib


def rows(path: pathlib.Path) -> list[list[str]]:
  """The fields of a file of rows, by dataset index, but for the times."""
  header, *lines = [line.split('\t') for line in path.read_text().splitlines()]
  timed = header.index('time')
  kept = [line[:timed] + line[timed + 1 :] for line in lines]
  return sorted(kept, key=lambda line: int(line[0]))


def runs(workdir: pathlib.Path) -> dict[str, list[list[str]]]:
  """The rows of each certification in a working directory."""
  paths = workdir.glob('certify/*/rows.tsv')
  return {path.parent.name: rows(path) for path in paths}
