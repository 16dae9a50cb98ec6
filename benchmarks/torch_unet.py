"""The diffusion UNets in PyTorch, to be timed beside `models.DiffusionUNet`.

Names of weights are those of the published files.
"""

from collections.abc import Sequence

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]


class UNet(nn.Module):
  """The counterpart of `models.DiffusionUNet`, with its arguments."""

  def __init__(
    self,
    *,
    width: int,
    multipliers: Sequence[int],
    blocks: int,
    attention_factors: Sequence[int],
    heads: int | None = None,
    head_width: int | None = None,
    residual_resampling: bool = False,
  ):
    super().__init__()
    embedding = 4 * width
    self.width = width
    self.time_embed = nn.Sequential(
      nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
    )
    levels = [multiplier * width for multiplier in multipliers]

    def block(inputs: int, outputs: int, level: int) -> nn.ModuleList:
      steps = nn.ModuleList([Residual(inputs, outputs, embedding)])
      if 2**level in attention_factors:
        steps.append(attention(outputs))
      return steps

    def attention(channels: int) -> 'Attention':
      return Attention(channels, heads or channels // (head_width or channels))

    x = levels[0]
    self.input_blocks = nn.ModuleList([nn.ModuleList([_convolution(3, x)])])
    skips = [x]
    for level, channels in enumerate(levels):
      for _ in range(blocks):
        self.input_blocks.append(block(x, channels, level))
        x = channels
        skips.append(x)
      if level < len(levels) - 1:
        down = (
          Residual(x, x, embedding, 0.5) if residual_resampling else Down(x)
        )
        self.input_blocks.append(nn.ModuleList([down]))
        skips.append(x)
    self.middle_block = nn.ModuleList(
      [Residual(x, x, embedding), attention(x), Residual(x, x, embedding)]
    )
    self.output_blocks = nn.ModuleList()
    for level in range(len(levels) - 1, -1, -1):
      for _ in range(blocks + 1):
        self.output_blocks.append(block(x + skips.pop(), levels[level], level))
        x = levels[level]
      if level:
        self.output_blocks[-1].append(
          Residual(x, x, embedding, 2) if residual_resampling else Up(x)
        )
    self.out = nn.Sequential(_norm(x), nn.SiLU(), _convolution(x, 6))

  def forward(self, images, times):
    embedding = functional.silu(self.time_embed(_waves(times, self.width)))
    x, skips = images, []
    for steps in self.input_blocks:
      x = _through(steps, x, embedding)
      skips.append(x)
    x = _through(self.middle_block, x, embedding)
    for steps in self.output_blocks:
      x = _through(steps, torch.cat([x, skips.pop()], dim=1), embedding)
    return self.out(x)


class Residual(nn.Module):
  """Two convolutions, modulated by the timestep; `scale` resamples."""

  def __init__(
    self, inputs: int, outputs: int, embedding: int, scale: float = 1
  ):
    super().__init__()
    self.scale = scale
    self.in_layers = nn.Sequential(
      _norm(inputs), nn.SiLU(), _convolution(inputs, outputs)
    )
    self.emb_layers = nn.Sequential(
      nn.Identity(), nn.Linear(embedding, 2 * outputs)
    )
    self.out_layers = nn.Sequential(
      _norm(outputs), nn.SiLU(), nn.Identity(), _convolution(outputs, outputs)
    )
    self.skip_connection = (
      nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
    )

  def forward(self, x, embedding):
    h = _resampled(self.in_layers[1](self.in_layers[0](x)), self.scale)
    modulation = self.emb_layers(embedding)[:, :, None, None]
    scale, shift = modulation.chunk(2, dim=1)
    h = self.out_layers[0](self.in_layers[2](h)) * (1 + scale) + shift
    for layer in self.out_layers[1:]:
      h = layer(h)
    return self.skip_connection(_resampled(x, self.scale)) + h


class Attention(nn.Module):
  """Attention of every pixel to every pixel."""

  def __init__(self, channels: int, heads: int):
    super().__init__()
    self.heads = heads
    self.norm = _norm(channels)
    self.qkv = nn.Conv1d(channels, 3 * channels, 1)
    self.proj_out = nn.Conv1d(channels, channels, 1)

  def forward(self, x):
    parts = self.qkv(self.norm(x).flatten(2))
    parts = parts.unflatten(1, (self.heads, 3, -1)).permute(2, 0, 1, 4, 3)
    h = functional.scaled_dot_product_attention(*parts)
    return x + self.proj_out(h.mT.flatten(1, 2)).view_as(x)


class Down(nn.Module):
  """Halves the resolution."""

  def __init__(self, channels: int):
    super().__init__()
    self.op = _convolution(channels, channels, 2)

  def forward(self, x):
    return self.op(x)


class Up(nn.Module):
  """Doubles the resolution."""

  def __init__(self, channels: int):
    super().__init__()
    self.conv = _convolution(channels, channels)

  def forward(self, x):
    return self.conv(_resampled(x, 2))


def _through(steps, x, embedding):
  for step in steps:
    x = step(x, embedding) if isinstance(step, Residual) else step(x)
  return x


def _resampled(x, scale: float):
  if scale == 1:
    return x
  if scale < 1:
    return functional.avg_pool2d(x, 2)
  return functional.interpolate(x, scale_factor=2, mode='nearest')


def _waves(times, width: int):
  half = width // 2
  frequencies = np.exp(-np.log(10_000) * np.arange(half) / half)
  frequencies = torch.from_numpy(frequencies.astype(np.float32))
  angles = times[:, None] * frequencies.to(times.device)
  return torch.cat([angles.cos(), angles.sin()], dim=1)


def _norm(channels: int):
  return nn.GroupNorm(32, channels)


def _convolution(inputs: int, outputs: int, stride: int = 1):
  return nn.Conv2d(inputs, outputs, 3, stride, padding=1)
