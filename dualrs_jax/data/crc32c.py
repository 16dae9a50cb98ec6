"""CRC-32C, the checksum of TFRECORD files, in NumPy.

A checksum is what is left of a message, a polynomial whose coefficients are the
message's bits, when it is divided by a fixed polynomial P of degree 32. Looking
up one byte after the other, as it is usually done, takes Python milliseconds
for an image. Here multiples of P with few terms take long messages apart: P
divides

  x^290 + x^136 + x^113 + x^107 + x^32 + 1,

and so it divides what is left if all exponents are doubled, which squares this,
or are doubled several times. Doubled three times they count bytes. So a byte
may be taken from the message if it is added (that is, exclusive or) to five
later ones, and a whole stretch of bytes at once. Only the last 290 bytes are
looked up.
"""

import functools

import numpy as np
from jaxtyping import UInt8, UInt32

_REVERSED = 0x82F63B78  # P, the lowest bit for the highest power
_REACH = 290
#: How far behind a byte those are to which it is added.
_TAPS = tuple(_REACH - exponent for exponent in (136, 113, 107, 32, 0))
#: The four bytes that take a register of zeros to the ones that a checksum
#: begins with.
_FIRST = np.frombuffer(bytes.fromhex('54641f64'), np.uint8)


def crc32c(data: bytes) -> int:
  """The checksum of some bytes.

  Args:
    data: the message.

  Returns:
    Its CRC-32C, as iSCSI (RFC 3720) defines it.

  Example:
    >>> hex(crc32c(b'123456789'))
    '0xe3069283'
  """
  size = max(len(_FIRST) + len(data), _REACH)  # leading zeros change nothing
  message = np.zeros(size, np.uint8)
  start = size - len(data)
  message[start - len(_FIRST) : start] = _FIRST
  message[start:] = np.frombuffer(data, np.uint8)
  rest = _last_bytes(message)
  table = _table()[np.arange(_REACH), rest]
  return int(np.bitwise_xor.reduce(table)) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
  """The checksum as TFRECORD files store it: rotated, and moved.

  Args:
    data: the message.
  """
  crc = crc32c(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _last_bytes(
  message: UInt8[np.ndarray, ' size'],
) -> UInt8[np.ndarray, ' reach']:
  """The end of a message that leaves what the whole of it leaves, in place."""
  start, size = 0, len(message)
  for doublings in reversed(range((size // _REACH).bit_length())):
    scale = 2**doublings
    while size - start > scale * _REACH:
      # No byte of this stretch is added to another one of it.
      length = min(scale * _TAPS[0], size - start - scale * _REACH)
      stretch = message[start : start + length]
      for tap in _TAPS:
        behind = start + scale * tap
        message[behind : behind + length] ^= stretch
      start += length
  return message[-_REACH:]


@functools.cache
def _table() -> UInt32[np.ndarray, 'reach 256']:
  """What each value of each of the last bytes leaves."""
  value = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    value = (value >> 1) ^ (value & 1) * np.uint32(_REVERSED)
  table = np.empty((_REACH, 256), np.uint32)
  table[-1] = value
  for place in reversed(range(_REACH - 1)):
    later = table[place + 1]
    table[place] = value[later & 0xFF] ^ (later >> 8)
  return table
