"""How fast images come from disk, and whether an accelerator would wait.

  python -m benchmarks.data_loading --output benchmarks/results/data-NAME.md

Images of 500 x 375 pixels, the most common size in ImageNet, are drawn at
random, blurred until their JPEG files are about as large as ImageNet's (110
kB), and written in both forms of tensorflow-datasets. Measured are:

* per second of one core, so that other work on the machine does not matter
  much: the pass that finds the published order, made once per data set, and
  the part of it that compares checksums; decoding of the view that is
  certified, and of a random one;
* `loader.batches` of random views with growing numbers of workers, consumed as
  fast as they come; and by a program that sleeps between two batches for 1.25
  times as long as one of them took then, as one does that waits for an
  accelerator: the share of its time that it waits for data. The best of some
  alternating rounds;
* CIFAR-10: seconds of one core until 10,000 images are in memory.

The files are in the system's cache when they are read: disks are not measured.
"""

import argparse
import functools
import io
import itertools
import json
import os
import pathlib
import platform
import struct
import tarfile
import tempfile
import time

import numpy as np
import PIL
import tensorflow_datasets as tfds
from array_record.python import array_record_module  # pyright: ignore
from PIL import Image, ImageFilter, features

from dualrs_jax import data, folders
from dualrs_jax.data import loader, prepared, record_index
from dualrs_jax.data.crc32c import masked_crc32c
from dualrs_jax.data.record_files import FORMS

#: Data sets in the real formats; what is written here takes over all but the
#: records.
DRAWINGS = pathlib.Path(__file__).parents[1] / 'tests' / 'data' / 'drawings'
CPU = time.process_time


def write(folder, name, split, examples):
  """Writes examples in both forms, as one file of a prepared data set each."""
  parser = tfds.builder_from_directory(model('tfrecord', name)).info.features
  assert parser
  records = [
    parser.serialize_example(parser.encode_example(example))  # pyright: ignore
    for example in examples
  ]
  for form in FORMS:
    source = model(form, name)
    target = folder / form / name / source.name
    target.mkdir(parents=True)
    for file in (*source.glob('*.json'), *source.glob('*.txt')):
      (target / file.name).write_text(file.read_text())
    info = json.loads((source / 'dataset_info.json').read_text())
    info['splits'] = [s for s in info['splits'] if s['name'] == split]
    info['splits'][0]['shardLengths'] = [str(len(records))]
    (target / 'dataset_info.json').write_text(json.dumps(info))
    path = target / f'{name}-{split}.{form}-00000-of-00001'
    {'array_record': write_array_record, 'tfrecord': write_tfrecord}[form](
      path, records
    )


def model(form, name):
  [version] = (DRAWINGS / form / name).iterdir()
  return version


def write_array_record(path, records):
  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for record in records:
    writer.write(record)
  writer.close()


def write_tfrecord(path, records):
  with path.open('wb') as file:
    for record in records:
      for part in (struct.pack('<Q', len(record)), record):
        file.write(part + struct.pack('<I', masked_crc32c(part)))


def photographs(count, rng):
  for number in range(count):
    noise = Image.fromarray(rng.integers(0, 256, (375, 500, 3), np.uint8))
    content = io.BytesIO()
    noise.filter(ImageFilter.GaussianBlur(0.75)).save(
      content, 'JPEG', quality=85
    )
    yield {
      'image': io.BytesIO(content.getvalue()),
      'label': number % 1000,
      'file_name': f'ILSVRC2012_val_{number:08d}.JPEG',
    }


def small_images(count, rng):
  for number in range(count):
    yield {
      'image': rng.integers(0, 256, (32, 32, 3), np.uint8),
      'label': number % 10,
      'id': f'test_{number:05d}',
    }


def as_png(example):
  content = io.BytesIO()
  Image.fromarray(example['image']).save(content, 'PNG')
  return example | {'image': io.BytesIO(content.getvalue())}


def write_archive(path, examples):
  content = b''.join(
    bytes([example['label']]) + example['image'].transpose(2, 0, 1).tobytes()
    for example in examples
  )
  path.parent.mkdir()
  with tarfile.open(path, 'w:gz') as archive:
    member = tarfile.TarInfo('cifar-10-batches-bin/test_batch.bin')
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def seconds(function, clock=time.perf_counter):
  start = clock()
  function()
  return clock() - start


def of_reading(folder, images):
  """Rows of the first table: what is done, and images per core and second."""
  for form in FORMS:
    path = prepared.find('imagenet2012', folder / form)
    assert path
    files = prepared.open_split(
      path, 'validation', needs=['file_name'], num_classes=1000
    )
    took = seconds(functools.partial(record_index.build, files), CPU)
    yield f'index, {form}', images / took
    if form == 'tfrecord':  # array_record compares within its library
      records = [record for _, record in FORMS[form].scan(files.paths[0])]
      compare = functools.partial(list, map(masked_crc32c, records))
      took = seconds(compare, CPU)
      yield 'checksums alone, tfrecord', images / took
  some = np.arange(min(100, images))
  for form in FORMS:
    source = data.load('imagenet', 'test', data_dir=str(folder / form))
    for name, stream in (('certified', None), ('random', (0, 0))):
      gather = functools.partial(source.gather, some, stream=stream)
      yield f'{name} view, {form}', len(some) / seconds(gather, CPU)


def of_loading(source, workers, batch_size, count, busy):
  """Seconds per batch, and the share of them spent waiting for it."""
  rng = np.random.default_rng(0)
  order = (
    loader.Request(rng.integers(len(source), size=batch_size), (0, number))
    for number in itertools.count()
  )
  batches = loader.batches(source, order, workers=workers)
  for _ in range(4):  # until the workers have started, and are as far ahead
    next(batches)
    time.sleep(busy)
  waited, start = 0.0, time.perf_counter()
  for _ in range(count):
    waited += seconds(lambda: next(batches))
    time.sleep(busy)
  total = time.perf_counter() - start
  batches.close()
  return total / count, waited / total


def measure(folder, options):
  """Yields the lines of the report."""
  rng = np.random.default_rng(0)
  write(folder, 'imagenet2012', 'validation', photographs(options.images, rng))
  yield from ('| ImageNet | images per second of one core |', '|---|---|')
  for name, value in of_reading(folder, options.images):
    yield f'| {name} | {value:,.0f} |'
  yield from (
    '',
    '| workers | images/s | of its time a busy consumer waits, % |',
    '|---|---|---|',
  )
  where = str(folder / options.form)
  source = data.load('imagenet', 'test', data_dir=where)
  size = options.batch_size
  best = dict.fromkeys(options.workers, (0.0, 1.0))
  for workers in options.workers * options.rounds:
    each, _ = of_loading(source, workers, size, options.batches, 0)
    busy = 1.25 * each
    _, waiting = of_loading(source, workers, size, options.batches, busy)
    rate, share = best[workers]
    best[workers] = max(rate, size / each), min(share, waiting)
  for workers, (rate, waiting) in best.items():
    yield f'| {workers} | {rate:,.0f} | {100 * waiting:.1f} |'
  yield from (
    '',
    '| CIFAR-10, 10,000 images | seconds of one core |',
    '|---|---|',
  )
  small = list(small_images(10_000, rng))
  write(folder, 'cifar10', 'test', map(as_png, small))
  write_archive(folder / 'archive' / 'cifar-10-binary.tar.gz', small)
  for form in (*FORMS, 'archive'):
    load = functools.partial(
      data.load, 'cifar10', 'test', data_dir=str(folder / form)
    )
    took = seconds(load, CPU)
    yield f'| {form} | {took:.2f} |'


def main():
  parser = argparse.ArgumentParser(description='How fast images come from disk')
  parser.add_argument('--images', type=int, default=400)
  parser.add_argument('--batch_size', type=int, default=64)
  parser.add_argument('--batches', type=int, default=20)
  parser.add_argument('--rounds', type=int, default=4)
  parser.add_argument('--workers', type=int, nargs='+', default=[0, 1, 2])
  parser.add_argument('--form', choices=[*FORMS], default='tfrecord')
  parser.add_argument('--output', type=folders.expand)
  options = parser.parse_args()
  lines = [
    '# Loading of data',
    '',
    f'{os.cpu_count()} CPU cores ({platform.machine()}), Python'
    f' {platform.python_version()}, Pillow {PIL.__version__}'
    f' (libjpeg-turbo {features.version("libjpeg_turbo")}). Batches of'
    f' {options.batch_size}, form {options.form}; load of the machine before'
    f' the run: {os.getloadavg()[0]:.1f}.',
    '',
  ]
  with tempfile.TemporaryDirectory() as folder:
    os.environ['XDG_CACHE_HOME'] = folder
    for line in measure(pathlib.Path(folder), options):
      lines.append(line)
      print(line, flush=True)
  if options.output:
    options.output.write_text('\n'.join(lines) + '\n')


if __name__ == '__main__':
  main()
