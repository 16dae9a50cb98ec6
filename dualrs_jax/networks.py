"""Networks as a configuration describes them: fresh, converted, or denoised.

A description is a plain mapping. `{'name': 'cnn', ...sizes}` is a fresh network
of that architecture, or of a class of the user's own that `name` says where to
find, as in `path/to/file.py:MyNet`; `{'pretrained': FOLDER}` is what
`python -m dualrs_jax.pretrained` left in a folder, or a stage of a training in
its folder of checkpoints, with `name` beside it where its class is in a file
of the user's own; `{'experts': (FOLDER, ...)}` is one such network for each
noise level. `{'functions': (reference, ...)}` is
what the user's own functions return, PyTorch modules or functions of NumPy
images, see `models.hosted`: one for all levels, or one for each. An option
`dtype` is that of the activations, and `size` the height and width at which
denoised images are seen.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from dualrs_jax import denoising, diffusion, host, models, named
from dualrs_jax.pretrained import converted, trained


def create(
  description: Mapping[str, Any],
  *,
  num_classes: int,
  image_shape: tuple[int, int, int],
  seed: int,
) -> Any:
  """A network without its front, where its training starts.

  Args:
    description: of the network, see the module.
    num_classes: number of logits.
    image_shape: height, width and channels of the images of the data set.
    seed: of the weights of a fresh network.

  Returns:
    A Flax NNX module, in training mode if it has one; with 'experts' a tuple
    of them, for inference; with 'functions' a host classifier, or a tuple.

  Raises:
    ValueError: a folder holds no converted model, a model has another number
      of classes or takes other images, or sizes do not fit together.
    CheckpointError: the weights in a folder are damaged.
  """
  options = dict(description)
  side = options.pop('size', None)
  if side is not None:
    image_shape = (side, side, image_shape[-1])
  expected = {'num_classes': num_classes, 'image_shape': image_shape}
  if 'functions' in options:
    hosts = models.hosted.create(options, num_classes=num_classes)
    first, *others = hosts
    return hosts if others else first
  if 'experts' in options:
    return tuple(
      _from_folder(folder, expected, options) for folder in options['experts']
    )
  if 'pretrained' in options:
    return nnx.view(
      _from_folder(options['pretrained'], expected, options),
      deterministic=False,
      use_running_average=False,
      raise_if_not_found=False,
    )
  return models.create(**options, **expected, seed=seed)


def inference_view(network: Any) -> Any:
  """`models.inference_view` of a network, or of each expert of a tuple."""
  if isinstance(network, tuple):
    return tuple(map(inference_view, network))
  if isinstance(network, host.HostClassifier):
    return network
  return models.inference_view(network)


def denoiser(description: Mapping[str, Any]) -> denoising.Denoiser | None:
  """A diffusion model that denoises, or None.

  Args:
    description: `{'pretrained': FOLDER, 'schedule': name, 'steps': of it,
      'dtype': of the activations}`, see `diffusion.Schedule.named`; empty for
      none.

  Raises:
    ValueError: the folder holds no diffusion model, or the schedule is unknown.
    CheckpointError: the weights in the folder are damaged.
  """
  if not description:
    return None
  schedule = diffusion.Schedule.named(
    description['schedule'], description['steps']
  )
  folder = description['pretrained']
  network = converted.load(folder, dtype=jnp.dtype(description['dtype']))
  if not isinstance(network, models.DiffusionUNet):
    raise ValueError(f'{folder} holds no diffusion model')
  return denoising.Denoiser(network, schedule)


def front(
  denoiser: denoising.Denoiser | None, description: Mapping[str, Any]
) -> denoising.Front:
  """What stands before a network; two networks may share the denoiser.

  Args:
    denoiser: see `denoiser`.
    description: of the network, see the module.

  Raises:
    ValueError: a size is given where nothing is denoised.
  """
  side = description.get('size')
  if side is None:
    return denoising.Front(denoiser)
  if denoiser is None:
    raise ValueError(
      f'size = {side} is for denoised images, and there is no denoiser'
    )
  return denoising.Front(denoiser, (side, side))


def identity(description: Mapping[str, Any]) -> dict[str, Any]:
  """A description that does not change when folders move.

  Models that functions return are known by their weights.

  The file of a class of the user's own is known by its name without the folder;
  what it says is not compared, see `sources`. A folder is replaced by
  checksums of what its model was made of: the published weights, and the sizes
  with which they were read; or the weights that were trained here.
  """
  fields = dict(description)
  if 'functions' in fields:
    side = {name: fields.pop(name) for name in ('size',) if name in fields}
    return models.hosted.identity(fields) | side
  if 'name' in fields:
    fields['name'] = named.short(fields['name'])
  if 'pretrained' in fields:
    fields['pretrained'] = _origin(fields['pretrained'])
  if 'experts' in fields:
    fields['experts'] = [_origin(folder) for folder in fields['experts']]
  return fields


def sources(model: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
  """Hashes of the files with classes and functions of the user's own.

  Args:
    model: descriptions of networks by role.

  Returns:
    Hashes by the roles that have such a class. Empty for networks of this
    library, which its version says.
  """
  found = {}
  for role, description in model.items():
    if 'functions' in description:
      fields = {n: v for n, v in description.items() if n != 'size'}
      found[role] = models.hosted.source_hash(fields)
      continue
    name = _class(description)
    if named.is_reference(name):
      found[role] = named.source_hash(name)
  return found


def _class(description: Mapping[str, Any]) -> str:
  """The name of a network's class, or '' if it is converted."""
  for folder in _folders(description):
    if trained.is_trained(folder):
      name = description.get('name')
      return trained.describe(folder, name=name)['name']
  return description.get('name', '')


def _folders(description: Mapping[str, Any]) -> tuple[str, ...]:
  """The folders of the networks that a description takes from folders."""
  if 'pretrained' in description:
    return (description['pretrained'],)
  return tuple(description.get('experts', ()))


def untrained(description: Mapping[str, Any]) -> str:
  """What a description says of networks that are taken as they are, or ''."""
  return next((n for n in ('experts', 'functions') if n in description), '')


def experts(description: Mapping[str, Any]) -> int:
  """How many experts a description names, one per level; 0 for none."""
  if 'experts' in description:
    return len(description['experts'])
  names = description.get('functions', '')
  several = not isinstance(names, str) and len(names) > 1
  return len(names) if several else 0


def _origin(folder: str) -> str:
  if trained.is_trained(folder):
    name = trained.recorded(folder)['name']
    return f'{name} {trained.digest(folder)[:16]}'
  found = converted.describe(folder)
  sizes = json.dumps(found['sizes'], sort_keys=True).encode()
  digest = hashlib.sha256(sizes).hexdigest()
  return f'{found["architecture"]} {found["sha256"][:16]} {digest[:16]}'


def _from_folder(
  folder: str, expected: Mapping[str, Any], options: Mapping[str, Any]
) -> Any:
  if trained.is_trained(folder):
    return trained.load(
      folder,
      **expected,
      name=options.get('name'),
      dtype=options.get('dtype'),
    )
  found = converted.describe(folder)
  if found['architecture'] == 'diffusion_unet':
    raise ValueError(f'the model in {folder} is a diffusion model')
  sizes = found['sizes']
  for name, value in expected.items():
    if sizes.get(name) != value:
      raise ValueError(
        f'the model in {folder} has {name} {sizes.get(name)}, and here it'
        f' takes {value}'
      )
  dtype = jnp.dtype(options.get('dtype', 'float32'))
  return converted.load(folder, dtype=dtype)
