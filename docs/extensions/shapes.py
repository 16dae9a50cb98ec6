"""Annotations in words: what kind of array, and of which shape."""

import re

_KINDS = {
  'Bool': 'bool',
  'Float': 'float',
  'Float32': 'float32',
  'Float64': 'float64',
  'Int': 'integer',
  'Int32': 'int32',
  'Int64': 'int64',
  'Key': 'key',
  'Num': 'number',
  'Shaped': '',
  'UInt8': 'uint8',
  'UInt32': 'uint32',
}
_START = re.compile(rf'\b({"|".join(_KINDS)})\[')
_ARRAYS = {
  'Array': 'JAX array',
  'np.ndarray': 'NumPy array',
  'Array | np.ndarray': 'array',
  'np.ndarray | Array': 'array',
}


def words(annotation: str) -> str:
  """An annotation as a reader of shapes would write it.

  Args:
    annotation: Such as "Float[Array, 'batch *image'] | None"; the quotes may
      be missing, and spaces may stand round a star.

  Returns:
    Such as 'float JAX array [batch *image] | None'. What is no array stays.
  """
  start = _START.search(annotation)
  if not start:
    return annotation
  end = _closing(annotation, start.end())
  of, _, shape = annotation[start.end() : end].rpartition(', ')
  shape = re.sub(r'\*\s+', '*', shape.strip('\'" '))
  kind = f'{_KINDS[start[1]]} {_ARRAYS.get(of, of)}'.strip()
  said = f'{kind} [{shape}]' if shape else f'{kind}, a scalar'
  return annotation[: start.start()] + said + words(annotation[end + 1 :])


def _closing(text: str, place: int) -> int:
  """Where the bracket closes that was opened before `place`."""
  depth = 1
  while depth:
    depth += {'[': 1, ']': -1}.get(text[place], 0)
    place += 1
  return place - 1
