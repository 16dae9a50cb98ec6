"""Writes the drawings that stand in for CIFAR-10 and ImageNet in the tests.

  python3 -m venv scratch
  scratch/bin/pip install tensorflow tensorflow-datasets array_record \
    importlib_resources pillow
  scratch/bin/python tests/data/drawings/write.py

Hundreds of coloured shapes are packed as the published archives are, and go
through the builders of tensorflow-datasets, with TensorFlow, once for each
form on disk. So the files are what `tfds build` writes for the real data;
only the images are drawn. See README.md for what the tests rely on.
"""

import colorsys
import io
import pathlib
import shutil
import tarfile
import tempfile

import numpy as np
from PIL import Image, ImageDraw

HERE = pathlib.Path(__file__).parent
FORMS = ('array_record', 'tfrecord')
CIFAR_BATCHES = {f'data_batch_{n}.bin': 40 for n in range(1, 6)} | {
  'test_batch.bin': 100
}
IMAGENET_TRAIN, IMAGENET_VALIDATION = (10, 12), 80  # wnids and images of each


def draw(width, height, kind, kinds, rng):
  """A shape on a plain ground; its hue and form tell its kind."""

  def colour(hue, value):
    rgb = colorsys.hsv_to_rgb(hue % 1, 0.8, value)
    return tuple(round(255 * part) for part in rgb)

  hue = kind / kinds
  image = Image.new('RGB', (width, height), colour(hue + 0.5, 0.4))
  pen = ImageDraw.Draw(image)
  left, top = rng.uniform(0, 0.4, 2) * (width, height)
  right, bottom = (left, top) + rng.uniform(0.3, 0.6, 2) * (width, height)
  shape = pen.ellipse if kind % 2 else pen.rectangle
  shape((left, top, right, bottom), fill=colour(hue, rng.uniform(0.6, 1)))
  return image


def add(archive, name, content):
  member = tarfile.TarInfo(name)
  member.size = len(content)
  archive.addfile(member, io.BytesIO(content))


def write_cifar_archive(path):
  """The layout of https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz."""
  rng = np.random.default_rng(0)
  with tarfile.open(path, 'w:gz') as archive:
    names = ''.join(f'drawing of kind {kind}\n' for kind in range(10))
    add(archive, 'cifar-10-batches-bin/batches.meta.txt', names.encode())
    for name, count in CIFAR_BATCHES.items():
      records = []
      for label in rng.integers(0, 10, count):
        pixels = np.asarray(draw(32, 32, label, 10, rng))
        planes = pixels.transpose(2, 0, 1)
        records.append(bytes([label]) + planes.tobytes())
      add(archive, f'cifar-10-batches-bin/{name}', b''.join(records))


def jpeg(image):
  content = io.BytesIO()
  image.save(content, 'JPEG', quality=75, optimize=True)
  return content.getvalue()


def imagenet_drawing(kind, rng):
  width, height = rng.integers(24, 72, 2)
  return draw(int(width), int(height), kind, 10, rng)


def write_imagenet_archives(folder, wnids):
  """The layout of the two archives of https://image-net.org."""
  rng = np.random.default_rng(1)
  classes, images = IMAGENET_TRAIN
  with tarfile.open(folder / 'ILSVRC2012_img_train.tar', 'w') as archive:
    for kind, wnid in enumerate(wnids[:classes]):
      inner = io.BytesIO()
      with tarfile.open(fileobj=inner, mode='w') as of_class:
        # Numbers of different lengths: their order is that of the texts.
        for number in rng.choice(20_000, images, replace=False):
          content = jpeg(imagenet_drawing(kind, rng))
          add(of_class, f'{wnid}_{number}.JPEG', content)
      add(archive, f'{wnid}.tar', inner.getvalue())
  with tarfile.open(folder / 'ILSVRC2012_img_val.tar', 'w') as archive:
    for number in range(1, IMAGENET_VALIDATION + 1):
      drawing = imagenet_drawing(number % 10, rng)
      if number in (3, 4):  # as a few of the real ones are
        drawing = drawing.convert('L' if number == 3 else 'CMYK')
      name = f'ILSVRC2012_val_{number:08d}.JPEG'
      add(archive, name, jpeg(drawing))


class Unpacked:
  """In the place of the download manager: the archive is here."""

  def __init__(self, folder):
    self.folder = folder

  def download_and_extract(self, url):
    del url
    return self.folder


def main():
  import tensorflow_datasets as tfds

  wnids = tfds.builder('imagenet2012', data_dir='/none').info.features
  wnids = wnids['label'].names
  for name in (*FORMS, 'archive'):
    shutil.rmtree(HERE / name, ignore_errors=True)
  archive = HERE / 'archive' / 'cifar-10-binary.tar.gz'
  archive.parent.mkdir()
  write_cifar_archive(archive)
  with tempfile.TemporaryDirectory() as scratch:
    scratch = pathlib.Path(scratch)
    write_imagenet_archives(scratch, wnids)
    with tarfile.open(archive) as packed:
      packed.extractall(scratch, filter='data')
    for form in FORMS:
      options = {'data_dir': HERE / form, 'file_format': form}
      cifar = tfds.builder('cifar10', **options)
      generators = cifar._split_generators
      cifar._split_generators = lambda _, own=generators: own(Unpacked(scratch))
      imagenet = tfds.builder('imagenet2012', **options)
      for builder, shards in ((cifar, 1), (imagenet, 2)):
        builder.download_and_prepare(
          download_config=tfds.download.DownloadConfig(
            manual_dir=scratch, num_shards=shards
          )
        )
      shutil.rmtree(HERE / form / 'downloads', ignore_errors=True)


if __name__ == '__main__':
  main()
