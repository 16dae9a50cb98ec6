"""A folder of images looked through, once: sizes, colours, what is broken.

Each image is decoded, so that all that are broken are told at once and before
anything is computed. What was found is kept in the user's cache, if there is
one, until a file of the folder is added, removed, or written again.
"""

import concurrent.futures
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tqdm
from jaxtyping import Bool, UInt64
from PIL import Image

from dualrs_jax import folders
from dualrs_jax.data import decoding, kept
from dualrs_jax.data.encoded_images import checksum
from dualrs_jax.data.folder_listing import Listing
from dualrs_jax.data.views import Sizes

#: How many broken files a message names.
_NAMED = 20

#: Modes of Pillow without colours.
_GREY = ('1', 'L', 'LA', 'La', 'I', 'I;16', 'I;16B', 'I;16L', 'I;16N')


class Survey(NamedTuple):
  """One entry for each file of a listing.

  Attributes:
    sizes: of the images, upright.
    grey: whether it has no colours.
    checksums: see `encoded_images.checksum`.
  """

  sizes: Sizes
  grey: Bool[np.ndarray, ' images']
  checksums: UInt64[np.ndarray, ' images']


def look_through(listing: Listing) -> Survey:
  """Decodes all images, or takes what is known of them.

  Raises:
    ValueError: images are broken, or have no definite colours; all of them are
      named, up to 20.
  """
  digest = _digest(listing)
  path = _place(listing.root)
  names = ('digest', 'heights', 'widths', 'grey', 'checksums')
  saved = None if path is None else kept.read(path, names)
  if saved is None or str(saved['digest']) != digest:
    saved = _found(listing)
    if path is not None:
      kept.write(path, {'digest': np.array(digest), **saved})
  return Survey(
    Sizes(saved['heights'], saved['widths']), saved['grey'], saved['checksums']
  )


def _found(listing: Listing) -> Mapping[str, np.ndarray]:
  def look(name: str) -> tuple[int, int, bool, int] | str:
    path = listing.root / name
    try:
      encoded = path.read_bytes()
      image = decoding.decode(encoded, str(path))
      grey = Image.open(io.BytesIO(encoded)).mode in _GREY
    except OSError as error:
      return f'{path} cannot be read ({error.strerror})'
    except ValueError as error:
      return str(error)
    width, height = image.size
    return height, width, grey, checksum(encoded)

  names = [file.name for file in listing.files]
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
    found = list(
      tqdm.tqdm(
        threads.map(look, names),
        desc=f'looking through {listing.root}, once',
        total=len(names),
        unit='image',
        delay=2,
      )
    )
  broken = [text for text in found if isinstance(text, str)]
  if broken:
    more = len(broken) - _NAMED
    told = '; '.join(broken[:_NAMED])
    raise ValueError(
      f'{len(broken)} of {len(names)} images cannot be used, so mend or remove'
      f' them: {told}' + (f'; and {more} more' if more > 0 else '')
    )
  columns = zip(
    *(row for row in found if not isinstance(row, str)), strict=True
  )
  heights, widths, grey, checksums = columns
  return {
    'heights': np.array(heights, np.int32),
    'widths': np.array(widths, np.int32),
    'grey': np.array(grey, bool),
    'checksums': np.array(checksums, np.uint64),
  }


def _digest(listing: Listing) -> str:
  """A text that changes with the files."""
  files = [(file.name, file.size, file.changed) for file in listing.files]
  return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _place(root: pathlib.Path) -> pathlib.Path | None:
  """The table of a folder, if there is a place for it."""
  cache = folders.cache()
  if cache is None:
    return None
  name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
  return cache / f'folder-{name}.npz'
