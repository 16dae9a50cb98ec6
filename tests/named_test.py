"""Things of the user's own by name: found, or refused in a sentence."""

import sys

import pytest

from dualrs_jax import named

FILE = """
import math

class Net:
  pass

def make():
  return Net()
"""


@pytest.fixture
def file(tmp_path):
  path = tmp_path / 'nets.py'
  path.write_text(FILE)
  return path


@pytest.fixture
def package(tmp_path, monkeypatch):
  """A module that Python can import, and one that imports what is not there."""
  (tmp_path / 'theirs').mkdir()
  (tmp_path / 'theirs' / '__init__.py').write_text('')
  (tmp_path / 'theirs' / 'nets.py').write_text(FILE)
  (tmp_path / 'theirs' / 'broken.py').write_text('import no_such_thing')
  (tmp_path / 'theirs' / 'raises.py').write_text('1 / 0')
  monkeypatch.syspath_prepend(tmp_path)
  yield
  for name in [name for name in sys.modules if name.startswith('theirs')]:
    del sys.modules[name]


def test_a_file_is_one_module_however_it_is_written(file, monkeypatch):
  monkeypatch.chdir(file.parent)
  kind = named.attribute(f'{file}:Net')
  assert named.attribute('nets.py:Net') is kind
  assert named.attribute('../' + file.parent.name + '/nets.py:Net') is kind
  assert isinstance(named.attribute('nets.py:make')(), kind)
  assert sys.modules[kind.__module__] is named.module('nets.py')


def test_the_home_directory_is_meant_by_a_tilde(file, monkeypatch):
  monkeypatch.setenv('HOME', str(file.parent))
  assert named.attribute('~/nets.py:Net') is named.attribute(f'{file}:Net')


def test_files_of_one_name_are_not_confused(tmp_path):
  for folder in ('a', 'b'):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / 'nets.py').write_text(f'name = {folder!r}')
  for folder in ('a', 'b'):
    assert named.attribute(f'{tmp_path}/{folder}/nets.py:name') == folder


@pytest.mark.usefixtures('package')
def test_a_module_that_can_be_imported():
  import theirs.nets  # type: ignore

  assert named.attribute('theirs.nets:Net') is theirs.nets.Net


@pytest.mark.usefixtures('package')
@pytest.mark.parametrize(
  ('reference', 'message'),
  [
    ('no_such:Net', "there is no module 'no_such', of 'no_such': install it"),
    ('theirs.no:Net', "there is no module 'theirs.no', of 'theirs.no'"),
    ('no_such.nets:Net', "there is no module 'no_such', of 'no_such.nets'"),
    ('theirs.broken:Net', 'importing theirs.broken raised ModuleNotFoundErr'),
    ('theirs.raises:Net', 'importing theirs.raises raised ZeroDivisionError'),
    ('theirs.nets:Ner', "theirs.nets has no 'Ner'; did you mean 'Net'?"),
    ('theirs.nets:', "'theirs.nets:' names nothing: write my_package"),
    (':Net', "':Net' names nothing"),
    ('theirs.nets:a b', 'names nothing'),
    ('no/such.py:Net', r'there is no file no/such.py \(in full /'),
  ],
)
def test_what_is_not_there(reference, message):
  with pytest.raises(ValueError, match=message):
    named.attribute(reference)


def test_a_file_that_fails_leaves_no_half_of_a_module(tmp_path):
  path = tmp_path / 'nets.py'
  path.write_text('Net = 1\nraise RuntimeError("no")')
  for _ in range(2):
    with pytest.raises(ValueError, match='nets.py raised RuntimeError: no'):
      named.attribute(f'{path}:Net')
  path.write_text('Net = 2')
  assert named.attribute(f'{path}:Net') == 2


def test_the_hash_changes_with_the_file_and_not_with_its_folder(tmp_path):
  hashes = []
  for folder, text in (('a', FILE), ('b', FILE), ('c', FILE + '# more')):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / 'nets.py').write_text(text)
    hashes.append(named.source_hash(f'{tmp_path}/{folder}/nets.py:Net'))
  assert hashes[0] == hashes[1] != hashes[2]
  assert named.source_hash('sys:path') is None
