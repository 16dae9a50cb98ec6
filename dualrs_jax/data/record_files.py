"""Records of one file, by their place in it, in the two forms on disk.

tensorflow-datasets writes TFRECORD files unless it is asked for array_record.
Neither needs TensorFlow to be read.

A TFRECORD file is a sequence of: the length of the data as a little-endian
64-bit integer, its checksum of 4 bytes, the data, its checksum of 4 bytes. They
are compared when a file is scanned. array_record compares its own, always.
"""

import contextlib
import itertools
import pathlib
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dualrs_jax.data.crc32c import masked_crc32c

_LENGTH = struct.Struct('<Q')
_CHECKSUM = struct.Struct('<I')
_RECORDS_AT_ONCE = 64
_FAULTS = (RuntimeError, IndexError)  # of array_record


class Form(NamedTuple):
  """How files of one form are read.

  Attributes:
    scan: yields each record of a file with its place, in the order on disk,
      after its checksum was compared.
    read: returns the record at a place. Nothing stays open: a data set has
      more files than a process may open. That a TFRECORD is what it was when it
      was scanned is for the caller to compare.

  Both raise ValueError, with the file and the record, where one is damaged.
  """

  scan: Callable[[pathlib.Path], Iterator[tuple[int, bytes]]]
  read: Callable[[pathlib.Path, int], bytes]


def _scan_tfrecord(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
  size = path.stat().st_size
  with path.open('rb') as file:
    place = 0
    for number in itertools.count():
      if place >= size:
        return
      record = f'record {number}'
      header, data, footer = _next_tfrecord(file, path, record)
      for checked, stored in ((header[: _LENGTH.size], header), (data, footer)):
        if _CHECKSUM.pack(masked_crc32c(checked)) != stored[-_CHECKSUM.size :]:
          raise _damaged(path, record, 'does not have its stored checksum')
      yield place, data
      place += len(header) + len(data) + len(footer)


def _read_tfrecord(path: pathlib.Path, place: int) -> bytes:
  with path.open('rb', buffering=0) as file:
    file.seek(place)
    return _next_tfrecord(file, path, f'the record at byte {place}')[1]


def _next_tfrecord(
  file: Any, path: pathlib.Path, record: str
) -> tuple[bytes, bytes, bytes]:
  """What is before a record, the record, and what is behind it."""
  header = file.read(_LENGTH.size + _CHECKSUM.size)
  if len(header) == _LENGTH.size + _CHECKSUM.size:
    length = _LENGTH.unpack_from(header)[0]
    if length <= path.stat().st_size:  # or memory would be asked for noise
      data = file.read(length + _CHECKSUM.size)
      if len(data) == length + _CHECKSUM.size:
        return header, data[:length], data[length:]
  raise _damaged(path, record, 'goes beyond the end of the file')


def _scan_array_record(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
  with _array_record(path) as reader:
    count = reader.num_records()
    for start in range(0, count, _RECORDS_AT_ONCE):
      numbers = range(start, min(start + _RECORDS_AT_ONCE, count))
      try:
        records = reader.read(numbers.start, numbers.stop)
      except _FAULTS:  # one after the other, to say which it is
        records = (_read_array_record(path, number) for number in numbers)
      yield from zip(numbers, records, strict=True)


def _read_array_record(path: pathlib.Path, place: int) -> bytes:
  with _array_record(path) as reader:
    try:
      return reader.read([place])[0]
    except _FAULTS as error:
      raise _damaged(path, f'record {place}', 'cannot be read') from error


@contextlib.contextmanager
def _array_record(path: pathlib.Path) -> Iterator[Any]:
  from array_record.python import array_record_module  # pyright: ignore

  try:
    reader = array_record_module.ArrayRecordReader(
      str(path),
      options='readahead_buffer_size:0',
      file_reader_buffer_size=2**15,
    )
    with contextlib.closing(reader):  # this, too, tells of a damaged index
      yield reader
  except _FAULTS as error:
    raise _damaged(path, 'its index', 'cannot be read') from error


def _damaged(path: pathlib.Path, part: str, fault: str) -> ValueError:
  return ValueError(
    f'{path} is damaged: {part} {fault}; copy or prepare it again'
  )


#: By the names that tensorflow-datasets has for them.
FORMS = {
  'tfrecord': Form(_scan_tfrecord, _read_tfrecord),
  'array_record': Form(_scan_array_record, _read_array_record),
}
