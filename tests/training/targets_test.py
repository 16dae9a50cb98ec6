"""Votes for radius targets, and their shards on disk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax import sharding
from dualrs_jax.runtime import preemption
from dualrs_jax.training import target_votes, targets
from tests.training import networks

SIGMAS = (0.25, 0.5, 1.0)
VOTES = 50


def build(directory, source=None, classifier=None, **options):
  return targets.build(
    classifier or networks.Brightest(3),
    source or networks.source(),
    **{
      'stage': 'targets-1',
      'sigmas': SIGMAS,
      'votes': VOTES,
      'chunk_size': VOTES,
      'shard_size': 16,
      'workers': 0,
      'key': jax.random.key(4),
      'directory': directory,
      'mark': '',
      'preempted': lambda: False,
      **options,
    },
  )


@pytest.mark.parametrize('kind', ['other', 'unmarked', 'empty', 'short'])
def test_shards_that_are_not_of_this_run_are_computed_again(
  tmp_path, kind, caplog
):
  expected = build(tmp_path, mark='ab')
  paths = sorted(tmp_path.glob('*.npz'))
  with np.load(paths[0]) as shard:
    fields = dict(shard)
  fields['counts'] = fields['counts'] + 1
  if kind == 'other':
    fields['settings'] = np.array('cd')
  elif kind == 'unmarked':
    del fields['settings']
  np.savez(paths[0], **fields)
  if kind in ('empty', 'short'):
    whole = paths[0].read_bytes()
    paths[0].write_bytes(whole[: len(whole) // 2 if kind == 'short' else 0])
  np.testing.assert_array_equal(build(tmp_path, mark='ab'), expected)
  assert 'computed again' in caplog.text


@pytest.mark.parametrize('chunk_size', [1, 7, 25])
def test_chunks_make_no_difference(tmp_path, chunk_size):
  whole = build(tmp_path / 'a')
  chunked = build(tmp_path / 'b', chunk_size=chunk_size)
  np.testing.assert_array_equal(whole, chunked)


def test_each_level_has_its_expert(tmp_path):
  class Stubborn(networks.Brightest):
    def __call__(self, images, sigma):
      logits = super().__call__(images, sigma)
      return jnp.zeros_like(logits).at[:, 1].set(1.0)

  experts = networks.Brightest(3), Stubborn(3), networks.Brightest(3)
  source = networks.source()
  counts = build(tmp_path / 'experts', source, experts)
  plain = build(tmp_path / 'plain', source)
  np.testing.assert_array_equal(counts[:, [0, 2]], plain[:, [0, 2]])
  right = source.labels == 1
  expected = VOTES * np.stack([right, ~right], axis=-1)
  np.testing.assert_array_equal(counts[:, 1], expected)


def test_shards_make_no_difference(tmp_path):
  whole = build(tmp_path / 'a', shard_size=40)
  assert whole.shape == (40, len(SIGMAS), 2)
  np.testing.assert_array_equal(whole, build(tmp_path / 'b', shard_size=7))
  assert len(list((tmp_path / 'b').iterdir())) == 6


def test_within_a_shard_it_can_be_ended(tmp_path):
  undisturbed = build(tmp_path / 'undisturbed')
  asked = []

  def preempted():
    asked.append(sorted(path.name for path in tmp_path.glob('*.npz')))
    return len(asked) == 11

  with pytest.raises(
    preemption.Preempted, match='finished shards of targets-1'
  ):
    build(tmp_path, shard_size=8, preempted=preempted)
  # With eight devices a shard of eight is one call, and asked about as often.
  assert asked[0] == asked[7] == ['000000000.npz']
  assert asked[8] == asked[10] == ['000000000.npz', '000000008.npz']
  np.testing.assert_array_equal(build(tmp_path, shard_size=8), undisturbed)


def test_a_shard_is_counted_in_several_calls(tmp_path, monkeypatch):
  undisturbed = build(tmp_path / 'undisturbed')
  mesh = sharding.votes_mesh(jax.local_devices()[:1])
  monkeypatch.setattr(sharding, 'votes_mesh', lambda _: mesh)
  asked = []

  def preempted():
    asked.append(len(list(tmp_path.glob('*.npz'))))
    return len(asked) == 5

  with pytest.raises(preemption.Preempted):
    build(tmp_path, shard_size=20, preempted=preempted)
  assert asked == [0] * 5, 'in the middle of the first shard'
  np.testing.assert_array_equal(build(tmp_path, shard_size=20), undisturbed)


def test_a_complete_table_is_not_counted_again(tmp_path, monkeypatch):
  first = build(tmp_path)
  monkeypatch.delattr(target_votes, 'count_votes')
  np.testing.assert_array_equal(first, build(tmp_path))


@pytest.mark.parametrize(
  'damage', ['lost', 'truncated', 'empty', 'flipped', 'encrypted', 'method']
)
def test_a_damaged_shard_is_made_again(tmp_path, damage, caplog):
  first = build(tmp_path)
  path = sorted(tmp_path.iterdir())[1]
  content = path.read_bytes()
  if damage == 'lost':
    path.unlink()
  elif damage == 'flipped':
    path.write_bytes(content.replace(b'\x00\x00\x00', b'\x00\x01\x00'))
  elif damage in ('encrypted', 'method'):  # in the directory of the archive
    entry = content.index(b'PK\x01\x02') + (8 if damage == 'encrypted' else 10)
    path.write_bytes(
      content[:entry] + bytes([content[entry] | 1]) + content[entry + 1 :]
    )
  else:
    path.write_bytes(content[: len(content) // 2] if damage != 'empty' else b'')
  np.testing.assert_array_equal(first, build(tmp_path))
  assert path.read_bytes() == content
  assert ('computed again' in caplog.text) == (damage != 'lost')


def test_shards_of_other_images_are_not_taken(tmp_path, caplog):
  build(tmp_path)
  source = networks.source()
  moved = type(source)(source.images, source.labels, source.indices + 1, 3)
  expected = build(tmp_path / 'fresh', moved)
  np.testing.assert_array_equal(build(tmp_path, moved), expected)
  assert 'holds other images' in caplog.text


def test_what_was_drawn_first_is_kept(tmp_path):
  source = networks.source()
  made = []

  def draw():
    made.append(np.full((len(source), 3), len(made), np.float32))
    return made[-1]

  def kept(mark):
    return targets.kept(draw, source, levels=3, directory=tmp_path, mark=mark)

  np.testing.assert_array_equal(kept('one'), 0)
  np.testing.assert_array_equal(kept('one'), 0)
  np.testing.assert_array_equal(kept('other'), 1)
