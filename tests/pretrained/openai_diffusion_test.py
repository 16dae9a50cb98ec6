"""The importer of OpenAI's files: every array, or a sentence why not.

That imported weights compute what the original code computed is tested where
the network is, in tests/models/diffusion_unet_test.py.
"""

import collections
import json

import jax
import numpy as np
import pytest
from flax import nnx

from dualrs_jax.models.diffusion_unet import DiffusionUNet
from dualrs_jax.pretrained import ImportFailure, matching, openai_diffusion
from tests import parity_unets

NAME = 'improved_unet_a'
SIZES = parity_unets.SIZES[NAME]


def import_arrays(arrays):
  return parity_unets.build(arrays, SIZES)


@pytest.mark.parametrize(
  ('file', 'parameters'),
  [
    ('cifar10_uncond_50M_500K', 52_546_438),
    ('256x256_diffusion_uncond', 552_814_086),
  ],
)
def test_published_files_map_one_to_one(file, parameters):
  """By shapes alone; nothing of this size is allocated."""
  path = parity_unets.DATA / 'manifests' / f'{file}.json'
  manifest = json.loads(path.read_text())
  arrays = {
    name: np.broadcast_to(np.zeros((), dtype), shape)
    for name, (shape, dtype) in manifest.items()
  }
  sizes = openai_diffusion.published_sizes(arrays, source=file)
  assert sizes is openai_diffusion.PUBLISHED[file]
  model = matching.abstract(DiffusionUNet, sizes)
  state = dict(nnx.to_flat_state(nnx.state(model)))
  assert sum(leaf.size for leaf in jax.tree.leaves(state)) == parameters
  targets = openai_diffusion.correspondence(model)
  assert list(targets) == list(manifest)
  assert {target.path for target in targets.values()} == set(state)
  for name, target in targets.items():
    assert target.transform(arrays[name]).shape == state[target.path].shape


def test_wrong_arrays_are_all_named():
  arrays = dict(parity_unets.weights(NAME))
  del arrays['out.0.bias'], arrays['middle_block.1.qkv.weight']
  arrays['label_emb.weight'] = np.zeros((10, 128), np.float32)
  with pytest.raises(ImportFailure) as failure:
    import_arrays(arrays)
  message = str(failure.value)
  assert message.startswith('the file')
  for name in ('out.0.bias', 'middle_block.1.qkv.weight', 'label_emb.weight'):
    assert name in message


def test_wrong_shapes_are_all_named():
  arrays = dict(parity_unets.weights(NAME))
  for name, shape in {
    'middle_block.1.qkv.weight': (192, 64),
    'input_blocks.0.0.weight': (32, 1, 3, 3),
    'time_embed.0.weight': (64, 16),
    'out.2.weight': (6, 32, 3),
  }.items():
    arrays[name] = np.zeros(shape, np.float32)
  with pytest.raises(ImportFailure) as failure:
    import_arrays(arrays)
  for name in (
    'middle_block.1.qkv.weight of shape (192, 64)',
    'input_blocks.0.0.weight of shape (32, 1, 3, 3)',
    'time_embed.0.weight of shape (64, 16)',
    'out.2.weight of shape (6, 32, 3)',
  ):
    assert name in str(failure.value)


def test_half_precision_files_become_float32():
  arrays = parity_unets.weights(NAME)
  model = import_arrays(
    {name: array.astype(np.float16) for name, array in arrays.items()}
  )
  assert {str(leaf.dtype) for leaf in jax.tree.leaves(nnx.state(model))} == {
    'float32'
  }


def test_sizes_are_found_for_published_files_only():
  with pytest.raises(ImportFailure, match='give all sizes'):
    parity_unets.build(parity_unets.weights(NAME))
  with pytest.raises(ImportFailure, match="no diffusion model of OpenAI's"):
    parity_unets.build({'fc.weight': np.zeros(3)})


@pytest.mark.torch
def test_a_file_of_torch_gives_the_same_model(tmp_path):
  torch = pytest.importorskip('torch')
  weights = parity_unets.weights(NAME)
  path = tmp_path / 'model.pt'
  torch.save(
    collections.OrderedDict(
      (name, torch.from_numpy(array)) for name, array in weights.items()
    ),
    path,
  )
  loaded = nnx.state(openai_diffusion.load(path, SIZES))
  expected = nnx.state(parity_unets.network(NAME))
  jax.tree.map(np.testing.assert_array_equal, loaded, expected)
  path.write_bytes(path.read_bytes()[:-1000])
  with pytest.raises(ImportFailure, match='cut short or damaged'):
    openai_diffusion.load(path, SIZES)
