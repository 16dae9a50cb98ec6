"""Records of one file, by their place in it, in the two forms on disk.

tensorflow-datasets writes TFRECORD files unless it is asked for array_record.
Neither needs TensorFlow to be read.

A TFRECORD file is a sequence of: the length of the data as a little-endian
64-bit integer, its checksum of 4 bytes, the data, its checksum of 4 bytes. The
checksums are not compared: in Python that takes longer than decoding an image.
"""

import contextlib
import pathlib
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_LENGTH = struct.Struct('<Q')
_HEADER, _FOOTER = 12, 4
_RECORDS_AT_ONCE = 64
_DAMAGED = '{} is damaged or incomplete: copy or prepare it again'


class Form(NamedTuple):
  """How files of one form are read.

  Attributes:
    scan: yields each record of a file with its place, in the order on disk.
    read: returns the record at a place. Nothing stays open: a data set has
      more files than a process may open.
  """

  scan: Callable[[pathlib.Path], Iterator[tuple[int, bytes]]]
  read: Callable[[pathlib.Path, int], bytes]


def _scan_tfrecord(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
  size = path.stat().st_size
  with path.open('rb') as file:
    place = 0
    while place < size:
      data = _next_tfrecord(file, path)
      yield place, data
      place += _HEADER + len(data) + _FOOTER


def _read_tfrecord(path: pathlib.Path, place: int) -> bytes:
  with path.open('rb', buffering=0) as file:
    file.seek(place)
    return _next_tfrecord(file, path)


def _next_tfrecord(file: Any, path: pathlib.Path) -> bytes:
  header = file.read(_HEADER)
  if len(header) == _HEADER:
    length = _LENGTH.unpack_from(header)[0]
    if length <= path.stat().st_size:  # or memory would be asked for noise
      data = file.read(length + _FOOTER)
      if len(data) == length + _FOOTER:
        return data[:-_FOOTER]
  raise ValueError(_DAMAGED.format(path))


def _scan_array_record(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
  with _array_record(path) as reader:
    count = reader.num_records()
    for start in range(0, count, _RECORDS_AT_ONCE):
      records = reader.read(start, min(start + _RECORDS_AT_ONCE, count))
      yield from enumerate(records, start)


def _read_array_record(path: pathlib.Path, place: int) -> bytes:
  with _array_record(path) as reader:
    return reader.read([place])[0]


@contextlib.contextmanager
def _array_record(path: pathlib.Path) -> Iterator[Any]:
  from array_record.python import array_record_module  # pyright: ignore

  try:
    reader = array_record_module.ArrayRecordReader(
      str(path),
      options='readahead_buffer_size:0',
      file_reader_buffer_size=2**15,
    )
    try:
      yield reader
    finally:
      reader.close()
  except (RuntimeError, IndexError) as error:
    raise ValueError(_DAMAGED.format(path)) from error


#: By the names that tensorflow-datasets has for them.
FORMS = {
  'tfrecord': Form(_scan_tfrecord, _read_tfrecord),
  'array_record': Form(_scan_array_record, _read_array_record),
}
