"""What a folder of images holds: splits, classes, files. It opens none."""

import collections
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from dualrs_jax.data import splits

#: How the names of image files end.
SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp')

#: Names of folders of splits.
SPLITS = {
  'train': 'train',
  'validation': 'validation',
  'val': 'validation',
  'valid': 'validation',
  'test': 'test',
}


class File(NamedTuple):
  """One image.

  Attributes:
    name: its path in the folder, with '/'.
    split: which split its folder is; None in a folder without splits.
    label: the place of its class among `Listing.classes`.
    size: bytes.
    changed: when it was last written, in nanoseconds.
  """

  name: str
  split: str | None
  label: int
  size: int
  changed: int


class Listing(NamedTuple):
  """All images of a folder, by name.

  Attributes:
    root: the folder.
    classes: names of the folders of classes, sorted.
    files: the images, sorted by name.
  """

  root: pathlib.Path
  classes: tuple[str, ...]
  files: tuple[File, ...]

  @property
  def splits(self) -> frozenset[str]:
    """The splits that have folders; none in a folder without splits."""
    return frozenset(file.split for file in self.files if file.split)


def read(root: pathlib.Path) -> Listing:
  """Lists `root/<split>/<class>/...` or `root/<class>/...`.

  Files below a class count as its own, however deep. What is hidden, and what
  is no image by the end of its name, is left out; the latter is told.

  Raises:
    DatasetNotFound: there is no such folder.
    ValueError: it is not laid out in one of these ways; in one sentence.
  """
  if not root.is_dir():
    raise splits.DatasetNotFound(
      f'there is no folder {root}: data.data_dir names the one that has a'
      ' folder of images for each class'
    )
  folders = _of_splits(root)
  if folders:
    parts = [(split, f'{path.name}/', path) for split, path in folders.items()]
  else:
    parts = [(None, '', root)]
  for _, _, path in parts:
    _refuse_loose_images(path)
  classes = sorted(
    {child.name for _, _, path in parts for child in _subfolders(path)}
  )
  if len(classes) < 2:
    raise ValueError(
      f'{root} has no folders of two classes or more, but'
      f' {classes[0] + " alone" if classes else "none"}: images are expected in'
      ' <class>/ or <split>/<class>/'
    )
  found, others = [], collections.Counter()
  for label, name in enumerate(classes):
    there = len(found)
    for split, before, path in parts:
      for inner, about in _walk(path / name, others):
        full = f'{before}{name}/{inner}'
        size, changed = about.st_size, about.st_mtime_ns
        found.append(File(full, split, label, size, changed))
    if len(found) == there:
      raise ValueError(
        f'the class {name!r} in {root} has no images, which end in'
        f' {", ".join(SUFFIXES)}: move its folder away, or add some'
      )
  if others:
    kinds = ', '.join(f'{kind or "none"} ({n})' for kind, n in others.items())
    splits.tell_once(
      f'{root} has files that are not read, by the end of their names: {kinds}'
    )
  return Listing(root, tuple(classes), tuple(sorted(found)))


def _of_splits(root: pathlib.Path) -> dict[str, pathlib.Path]:
  """The folders of splits; none where folders of these names are classes."""
  found, others = {}, []
  for child in _subfolders(root):
    split = SPLITS.get(child.name.lower())
    if split is None or not _subfolders(child):
      others.append(child.name)
    elif split in found:
      raise ValueError(
        f'{root} has two folders of one split, {found[split].name} and'
        f' {child.name}: move one of them away'
      )
    else:
      found[split] = child
  if found and others:
    raise ValueError(
      f'{root} has folders of splits ({", ".join(sorted(found))}) beside others'
      f' ({", ".join(sorted(others)[:3])}): move those away, or all of'
      ' them into folders of splits'
    )
  return found


def _subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
  return [
    path
    for path in folder.iterdir()
    if path.is_dir() and not path.name.startswith('.')
  ]


def _refuse_loose_images(folder: pathlib.Path) -> None:
  loose = [p.name for p in folder.iterdir() if _is_image(p.name)]
  if loose:
    raise ValueError(
      f'{folder} has images without a class ({loose[0]} and'
      f' {len(loose) - 1} more): put each into the folder of its class'
    )


def _walk(
  folder: pathlib.Path, others: collections.Counter
) -> Iterator[tuple[str, os.stat_result]]:
  """Names within the folder of a class, and what the system says of them."""
  seen = set()  # folders may link to one that they are in
  for path, folders, names in os.walk(folder, followlinks=True):
    about = os.stat(path)
    if (about.st_dev, about.st_ino) in seen:
      folders.clear()
      continue
    seen.add((about.st_dev, about.st_ino))
    folders[:] = [name for name in folders if not name.startswith('.')]
    inner = pathlib.Path(path).relative_to(folder)
    for name in names:
      if name.startswith('.'):
        continue
      if not _is_image(name):
        others[pathlib.PurePath(name).suffix.lower()] += 1
        continue
      try:
        yield (inner / name).as_posix(), os.stat(os.path.join(path, name))
      except OSError as error:  # a link to nothing
        raise ValueError(
          f'{os.path.join(path, name)} cannot be read ({error.strerror}): mend'
          ' or remove it'
        ) from error


def _is_image(name: str) -> bool:
  return not name.startswith('.') and name.lower().endswith(SUFFIXES)
