"""Records by their place, in files of both forms, whole and damaged."""

import itertools
import struct

import pytest

from dualrs_jax.data.record_files import FORMS

FILES = {
  form: f'{form}/imagenet2012/5.1.0/imagenet2012-train.{form}-00001-of-00002'
  for form in FORMS
}


@pytest.mark.parametrize('form', FORMS)
def test_a_place_is_that_of_its_record(drawings, form):
  path = drawings / FILES[form]
  records = dict(FORMS[form].scan(path))
  assert len(records) == 60
  for place in reversed(records):
    assert FORMS[form].read(path, place) == records[place]
  assert all(b'.JPEG' in record for record in records.values())


def test_both_forms_hold_the_same(drawings):
  array_record, tfrecord = (
    {record for _, record in FORMS[form].scan(drawings / FILES[form])}
    for form in FORMS
  )
  assert array_record == tfrecord


def cut(content):
  return content[: len(content) - 100]


def page(content):
  return b'<html>' * (len(content) // 6)


def endless(content):
  return struct.pack('<Q', 2**62) + content[8:]


def other_label(content):
  """Changes what no parser notices, in the second record of a TFRECORD."""
  second = 16 + struct.unpack_from('<Q', content)[0]
  at = content.index(b'.JPEG', second)
  return content[: at - 1] + b'x' + content[at:]


@pytest.mark.parametrize(
  ('form', 'damage'),
  [*itertools.product(FORMS, [cut, page]), ('tfrecord', endless)],
)
def test_damage_is_one_sentence(drawings, tmp_path, form, damage):
  path = tmp_path / 'shard'
  path.write_bytes(damage((drawings / FILES[form]).read_bytes()))
  message = r'shard is damaged: (its index|record \d+) .*; copy or prepare'
  with pytest.raises(ValueError, match=message):
    list(FORMS[form].scan(path))


@pytest.mark.parametrize('form', FORMS)
def test_a_place_beyond_the_end_is_refused(drawings, form):
  with pytest.raises(ValueError, match='is damaged: .*record .*1000000000'):
    FORMS[form].read(drawings / FILES[form], 10**9)


def test_a_record_without_its_checksum_is_named(drawings, tmp_path):
  path = tmp_path / 'shard'
  content = (drawings / FILES['tfrecord']).read_bytes()
  path.write_bytes(other_label(content))
  message = 'shard is damaged: record 1 does not have its stored checksum'
  with pytest.raises(ValueError, match=message):
    list(FORMS['tfrecord'].scan(path))
  length = bytearray(content)
  length[8] ^= 1  # of the checksum of the first length
  path.write_bytes(length)
  with pytest.raises(ValueError, match='record 0 does not have its stored'):
    list(FORMS['tfrecord'].scan(path))
