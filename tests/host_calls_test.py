"""What a call of a model may return."""

import numpy as np
import pytest

from dualrs_jax import host_calls


@pytest.mark.parametrize('dtype', [bool, np.int8, np.int64, np.float64])
def test_the_largest_logit_stays_where_it_was(dtype):
  """In float32 these are equal, or wrap, or overflow."""
  logits = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1]], dtype)
  if dtype in (np.int64, np.float64):
    logits = logits + dtype(2**52)
  found = host_calls.float32(logits)
  assert found.argmax(axis=1).tolist() == [1, 0, 2]
  huge = np.array([[1e300, 1e299], [1e299, 1e300], [np.nan, 1e300]])
  found = host_calls.float32(huge)
  assert found[:2].argmax(axis=1).tolist() == [0, 1]
  assert np.isnan(found).any(axis=1).tolist() == [False, False, True]
