"""All examples of a prepared split, in the order of its files."""

import dataclasses
import hashlib
import io
import json
import pathlib
from typing import NamedTuple

import numpy as np
import tqdm
from jaxtyping import Int, UInt8, UInt64
from PIL import Image

from dualrs_jax import folders
from dualrs_jax.data import kept
from dualrs_jax.data.encoded_images import checksum
from dualrs_jax.data.prepared import Prepared
from dualrs_jax.data.views import Sizes, View


class Index(NamedTuple):
  """One entry per example.

  Attributes:
    files: number of the file it is in.
    places: where in the file, as `Prepared.read` takes it.
    labels: its class.
    checksums: see `encoded_images.checksum`.
    heights: of its image.
    widths: of its image.
  """

  files: Int[np.ndarray, ' images']
  places: Int[np.ndarray, ' images']
  labels: Int[np.ndarray, ' images']
  checksums: UInt64[np.ndarray, ' images']
  heights: Int[np.ndarray, ' images']
  widths: Int[np.ndarray, ' images']

  @property
  def sizes(self) -> Sizes:
    """Of the images."""
    return Sizes(self.heights, self.widths)


def load(files: Prepared) -> Index:
  """The index of a split, from the cache if its files are still the same.

  Raises:
    ValueError: a file is damaged.
  """
  path = _place(files)
  saved = None if path is None else kept.read(path, Index._fields)
  if saved is not None:
    return Index(**saved)
  index = _build(files)
  if path is not None:
    kept.write(path, index._asdict())
  return index


def decode_all(
  files: Prepared, view: View
) -> tuple[
  UInt8[np.ndarray, 'images height width channels'], Int[np.ndarray, ' images']
]:
  """All images and labels of a split, in one pass."""
  count = sum(files.lengths)
  images = np.empty((count, *view.shape), np.uint8)
  labels = np.empty(count, np.int32)
  bar = tqdm.tqdm(desc=f'reading {files.name}', total=count, delay=2)
  with bar:
    number = 0
    for file, path in enumerate(files.paths):
      for record, (_, example) in enumerate(files.scan(file)):
        where = f'record {record} of {path}'
        image = view.decode(example[files.image], where)
        if view.resize == 0 and image.size != (view.width, view.height):
          raise ValueError(
            f'{where} holds an image of {image.height} x {image.width} pixels,'
            f' not {view.height} x {view.width}: prepare the data set again'
          )
        images[number] = view.central(image)
        labels[number] = example[files.label]
        number += 1
        bar.update()
  return images, labels


@dataclasses.dataclass(frozen=True)
class Records:
  """The `EncodedFiles` of a prepared split.

  Attributes:
    prepared: its files.
    files: the file of each example.
    places: its place there.
  """

  prepared: Prepared
  files: Int[np.ndarray, ' images']
  places: Int[np.ndarray, ' images']

  def read(self, entry: int) -> bytes:
    """The encoded image of an example."""
    example = self.prepared.read(
      int(self.files[entry]), int(self.places[entry])
    )
    return example[self.prepared.image]

  def where(self, entry: int) -> str:
    """Its file, and its place."""
    path = self.prepared.paths[self.files[entry]]
    return f'the record at place {self.places[entry]} of {path}'


def _build(files: Prepared) -> Index:
  rows = []
  total = sum(files.lengths)
  with tqdm.tqdm(
    desc=f'indexing {files.name}, once', total=total, delay=2
  ) as bar:
    for file, path in enumerate(files.paths):
      for record, (place, example) in enumerate(files.scan(file)):
        encoded = example[files.image]
        width, height = _size(encoded, f'record {record} of {path}')
        label = int(example[files.label])
        rows.append((file, place, label, checksum(encoded), height, width))
        bar.update()
  columns = zip(*rows, strict=True)
  kinds = (np.int32, np.int64, np.int32, np.uint64, np.int32, np.int32)
  return Index(
    *(np.array(c, kind) for c, kind in zip(columns, kinds, strict=True))
  )


def _size(encoded: bytes, where: str) -> tuple[int, int]:
  """Width and height of an image, which is not decoded for it."""
  try:
    return Image.open(io.BytesIO(encoded)).size
  except Exception as error:  # each decoder of Pillow has kinds of its own
    reason = str(error).partition('\n')[0]
    raise ValueError(f'{where} is no image, or damaged ({reason})') from error


def _place(files: Prepared) -> pathlib.Path | None:
  """Where the index of these very files is kept; None if there is no place."""
  folder = folders.cache()
  if folder is None:
    return None
  about = [
    (str(path), path.stat().st_size, path.stat().st_mtime_ns)
    for path in files.paths
  ]
  known = json.dumps([about, files.image, files.label])
  digest = hashlib.sha256(known.encode()).hexdigest()[:16]
  return folder / f'{files.name}-{digest}.npz'
