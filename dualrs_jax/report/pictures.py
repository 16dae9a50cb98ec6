"""Images as the network sees them, small enough for a page."""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from dualrs_jax import noise
from dualrs_jax.data import Source, to_unit
from dualrs_jax.evaluation import noises

#: Longest side of a picture; of larger images every second pixel is shown, or
#: every third ...: averages would hide the noise.
SIDE = 48
#: Values up to which a picture is PNG, which loses nothing: noise does not get
#: smaller.
_EXACT = 1600
_QUALITY = 55

#: Bytes that all pictures of a page may take.
BUDGET = 6_000_000


def levels(settings: Mapping[str, Any]) -> list[float]:
  """The noise levels at which an image is shown: all those of votes."""
  estimator = settings['estimator_sigma']
  extra = [] if estimator in (None, *settings['sigmas']) else [estimator]
  return [*settings['sigmas'], *extra]


def draw(
  source: Source, indices: Sequence[int], settings: Mapping[str, Any]
) -> Iterator[list[str]]:
  """Pictures of images: clean, and with the noise of their first vote.

  Args:
    source: The images.
    indices: Dataset indices of those to draw.
    settings: Those of the run, whose noise it is: that of estimation vote 0,
      at each of `levels`.

  Returns:
    For each image its pictures as data URIs, clamped to [0, 1].
  """
  position = {int(idx): at for at, idx in enumerate(source.indices)}
  sigmas = jnp.asarray(levels(settings), jnp.float32)
  key = jax.random.key(settings['seed'])
  sampler = noises.make(settings)
  for idx in indices:
    stored = source.gather(np.array([position[idx]]))[0]
    image = to_unit(stored)[0]
    image_key = noise.image_key(key, idx)
    yield [
      encode(np.asarray(picture))
      for picture in (image, *_copies(sampler, image_key, image, sigmas))
    ]


def within_budget(drawn: Iterable[Sequence[str]]) -> list[list[str]]:
  """The first pictures, as many images as `BUDGET` allows."""
  chosen, taken = [], 0
  for uris in drawn:
    taken += sum(map(len, uris))
    if taken > BUDGET:
      break
    chosen.append([*uris])
  return chosen


@jax.jit
def _copies(sampler, key, image, sigmas):
  """The image with the noise of its first estimation vote, at each level."""
  vote = noise.vote_key(key, noise.ESTIMATION, jnp.asarray(0))
  return jax.vmap(lambda sigma: sampler(vote, image, sigma))(sigmas)


def encode(image: Float[np.ndarray, 'height width channels']) -> str:
  """A picture as a data URI: PNG where that is small, and else WebP."""
  step = -(-max(image.shape[:2]) // SIDE)
  pixels = np.rint(255 * np.clip(image[::step, ::step], 0, 1)).astype(np.uint8)
  kind, options = 'png', {}
  if pixels.size > _EXACT:
    kind, options = 'webp', {'quality': _QUALITY, 'method': 1}
  file = io.BytesIO()
  Image.fromarray(pixels.squeeze()).save(file, kind, **options)
  text = base64.b64encode(file.getvalue()).decode()
  return f'data:image/{kind};base64,{text}'
