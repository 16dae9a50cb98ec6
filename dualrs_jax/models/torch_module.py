"""PyTorch modules as functions of NumPy images, as they come."""

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float


def is_module(thing: Any) -> bool:
  """Whether something is a PyTorch module; PyTorch is not imported for it."""
  torch = sys.modules.get('torch')
  return torch is not None and isinstance(thing, torch.nn.Module)


@dataclasses.dataclass(frozen=True, eq=False)
class TorchFunction:
  """A PyTorch module, called with NumPy images; see `torch_function`.

  Attributes:
    module: The module, in inference mode.
    mean: What is subtracted from images, per channel.
    deviation: What they are divided by, per channel.
    place: A tensor on the device of the module.
  """

  module: Any
  mean: Any
  deviation: Any
  place: Any

  @property
  def __name__(self) -> str:
    return type(self.module).__name__

  @property
  def where(self) -> str:
    """The version of PyTorch and the kind of device, for records."""
    torch = sys.modules['torch']
    device = self.place.device
    kind = device.type
    if kind == 'cuda':
      kind = torch.cuda.get_device_name(device)
    return f'PyTorch {torch.__version__}, {kind}'

  def __call__(
    self, images: Float[np.ndarray, 'batch *image']
  ) -> Float[np.ndarray, 'batch classes']:
    """Logits of images in [0, 1] plus noise, channels last."""
    torch = sys.modules['torch']
    with torch.inference_mode():
      batch = torch.from_numpy(images).to(self.place)
      batch = batch.sub_(self.mean).div_(self.deviation)
      if batch.ndim == 4:
        batch = batch.permute(0, 3, 1, 2).contiguous()
      found = self.module(batch)
      logits = getattr(found, 'logits', found)
      return logits.float().numpy(force=True)

  def fingerprint(self) -> str:
    """A text that changes with the architecture, weights and normalisation."""
    torch = sys.modules['torch']
    scales = [self.mean.tolist(), self.deviation.tolist()]
    digest = hashlib.sha256(f'{self.module} {scales}'.encode())
    for name, tensor in self.module.state_dict().items():
      if not isinstance(tensor, torch.Tensor):  # what a module adds of its own
        digest.update(f'{name} {tensor!r}'.encode())
        continue
      digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
      flat = tensor.detach().cpu().contiguous().reshape(-1)
      digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def torch_function(
  module: Any,
  *,
  mean: Sequence[float] = (0.0,),
  deviation: Sequence[float] = (1.0,),
) -> TorchFunction:
  """A PyTorch classifier as a function for `host_classifier`.

  The module is put into evaluation mode and called under
  `torch.inference_mode`, on the device where its parameters are, in their
  precision. It is given images [batch, channels, height, width] as PyTorch has
  them; what is not of this shape is passed as it is. Of what it returns the
  field `logits` is taken, where there is one.

  Args:
    module: A `torch.nn.Module`, from images to logits.
    mean: Is subtracted from images in [0, 1], per channel, or one for all.
    deviation: Divides them after that.

  Raises:
    ValueError: If it is no module, or mean and deviation are no numbers.
  """
  if not is_module(module):
    raise ValueError(
      f'torch_function takes a torch.nn.Module, not a {type(module).__name__}'
    )
  torch = sys.modules['torch']
  scales = [np.asarray(values, np.float32) for values in (mean, deviation)]
  if (
    not all(np.isfinite(scale).all() for scale in scales) or not scales[1].all()
  ):
    raise ValueError(
      'mean and deviation are finite numbers, and no deviation is 0, unlike'
      f' {tuple(mean)} and {tuple(deviation)}'
    )
  module.eval()
  floating = [p for p in module.parameters() if p.is_floating_point()]
  like = floating[0] if floating else torch.zeros(())
  place = torch.zeros((), dtype=like.dtype, device=like.device)
  mean, deviation = (torch.from_numpy(scale).to(place) for scale in scales)
  return TorchFunction(module, mean, deviation, place)
