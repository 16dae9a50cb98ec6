"""Certification in PyTorch by the networks of a path, with equal weights.

Two peers: a loop over batches of noisy copies, as Cohen et al. (2019) describe
it, with the counting left on the device; and the randomized smoothing of the
Adversarial Robustness Toolbox, where that is installed.
"""

import contextlib
import functools
import importlib.util
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from scipy import stats
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks import torch_networks
from benchmarks.paths import Path
from benchmarks.torch_unet import UNet
from dualrs_jax import models
from dualrs_jax.pretrained import (
  huggingface,
  matching,
  openai_diffusion,
  timm_beit,
  torch_resnet,
)
from dualrs_jax.pretrained.matching import Published

#: How far apart logits may be, relative to the largest: rounding in float32.
TOLERANCE = 1e-3

_NETWORKS: Mapping[type, Callable[..., Any]] = {
  models.BEiT: functools.partial(torch_networks.Transformer, relative=True),
  models.CIFARResNet: torch_networks.cifar_resnet,
  models.DiffusionUNet: UNet,
  models.ResNet: torch_networks.imagenet_resnet,
  models.ViT: functools.partial(torch_networks.Transformer, relative=False),
}

_CORRESPONDENCES: Mapping[type, Callable[[Any], Mapping[str, Any]]] = {
  models.BEiT: timm_beit.correspondence,
  models.CIFARResNet: torch_resnet.correspondence,
  models.DiffusionUNet: openai_diffusion.correspondence,
  models.ResNet: torch_resnet.correspondence,
  models.ViT: huggingface.vit_correspondence,
}

#: Names in a Hugging Face ViT, by those in `torch_networks.Transformer`.
_VIT = {
  r'^cls_token': 'vit.embeddings.cls_token',
  r'^pos_embed': 'vit.embeddings.position_embeddings',
  r'^patch_embed.proj': 'vit.embeddings.patch_embeddings.projection',
  r'^blocks': 'vit.encoder.layer',
  r'norm1': 'layernorm_before',
  r'attn.proj': 'attention.output.dense',
  r'norm2': 'layernorm_after',
  r'mlp.fc1': 'intermediate.dense',
  r'mlp.fc2': 'output.dense',
  r'^fc_norm': 'vit.layernorm',
  r'^head': 'classifier',
}


class Twins(NamedTuple):
  """The networks of a path in both libraries.

  Attributes:
    parts: In Flax, see `Path.parts`.
    network: In PyTorch: images [batch, channels, height, width] to logits.
    difference: Of their logits, relative to the largest, in float32.
  """

  parts: list[Any]
  network: Any
  difference: float


def twins(path: Path, dtype: Any, sigma: float) -> Twins:
  """Random weights in both libraries, on the device that JAX computes on.

  PyTorch is left with the settings that are fastest there.

  Args:
    path: The path.
    dtype: Of the networks' activations.
    sigma: The noise level that the denoiser in PyTorch is made for.

  Raises:
    ValueError: If the logits differ by more than rounding.
  """
  torch.manual_seed(0)
  networks, published = _networks(path)
  with _exact():
    parts = [matching.build(each) for each in published]
    network = _assemble(path, networks, parts[0], sigma)
    difference = _difference(path, path.assemble(parts), network, sigma)
  if not difference <= TOLERANCE:
    raise ValueError(f'logits of the two libraries differ by {difference:.1e}')
  parts = [matching.build(each, dtype=dtype) for each in published]
  if jnp.dtype(dtype) == jnp.bfloat16:
    network = Mixed(network)
  torch.backends.cudnn.benchmark = True
  return Twins(parts, network, difference)


def device() -> str:
  """The device of PyTorch that is JAX's own."""
  return 'cuda' if jax.default_backend() == 'gpu' else 'cpu'


def runs_here() -> bool:
  """Whether PyTorch reaches the device that JAX computes on."""
  if device() == 'cuda':
    return torch.cuda.is_available()
  return jax.default_backend() == 'cpu'


class Mixed(nn.Module):
  """A network whose matrix products and convolutions are in bfloat16."""

  def __init__(self, network: Any):
    super().__init__()
    self.network = network

  def forward(self, images):
    with torch.autocast(device(), torch.bfloat16):
      return self.network(images).float()


def certify(
  network: Any,
  image: np.ndarray,
  sigma: float,
  *,
  classes: int,
  n0: int,
  n: int,
  alpha: float,
  batch_size: int,
) -> tuple[int, float]:
  """Class and radius of an image [channels, height, width]; -1 to abstain."""
  clean = torch.from_numpy(image).to(device())

  def count(votes: int) -> np.ndarray:
    counts = torch.zeros(classes, dtype=torch.int64, device=device())
    for start in range(0, votes, batch_size):
      size = min(batch_size, votes - start)
      noise = torch.randn(size, *clean.shape, device=device())
      winners = network(clean + sigma * noise).argmax(dim=1)
      counts.index_add_(0, winners, torch.ones_like(winners))
    return counts.cpu().numpy()

  with torch.inference_mode():
    top = int(count(n0).argmax())
    wins = int(count(n)[top])
  least = stats.beta.ppf(alpha, wins, n - wins + 1) if wins else 0.0
  if not least > 0.5:
    return -1, 0.0
  return top, sigma * float(stats.norm.ppf(least))


def toolbox(
  network: Any,
  shape: tuple[int, int, int],
  sigma: float,
  *,
  classes: int,
  n0: int,
  alpha: float,
) -> Any | None:
  """The Toolbox's certifier of a network; None if it is not installed."""
  if importlib.util.find_spec('art') is None:
    return None
  smoothing = importlib.import_module(
    'art.estimators.certification.randomized_smoothing'
  )
  height, width, channels = shape
  return smoothing.PyTorchRandomizedSmoothing(
    network,
    nn.CrossEntropyLoss(),
    (channels, height, width),
    classes,
    device_type='gpu' if device() == 'cuda' else 'cpu',
    sample_size=n0,
    scale=sigma,
    alpha=alpha,
  )


def channels_first(image: Any) -> np.ndarray:
  """Images as PyTorch has them."""
  return np.ascontiguousarray(np.moveaxis(np.asarray(image), -1, -3))


def _networks(path: Path) -> tuple[list[Any], list[Published]]:
  """Classifier and denoiser in PyTorch, and as files would hold them."""
  networks = [
    _NETWORKS[architecture](**sizes) for architecture, sizes in path.described
  ]
  published = [
    Published(
      source='random weights',
      architecture=architecture,
      sizes=sizes,
      arrays=_arrays(network, architecture),
      correspondence=_CORRESPONDENCES[architecture],
    )
    for network, (architecture, sizes) in zip(
      networks, path.described, strict=True
    )
  ]
  return networks, published


def _assemble(path: Path, networks: list[Any], flax: Any, sigma: float) -> Any:
  """What `Path.assemble` makes, in PyTorch."""
  classifier, *denoisers = networks
  whole = torch_networks.Normalised(classifier, flax.mean, flax.deviation)
  if denoisers:
    size = path.sizes['image_shape'][:2]
    whole = torch_networks.Denoised(
      denoisers[0], whole, path.alphas, sigma, size
    )
  whole = whole.eval().requires_grad_(False).to(device())
  return whole.to(memory_format=torch.channels_last)


def _arrays(network: Any, architecture: type) -> dict[str, np.ndarray]:
  """The weights by their published names."""
  arrays = {
    name: tensor.numpy()
    for name, tensor in network.state_dict().items()
    if tensor.is_floating_point()  # batches that were seen are counted
  }
  return _names_of_vit(arrays) if architecture is models.ViT else arrays


def _names_of_vit(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The arrays of a `torch_networks.Transformer` as Hugging Face has them."""
  named = {}
  for name, array in arrays.items():
    for pattern, published in _VIT.items():
      name = re.sub(pattern, published, name)
    if '.attn.qkv.' not in name:
      named[name] = array
      continue
    parts = np.split(array, 3)
    for part, piece in zip(('query', 'key', 'value'), parts, strict=True):
      named[name.replace('attn.qkv', f'attention.attention.{part}')] = piece
  return named


def _difference(path: Path, ours: Any, theirs: Any, sigma: float) -> float:
  """Of the logits of both on noisy images, relative to the largest."""
  noise = jax.random.normal(jax.random.key(3), (2, *path.image_shape))
  images = 0.5 + sigma * noise
  apply = jax.jit(lambda f, images, sigma: f(images, sigma))
  here = np.asarray(apply(ours, images, jnp.full(2, sigma)))
  with torch.inference_mode():
    there = theirs(torch.from_numpy(channels_first(images)).to(device()))
  there = there.cpu().numpy()
  return float(np.abs(here - there).max() / np.abs(here).max())


@contextlib.contextmanager
def _exact():
  """Products in float32 are not rounded to fewer digits on GPUs."""
  torch.backends.cudnn.allow_tf32 = False
  torch.set_float32_matmul_precision('highest')
  with jax.default_matmul_precision('highest'):
    yield
  torch.backends.cudnn.allow_tf32 = True
  torch.set_float32_matmul_precision('high')  # as JAX does unless told not to
