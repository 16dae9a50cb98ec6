"""What is known of a data set without reading it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dualrs_jax import data
from dualrs_jax.data import cifar10, digits, imagenet
from dualrs_jax.evaluation import run_settings
from dualrs_jax.training import checks


class Images(NamedTuple):
  """What is known of a data set without reading it.

  Attributes:
    train: Number of training images.
    validation: Number of images that measure training.
    certified: Number of images that `config.certify` is about.
    shape: Height, width and channels.
    classes: Number of classes.
  """

  train: int
  validation: int
  certified: int
  shape: tuple[int, int, int]
  classes: int


def of(
  options: Mapping[str, Any], split: str, *, start: int, stride: int, count: int
) -> Images:
  """Sizes of a data set, as it was published.

  Images of one's own are counted by loading them.

  Args:
    options: The field `data` of a configuration.
    split: Which one is certified.
    start: The first position in it.
    stride: From each position to the next.
    count: How many at most; 0 for all.
  """
  name, held_out = options['name'], options.get('held_out', 0)
  if name == 'digits':
    published = dict(digits.SPLIT_SIZES)
    published['train'] *= options['renderings']
    shape = (options['canvas'], options['canvas'], 1)
    classes = digits.NUM_CLASSES
  elif name in ('cifar10', 'imagenet'):
    module = cifar10 if name == 'cifar10' else imagenet
    published = {
      'train': module.PUBLISHED['train'][1] - held_out,
      'validation': held_out,
      'test': module.PUBLISHED['test'][1],
    }
    shape, classes = cifar10.SHAPE, cifar10.NUM_CLASSES
    if name == 'imagenet':
      shape, classes = (options['crop'], options['crop'], 3), 1000
  else:
    sources = {
      each: data.load(split=each, **data.chosen(options))
      for each in ('train', 'validation', split)
    }
    published = {each: len(source) for each, source in sources.items()}
    shape = sources['train'].image_shape
    classes = sources['train'].num_classes
  checks.choice('certify.split', split, published)
  chosen = run_settings.subset(
    published[split], start=start, stride=stride, count=count
  )
  return Images(
    published['train'], published['validation'], len(chosen), shape, classes
  )
