"""Bicubic resizing against arrays that PyTorch gave."""

import json

import numpy as np
import pytest

from dualrs_jax import resizing
from tests import parity_unets
from tests.parity_unets import nchw, nhwc

CASES = json.loads(
  (parity_unets.DATA / 'resize_bicubic' / 'fixture.json').read_text()
)['cases']


@pytest.mark.parametrize('case', CASES, ids=str)
@pytest.mark.parametrize('antialias', [True, False])
def test_resize_parity(case, antialias):
  io = parity_unets.arrays('resize_bicubic', 'io')
  result = resizing.resize_bicubic(
    nhwc(io[f'{case["case"]}_in']),
    tuple(case['out_size']),
    antialias=antialias,
  )
  expected = io[f'{case["case"]}_out_antialias_{str(antialias).lower()}']
  np.testing.assert_allclose(nchw(result), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize('antialias', [True, False])
def test_a_constant_image_stays_constant(antialias):
  image = np.full((1, 5, 7, 2), 0.3, np.float32)
  result = resizing.resize_bicubic(
    nhwc(nchw(image)), (11, 3), antialias=antialias
  )
  np.testing.assert_allclose(result, np.full((1, 11, 3, 2), 0.3), rtol=1e-6)
