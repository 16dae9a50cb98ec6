"""CRC-32C: of published messages, of any length, of any single bit."""

import numpy as np
import pytest
from tensorboardX import crc32c as peer

from dualrs_jax.data import crc32c


@pytest.mark.parametrize(
  ('message', 'expected'),
  [  # RFC 3720, B.4
    (bytes(32), 0x8A9136AA),
    (b'\xff' * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (b'', 0),
  ],
)
def test_published_messages(message, expected):
  assert crc32c.crc32c(message) == expected


@pytest.mark.parametrize(
  'length', [1, 3, 8, 285, 286, 287, 576, 577, 3_073, 9_999, 40_000]
)
def test_it_is_that_of_a_peer_at_any_length(length):
  message = np.random.default_rng(length).bytes(length)
  assert crc32c.crc32c(message) == peer.crc32c(message)


def test_any_single_bit_changes_it():
  message = np.random.default_rng(0).bytes(700)
  seen = {crc32c.crc32c(message)}
  for bit in range(0, 8 * len(message), 7):
    other = bytearray(message)
    other[bit // 8] ^= 1 << bit % 8
    seen.add(crc32c.crc32c(bytes(other)))
  assert len(seen) == 801


def test_the_masked_one_is_that_of_files_of_tensorflow(drawings):
  path = drawings / 'tfrecord/cifar10/3.0.2'
  content = (path / 'cifar10-test.tfrecord-00000-of-00001').read_bytes()
  stored = int.from_bytes(content[8:12], 'little')
  assert crc32c.masked_crc32c(content[:8]) == stored
