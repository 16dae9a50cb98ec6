"""Reads .safetensors files as NumPy arrays.

The format is data only: the length of a header, the header in JSON, and the
arrays one after the other, little-endian and in C order.

References:
  https://github.com/huggingface/safetensors#format
"""

import json
import os
import pathlib

import jax.numpy as jnp
import numpy as np

from dualrs_jax.pretrained.matching import ImportFailure
from dualrs_jax.pretrained.torch_files import refuse_other_files

_DTYPES = {
  'F64': np.dtype('<f8'),
  'F32': np.dtype('<f4'),
  'F16': np.dtype('<f2'),
  'BF16': np.dtype(jnp.bfloat16),
  'I64': np.dtype('<i8'),
  'I32': np.dtype('<i4'),
  'I16': np.dtype('<i2'),
  'I8': np.dtype('i1'),
  'U8': np.dtype('u1'),
  'BOOL': np.dtype('?'),
}


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads a file; neither PyTorch nor any other package is needed.

  Args:
    path: the file.

  Returns:
    The arrays by name, in the order of the header, mapped from the file and
    read when they are used.

  Raises:
    ImportFailure: the file is something else or cut short.
  """
  path = pathlib.Path(path)
  refuse_other_files(path)
  content = np.memmap(path, np.uint8, 'r')
  try:
    start = 8 + int.from_bytes(content[:8].tobytes(), 'little')
    header = json.loads(content[8:start].tobytes())
    header.pop('__metadata__', None)
    layout = {
      name: (_DTYPES[entry['dtype']], entry['shape'], *entry['data_offsets'])
      for name, entry in header.items()
    }
  except (ValueError, LookupError, TypeError, AttributeError):
    raise ImportFailure(f'{path} is no safetensors file') from None
  arrays = {}
  for name, (dtype, shape, first, last) in layout.items():
    data = content[start + first : start + last]
    size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if first < 0 or not size == last - first == data.size:
      raise ImportFailure(f'{path} is cut short or damaged at {name}')
    arrays[name] = np.asarray(data).view(dtype).reshape(shape)
  return arrays
