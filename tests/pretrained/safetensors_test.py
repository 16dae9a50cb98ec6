"""Safetensors: what was written is read, and damage is told."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax.pretrained.matching import ImportFailure
from dualrs_jax.pretrained.safetensors import read_safetensors
from tests import parity_classifiers as parity

REAL = parity.DATA / 'hf_vit_a' / 'hf' / 'model.safetensors'


def written(path, header, data):
  text = json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, 'little') + text + data)
  return path


def test_a_real_file_is_read():
  arrays = read_safetensors(REAL)
  assert len(arrays) == 56
  assert arrays['vit.embeddings.position_embeddings'].shape == (1, 17, 64)
  assert all(array.dtype == np.float32 for array in arrays.values())


def test_types_and_positions_are_those_of_the_header(tmp_path):
  halves = np.array([1.5, -2.0], jnp.bfloat16)
  whole = np.arange(6, dtype='<i8').reshape(3, 2)
  header = {
    '__metadata__': {'format': 'pt'},
    'whole': {'dtype': 'I64', 'shape': [3, 2], 'data_offsets': [4, 52]},
    'halves': {'dtype': 'BF16', 'shape': [2], 'data_offsets': [0, 4]},
    'one': {'dtype': 'F16', 'shape': [], 'data_offsets': [52, 54]},
  }
  data = halves.tobytes() + whole.tobytes() + np.float16(0.25).tobytes()
  arrays = read_safetensors(written(tmp_path / 'x', header, data))
  assert list(arrays) == ['whole', 'halves', 'one']
  np.testing.assert_array_equal(arrays['whole'], whole)
  np.testing.assert_array_equal(arrays['halves'], halves)
  assert arrays['one'] == 0.25
  assert arrays['one'].shape == ()


def test_floating_types_become_float32_and_others_stay(tmp_path):
  types = {
    'F64': np.float64,
    'F32': np.float32,
    'F16': np.float16,
    'BF16': jnp.bfloat16,
    'F8_E4M3': jnp.float8_e4m3fn,
    'F8_E5M2': jnp.float8_e5m2,
    'I64': np.int64,
    'I32': np.int32,
    'I16': np.int16,
    'I8': np.int8,
    'U64': np.uint64,
    'U32': np.uint32,
    'U16': np.uint16,
    'U8': np.uint8,
    'BOOL': np.bool_,
  }
  header, data = {}, b''
  for name, dtype in types.items():
    content = np.array([0, 1, 1.75], dtype).tobytes()
    ends = [len(data), len(data) + len(content)]
    header[name] = {'dtype': name, 'shape': [3], 'data_offsets': ends}
    data += content
  arrays = read_safetensors(written(tmp_path / 'x', header, data))
  for name, dtype in types.items():
    np.testing.assert_array_equal(
      arrays[name].astype(np.float64),
      np.array([0, 1, 1.75], dtype).astype(np.float64),
    )
    narrow = name in ('F16', 'BF16', 'F8_E4M3', 'F8_E5M2')
    assert arrays[name].dtype == (np.float32 if narrow else dtype)


@pytest.mark.parametrize('dtype', ['F8_E8M0', 'F4', 'F6_E2M3', 'C64', 'F3'])
def test_a_type_that_is_not_read_is_named(tmp_path, dtype):
  entry = {'dtype': dtype, 'shape': [8], 'data_offsets': [0, 8]}
  path = written(tmp_path / 'x', {'a.weight': entry}, bytes(8))
  message = f'^{path} has a.weight as {dtype}, not one of F64, .*: save it as'
  with pytest.raises(ImportFailure, match=message):
    read_safetensors(path)


@pytest.mark.parametrize('kept', [9, 100, 5000, 100_000, -1])
def test_a_file_cut_short_is_told(tmp_path, kept):
  path = tmp_path / 'model.safetensors'
  path.write_bytes(REAL.read_bytes()[:kept])
  with pytest.raises(ImportFailure, match='is cut short or damaged'):
    read_safetensors(path)


@pytest.mark.parametrize(
  ('dtype', 'shape', 'offsets'),
  [
    ('F32', [2], [0, 4]),
    ('F32', [1], [0, 400]),
    ('F32', [1], [400, 404]),
    ('F32', [1], [4, 0]),
    ('F32', [2**40, 2**40], [0, 0]),  # 0 entries, in 64 bits
  ],
)
def test_a_header_that_lies_is_told(tmp_path, dtype, shape, offsets):
  entry = {'dtype': dtype, 'shape': shape, 'data_offsets': offsets}
  path = written(tmp_path / 'x', {'a': entry}, bytes(8))
  with pytest.raises(ImportFailure, match='is cut short or damaged at a$'):
    read_safetensors(path)


@pytest.mark.parametrize(
  'entry',
  [
    {'dtype': 'F32', 'shape': [-1], 'data_offsets': [4, 0]},
    {'dtype': 'F32', 'shape': [-1, -1], 'data_offsets': [0, 4]},
    {'dtype': 'F32', 'shape': [1.0], 'data_offsets': [0, 4]},
    {'dtype': 'F32', 'shape': 1, 'data_offsets': [0, 4]},
    {'dtype': 'F32', 'shape': [1], 'data_offsets': [-4, 0]},
    {'dtype': 'F32', 'shape': [1], 'data_offsets': ['0', '4']},
    {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4, 8]},
    {'dtype': 'F32', 'data_offsets': [0, 4]},
    {'dtype': ['F32'], 'shape': [1], 'data_offsets': [0, 4]},
    [1],
  ],
)
def test_a_header_that_makes_no_sense_is_told(tmp_path, entry):
  path = written(tmp_path / 'x', {'a': entry}, bytes(8))
  with pytest.raises(ImportFailure, match='is no safetensors file$'):
    read_safetensors(path)


@pytest.mark.parametrize(
  ('length', 'header', 'message'),
  [
    (2**62, b'{}', 'is cut short or damaged in its header'),
    (2, b'{}', 'holds no arrays'),
    (2, b'[]', 'is no safetensors file'),
    (100_000, b'{"a":' + b'[' * 99_995, 'is no safetensors file'),
  ],
)
def test_other_headers_are_told(tmp_path, length, header, message):
  path = tmp_path / 'x'
  path.write_bytes(length.to_bytes(8, 'little') + header)
  with pytest.raises(ImportFailure, match=f'{message}$'):
    read_safetensors(path)


@pytest.mark.parametrize('content', [b'PK\x03\x04 zip', b'\x80\x02 pickle'])
def test_another_format_is_told(tmp_path, content):
  path = tmp_path / 'x.safetensors'
  path.write_bytes(content + bytes(100))
  with pytest.raises(ImportFailure, match='is no safetensors file'):
    read_safetensors(path)
