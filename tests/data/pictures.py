"""Folders of small pictures, and data sets of them, for tests to read."""

import io
import json
import pathlib
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from dualrs_jax.data.crc32c import masked_crc32c


def pixels(
  label: int, number: int, height: int = 9, width: int = 7, channels: int = 3
) -> np.ndarray:
  """An image; its class shows in its brightness."""
  rng = np.random.default_rng([label, number])
  noise = rng.integers(0, 60, (height, width, channels))
  image = (noise + 30 + 40 * (label % 5)).astype(np.uint8)
  return image[..., 0] if channels == 1 else image


def write_folder(
  root: pathlib.Path,
  counts: Mapping[str, int],
  *,
  suffix: str = '.png',
  **shape: int,
) -> pathlib.Path:
  """Writes `root/<class>/<number>`, with that many images of each class."""
  for label, (name, count) in enumerate(counts.items()):
    (root / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
      image = Image.fromarray(pixels(label, number, **shape))
      options = {'lossless': True} if suffix == '.webp' else {}
      image.save(root / name / f'{number}{suffix}', **options)
  return root


def write_arrays(
  path: pathlib.Path, counts: Sequence[int], **shape: int
) -> pathlib.Path:
  """Writes an `.npz` with that many images of each class."""
  pairs = [(k, n) for n in range(max(counts)) for k in range(len(counts))]
  pairs = [(label, n) for label, n in pairs if n < counts[label]]
  path.parent.mkdir(parents=True, exist_ok=True)
  np.savez(
    path,
    images=np.stack([pixels(label, n, **shape) for label, n in pairs]),
    labels=np.array([label for label, _ in pairs]),
  )
  return path


def prepare(
  folder: pathlib.Path,
  name: str,
  splits: Mapping[str, int],
  *,
  classes: int = 3,
  image: str = 'image',
  label: str = 'label',
  declared: tuple[int | None, ...] | None = None,
  form: str = 'array_record',
  **shape: int,
) -> pathlib.Path:
  """Has tensorflow-datasets prepare a data set, as `tfds build` would.

  It writes array_record without TensorFlow; what is TFRECORD is made of that.
  """
  import tensorflow_datasets as tfds

  shape = {'height': 9, 'width': 7, 'channels': 3} | shape

  def encoded(kind, number):
    file = io.BytesIO()
    Image.fromarray(pixels(kind, number, **shape)).save(file, 'PNG')
    file.seek(0)
    return file

  def info(self):
    features = {
      image: tfds.features.Image(shape=declared or tuple(shape.values())),
      label: tfds.features.ClassLabel(
        names=[f'kind {k}' for k in range(classes)]
      ),
      'remark': tfds.features.Text(),
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def examples(self, count):
    for number in range(count):
      kind = number % classes
      picture = encoded(kind, number)
      yield number, {image: picture, label: kind, 'remark': 'drawn'}

  with tfds.core.registered.skip_registration():
    kind = type(
      ''.join(part.capitalize() for part in name.split('_')),
      (tfds.core.GeneratorBasedBuilder,),
      {
        'VERSION': tfds.core.Version('1.0.0'),
        '_info': info,
        '_split_generators': lambda self, _: {
          split: self._generate_examples(count)
          for split, count in splits.items()
        },
        '_generate_examples': examples,
      },
    )
  kind(data_dir=str(folder), file_format='array_record').download_and_prepare()
  version = folder / name / '1.0.0'
  if form == 'tfrecord':
    _to_tfrecord(version)
  return version


def _to_tfrecord(version: pathlib.Path) -> None:
  from dualrs_jax.data.record_files import FORMS

  for path in version.glob('*array_record*'):
    to = path.with_name(path.name.replace('array_record', 'tfrecord'))
    with to.open('wb') as file:
      for _, record in FORMS['array_record'].scan(path):
        for part in (struct.pack('<Q', len(record)), record):
          file.write(part + struct.pack('<I', masked_crc32c(part)))
    path.unlink()
  path = version / 'dataset_info.json'
  described = json.loads(path.read_text())
  path.write_text(json.dumps(described | {'fileFormat': 'tfrecord'}))
