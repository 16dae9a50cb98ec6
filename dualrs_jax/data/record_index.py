"""Where the images of a data set are on disk, in the order of its publishers.

The order on disk is shuffled. Published results number the images of ImageNet
by class and, within it, by file name: the order of a folder per class. Finding
it takes one pass over all files, which decodes no image; what it finds is kept
in the user's cache (XDG_CACHE_HOME, or ~/.cache), if there is one.
"""

import concurrent.futures
import hashlib
import json
import pathlib
import zlib
from typing import NamedTuple

import numpy as np
import tqdm
from jaxtyping import Int, Shaped, UInt32

from dualrs_jax import folders
from dualrs_jax.data import kept
from dualrs_jax.data.prepared import Prepared

_THREADS = 8


class RecordIndex(NamedTuple):
  """One entry per image, ordered by label and file name.

  Attributes:
    files: number of the file it is in.
    places: where in the file, as `Prepared.read` takes it.
    labels: its class.
    checksums: CRC-32 of its encoded bytes.
    file_names: its published name, as bytes.
  """

  files: Int[np.ndarray, ' images']
  places: Int[np.ndarray, ' images']
  labels: Int[np.ndarray, ' images']
  checksums: UInt32[np.ndarray, ' images']
  file_names: Shaped[np.ndarray, ' images']


def load(prepared: Prepared) -> RecordIndex:
  """The index of a split, from the cache if its files are still the same.

  Raises:
    ValueError: a file is damaged, or two images have one name.
  """
  path = cache_path(prepared)
  saved = None if path is None else kept.read(path, RecordIndex._fields)
  if saved is not None:
    return RecordIndex(**saved)
  index = build(prepared)
  if path is not None:
    kept.write(path, index._asdict())
  return index


def build(prepared: Prepared) -> RecordIndex:
  """Passes over all files of a split once; see `load`."""
  files = range(len(prepared.paths))
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
    found = list(
      tqdm.tqdm(
        threads.map(lambda file: _scan(prepared, file), files),
        desc=f'indexing {prepared.name}, once',
        total=len(files),
        unit='file',
      )
    )
  index = RecordIndex(*map(np.concatenate, zip(*found, strict=True)))
  order = np.lexsort((index.file_names, index.labels))
  index = RecordIndex(*(column[order] for column in index))
  again = (index.file_names[1:] == index.file_names[:-1]) & (
    index.labels[1:] == index.labels[:-1]
  )
  if again.any():
    name = index.file_names[1:][again][0].decode()
    raise ValueError(f'{prepared.name} holds {name} twice: prepare it again')
  return index


def cache_path(prepared: Prepared) -> pathlib.Path | None:
  """Where the index of these very files is kept; None if there is no place."""
  folder = folders.cache()
  if folder is None:
    return None
  files = []
  for path in prepared.paths:
    about = path.stat()
    files.append((path.name, about.st_size, about.st_mtime_ns))
  digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]
  return folder / f'{prepared.name}-{digest}.npz'


def _scan(prepared: Prepared, file: int) -> RecordIndex:
  places, labels, checksums, names = [], [], [], []
  for place, example in prepared.scan(file):
    places.append(place)
    labels.append(example['label'])
    checksums.append(zlib.crc32(example['image']))
    names.append(example['file_name'])
  return RecordIndex(
    files=np.full(len(places), file, np.int32),
    places=np.array(places, np.int64),
    labels=np.array(labels, np.int32),
    checksums=np.array(checksums, np.uint32),
    file_names=np.array(names, np.bytes_),
  )
