r"""Converts a published checkpoint, once, into one of this library.

  python -m dualrs_jax.pretrained openai_diffusion cifar10_uncond_50M_500K.pt \
      --out models/cifar10_diffusion
  python -m dualrs_jax.pretrained huggingface \
      vit-base-patch16-224-in21k-finetuned-cifar10/ --out models/cifar10_vit
  python -m dualrs_jax.pretrained timm_beit beit_large_patch16_512/ \
      --out models/imagenet_beit
  python -m dualrs_jax.pretrained cifar_resnet checkpoint.pth.tar \
      --out models/cifar10_resnet110
  python -m dualrs_jax.pretrained resnet checkpoint.pth.tar \
      --out models/imagenet_resnet50 --sizes deviation=1,1,1

Where a file holds several sets of weights, such as an average over time, --key
chooses one. Every array is checked by name and shape. Files of PyTorch need it
installed; nothing in them is executed.
"""

import argparse
import ast
import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dualrs_jax import checkpoints, models
from dualrs_jax.models.diffusion_unet import DiffusionUNet
from dualrs_jax.pretrained import (
  converted,
  huggingface,
  matching,
  openai_diffusion,
  timm_beit,
  torch_resnet,
)
from dualrs_jax.runtime import environment, output


def main(arguments: Sequence[str] | None = None) -> int:
  """Converts what the command line names; returns the exit status."""
  output.open_closed()
  options = _parser().parse_args(arguments)
  try:
    environment.check_devices()
    _convert(
      options.kind,
      options.path,
      options.out,
      dict(options.sizes),
      options.key,
    )
  except (
    ValueError,
    OSError,
    checkpoints.CheckpointError,
    environment.NoDevice,
  ) as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  return 0


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m dualrs_jax.pretrained',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('kind', choices=_READERS, help='who published it')
  parser.add_argument('path', help='its file, or its folder')
  parser.add_argument('--out', required=True, help='a new folder')
  parser.add_argument(
    '--sizes',
    nargs='+',
    default=[],
    type=_size,
    metavar='NAME=VALUE',
    help='where the model differs from the published one, such as depth=20,'
    ' num_classes=100, or deviation=1,1,1 for one trained on images that are'
    ' centred only',
  )
  parser.add_argument(
    '--key',
    help='which weights, where a file holds several, such as state_dict_ema',
  )
  return parser


def _size(text: str) -> tuple[str, Any]:
  name, _, value = text.partition('=')
  try:
    return name, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    raise argparse.ArgumentTypeError(
      f'{text!r} is not a name, =, and a number or several'
    ) from None


def _convert(
  kind: str,
  path: str,
  out: str,
  sizes: Mapping[str, Any],
  key: str | None,
) -> None:
  converted.refuse_occupied(out)
  published = _READERS[kind](path, sizes or None, key=key)
  output.say(f'read {published.source}: {len(published.arrays)} arrays')
  model = models.inference_view(matching.build(published))
  output.say(
    f'{type(model).__name__}, {converted.number_of_parameters(model):,}'
    f' parameters: {_listed(published.sizes)}'
  )
  found = _output(model, published.sizes)
  if not np.isfinite(found).all():
    raise ValueError(f'{path} makes a model whose output is not finite')
  output.say(
    f'output on a fixed image: shape {found.shape}, mean'
    f' {found.mean():+.5f}, deviation {found.std():.5f}, first'
    f' {found.ravel()[0]:+.5f}'
  )
  converted.save(out, model, published.sizes, source=published.source)
  converted.load(out)  # verifies the checksum of every array on disk
  output.say(f'saved in {out}, and read back')


def _listed(sizes: Mapping[str, Any]) -> str:
  return ', '.join(f'{name}={value}' for name, value in sizes.items())


def _output(model: nnx.Module, sizes: Mapping[str, Any]) -> np.ndarray:
  """What a model makes of one image that is always the same."""
  shape = sizes.get('image_shape', (64, 64, sizes.get('channels', 3)))
  image = 0.5 + 0.5 * np.sin(np.arange(np.prod(shape))).reshape(1, *shape)
  # To a diffusion model the second argument is the timestep.
  level = jnp.full(1, 250.0 if isinstance(model, DiffusionUNet) else 0.25)
  apply = jax.jit(lambda model, image, level: model(image, level))
  return np.asarray(apply(model, jnp.asarray(image, jnp.float32), level))[0]


_READERS = {
  'openai_diffusion': openai_diffusion.read,
  'huggingface': huggingface.read,
  'timm_beit': timm_beit.read,
  'cifar_resnet': functools.partial(
    torch_resnet.read, architecture=models.CIFARResNet
  ),
  'resnet': functools.partial(torch_resnet.read, architecture=models.ResNet),
}


if __name__ == '__main__':
  sys.exit(main())
