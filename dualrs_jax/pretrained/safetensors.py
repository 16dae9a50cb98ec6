"""Reads .safetensors files as NumPy arrays.

The format is data only: the length of a header, the header in JSON, and the
arrays one after the other, little-endian and in C order.

References:
  https://github.com/huggingface/safetensors#format
"""

import json
import math
import os

import jax.numpy as jnp
import numpy as np

from dualrs_jax import folders
from dualrs_jax.pretrained.matching import ImportFailure
from dualrs_jax.pretrained.torch_files import refuse_other_files

_DTYPES = {
  'F64': np.dtype('<f8'),
  'F32': np.dtype('<f4'),
  'F16': np.dtype('<f2'),
  'BF16': np.dtype(jnp.bfloat16),
  'F8_E4M3': np.dtype(jnp.float8_e4m3fn),
  'F8_E5M2': np.dtype(jnp.float8_e5m2),
  'I64': np.dtype('<i8'),
  'I32': np.dtype('<i4'),
  'I16': np.dtype('<i2'),
  'I8': np.dtype('i1'),
  'U64': np.dtype('<u8'),
  'U32': np.dtype('<u4'),
  'U16': np.dtype('<u2'),
  'U8': np.dtype('u1'),
  'BOOL': np.dtype('?'),
}

_NARROW = tuple(_DTYPES[name] for name in ('F16', 'BF16', 'F8_E4M3', 'F8_E5M2'))


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads a file; neither PyTorch nor any other package is needed.

  Args:
    path: the file.

  Returns:
    The arrays by name, in the order of the header. Those of 16 and 8 bits that
    are floating are float32; the others are mapped from the file and read when
    they are used.

  Raises:
    ImportFailure: the file is something else or cut short, or an array is of a
      type that is not read here.
  """
  path = folders.expand(path)
  refuse_other_files(path)
  content = np.memmap(path, np.uint8, 'r')
  start = 8 + int.from_bytes(content[:8].tobytes(), 'little')
  if content[8:9].tobytes() != b'{':
    raise ImportFailure(f'{path} is no safetensors file')
  if start > content.size:
    raise ImportFailure(f'{path} is cut short or damaged in its header')
  try:
    header = json.loads(content[8:start].tobytes())
    header.pop('__metadata__', None)
    layout = {name: _entry(**entry) for name, entry in header.items()}
    unknown = [name for name, entry in layout.items() if not entry[0]]
  except (ValueError, LookupError, TypeError, RecursionError):
    raise ImportFailure(f'{path} is no safetensors file') from None
  if unknown:
    name = unknown[0]
    raise ImportFailure(
      f'{path} has {name} as {header[name]["dtype"]}, not one of'
      f' {", ".join(_DTYPES)}: save it as F32'
    )
  if not layout:
    raise ImportFailure(f'{path} holds no arrays')
  arrays = {}
  for name, (dtype, shape, first, last) in layout.items():
    data = content[start + first : start + last]
    assert dtype  # the others were refused
    if not dtype.itemsize * math.prod(shape) == last - first == data.size:
      raise ImportFailure(f'{path} is cut short or damaged at {name}')
    array = np.asarray(data).view(dtype).reshape(shape)
    arrays[name] = array.astype(np.float32) if dtype in _NARROW else array
  return arrays


def _entry(
  *, dtype: str, shape: list[int], data_offsets: list[int]
) -> tuple[np.dtype | None, list[int], int, int]:
  """Type, shape, and first and last byte of an array, as a header has them.

  The type is None if it is unknown.

  Raises:
    ValueError: they make no sense.
  """
  first, last = data_offsets
  numbers = [*shape, first, last]
  if not isinstance(dtype, str):
    raise ValueError(f'not the name of a type: {dtype}')
  if not all(isinstance(n, int) and n >= 0 for n in numbers):
    raise ValueError(f'not positions and sizes: {numbers}')
  return _DTYPES.get(dtype), shape, first, last
