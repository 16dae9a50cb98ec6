"""The networks of the benchmarked paths in PyTorch, to be timed beside them.

Their weights have the names of the published files, so that the importers of
`dualrs_jax.pretrained` give Flax networks the same ones. They run in eager
mode, with PyTorch's own fused attention.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from dualrs_jax import diffusion
from dualrs_jax.models import beit, resnet

#: A stage of a residual network: blocks, channels inside, channels put out.
Stage = tuple[int, int, int]


class Normalised(nn.Module):
  """A classifier of images in pixel units, behind its normalisation."""

  def __init__(
    self, network: Any, mean: Sequence[float], scale: Sequence[float]
  ):
    super().__init__()
    self.network = network
    column = lambda values: torch.tensor(values)[:, None, None]
    self.register_buffer('mean', column(mean), persistent=False)
    self.register_buffer('scale', column(scale), persistent=False)

  def forward(self, images):
    return self.network((images - self.mean) / self.scale)


class Denoised(nn.Module):
  """Denoises for one noise level, resizes, and classifies."""

  def __init__(
    self,
    predictor: Any,
    classifier: Any,
    alphas: np.ndarray,
    sigma: float,
    size: tuple[int, int],
  ):
    super().__init__()
    step = int(diffusion.timestep(alphas, sigma))
    self.predictor, self.classifier, self.size = predictor, classifier, size
    self.time = step * 1000 / len(alphas)
    self.signal = float(np.sqrt(alphas[step]))
    self.deviation = float(diffusion.deviations(alphas)[step])

  def forward(self, images):
    centred = 2 * images - 1
    times = torch.full((len(images),), self.time, device=images.device)
    noise = self.predictor(self.signal * centred, times)[:, : images.shape[1]]
    clean = (centred - self.deviation * noise.float()).clamp(-1, 1)
    clean = functional.interpolate(
      (clean + 1) / 2, self.size, mode='bicubic', antialias=True
    )
    return self.classifier(clean)


class ResNet(nn.Module):
  """Residual networks of basic blocks, or of bottlenecks."""

  def __init__(self, stages: Sequence[Stage], classes: int, bottleneck: bool):
    super().__init__()
    width = stages[0][1]
    self.bottleneck = bottleneck
    self.conv1 = _convolution(3, width, *((7, 2) if bottleneck else (3, 1)))
    self.bn1 = nn.BatchNorm2d(width)
    inputs = width
    for number, (blocks, inside, outputs) in enumerate(stages, 1):
      layer = nn.Sequential()
      for block in range(blocks):
        stride = 2 if number > 1 and block == 0 else 1
        layer.append(Residual(inputs, inside, outputs, stride, bottleneck))
        inputs = outputs
      setattr(self, f'layer{number}', layer)
    self.layers = len(stages)
    self.fc = nn.Linear(inputs, classes)

  def forward(self, x):
    x = functional.relu(self.bn1(self.conv1(x)))
    if self.bottleneck:
      x = functional.max_pool2d(x, 3, 2, padding=1)
    for number in range(1, self.layers + 1):
      x = getattr(self, f'layer{number}')(x)
    return self.fc(x.mean(dim=(2, 3)))


class Residual(nn.Module):
  """Two convolutions of 3 x 3, or one between two of 1 x 1."""

  def __init__(
    self, inputs: int, inside: int, outputs: int, stride: int, bottleneck: bool
  ):
    super().__init__()
    self.conv1 = _convolution(
      inputs, inside, *((1, 1) if bottleneck else (3, stride))
    )
    self.bn1 = nn.BatchNorm2d(inside)
    if bottleneck:
      self.conv2 = _convolution(inside, inside, 3, stride)
      self.bn2 = nn.BatchNorm2d(inside)
    last = 3 if bottleneck else 2
    self.add_module(
      f'conv{last}', _convolution(inside, outputs, 1 if bottleneck else 3, 1)
    )
    self.add_module(f'bn{last}', nn.BatchNorm2d(outputs))
    self.last = last
    self.downsample = nn.Identity()
    if stride > 1 or inputs != outputs:
      self.downsample = nn.Sequential(
        _convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
      )

  def forward(self, x):
    shortcut = self.downsample(x)
    for number in range(1, self.last + 1):
      x = getattr(self, f'bn{number}')(getattr(self, f'conv{number}')(x))
      if number == self.last:
        x = x + shortcut
      x = functional.relu(x)
    return x


def _convolution(inputs: int, outputs: int, kernel: int, stride: int):
  padding = kernel // 2
  return nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)


def cifar_resnet(*, num_classes: int, depth: int, **_: Any) -> ResNet:
  """The counterpart of `models.CIFARResNet`, without its normalisation."""
  blocks = (depth - 2) // 6
  stages = [(blocks, width, width) for width in (16, 32, 64)]
  return ResNet(stages, num_classes, bottleneck=False)


def imagenet_resnet(
  *, num_classes: int, stages: Sequence[int], width: int, **_: Any
) -> ResNet:
  """The counterpart of `models.ResNet`, without its normalisation."""
  widths = [width * 2**stage for stage in range(len(stages))]
  outputs = [resnet.EXPANSION * inside for inside in widths]
  described = list(zip(stages, widths, outputs, strict=True))
  return ResNet(described, num_classes, bottleneck=True)


class Transformer(nn.Module):
  """ViT, or with `relative` positions BEiT; names are those of timm."""

  def __init__(
    self,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    patch: int,
    width: int,
    depth: int,
    heads: int,
    hidden: int,
    relative: bool,
  ):
    super().__init__()
    grid = image_shape[0] // patch
    epsilon = 1e-6 if relative else 1e-12
    self.relative = relative
    self.patch_embed = nn.Module()
    self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
    self.cls_token = _normal(1, 1, width)
    if relative:
      steps = torch.from_numpy(beit.steps_between_tokens(grid)).long()
      self.register_buffer('steps', steps, persistent=False)
    else:
      self.pos_embed = _normal(1, grid**2 + 1, width)
    rows = beit.number_of_steps(grid) if relative else None
    self.blocks = nn.ModuleList(
      TransformerBlock(width, heads, hidden, epsilon, rows)
      for _ in range(depth)
    )
    self.fc_norm = nn.LayerNorm(width, epsilon)
    self.head = nn.Linear(width, num_classes)

  def forward(self, images):
    x = self.patch_embed.proj(images).flatten(2).mT
    x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
    if not self.relative:
      x = x + self.pos_embed
    for block in self.blocks:
      x = block(x, self.steps if self.relative else None)
    x = x[:, 1:].mean(dim=1) if self.relative else x[:, 0]
    return self.head(self.fc_norm(x))


class TransformerBlock(nn.Module):
  """Attention, then two layers, each scaled where positions are relative."""

  def __init__(
    self, width: int, heads: int, hidden: int, epsilon: float, rows: int | None
  ):
    super().__init__()
    self.heads, self.relative = heads, rows is not None
    self.norm1 = nn.LayerNorm(width, epsilon)
    self.attn = nn.Module()
    self.attn.qkv = nn.Linear(width, 3 * width, bias=rows is None)
    self.attn.proj = nn.Linear(width, width)
    self.norm2 = nn.LayerNorm(width, epsilon)
    self.mlp = nn.Module()
    self.mlp.fc1 = nn.Linear(width, hidden)
    self.mlp.fc2 = nn.Linear(hidden, width)
    if rows is not None:
      self.attn.q_bias = _normal(width)
      self.attn.v_bias = _normal(width)
      self.attn.relative_position_bias_table = _normal(rows, heads)
      self.gamma_1 = nn.Parameter(torch.full((width,), 0.1))
      self.gamma_2 = nn.Parameter(torch.full((width,), 0.1))

  def forward(self, x, steps):
    attended = self.attend(self.norm1(x), steps)
    x = x + (self.gamma_1 * attended if self.relative else attended)
    h = functional.gelu(self.mlp.fc1(self.norm2(x)))
    h = self.mlp.fc2(h)
    return x + (self.gamma_2 * h if self.relative else h)

  def attend(self, x, steps):
    bias, mask = self.attn.qkv.bias, None
    if self.relative:
      q, v = self.attn.q_bias, self.attn.v_bias
      bias = torch.cat([q, torch.zeros_like(q), v])
      mask = self.attn.relative_position_bias_table[steps].permute(2, 0, 1)
    parts = functional.linear(x, self.attn.qkv.weight, bias)
    parts = parts.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
    if mask is not None:
      mask = mask[None].to(parts.dtype)
    x = functional.scaled_dot_product_attention(*parts, attn_mask=mask)
    return self.attn.proj(x.transpose(1, 2).flatten(2))


def _normal(*shape: int):
  return nn.Parameter(0.02 * torch.randn(*shape))
