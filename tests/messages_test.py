"""Advice that can be followed: the options that messages name are there."""

import ast
import pathlib
import re

import pytest

from configs import cifar10, digits, imagenet, own

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = [
  *(ROOT / 'dualrs_jax').rglob('*.py'),
  *(ROOT / 'configs').glob('*.py'),
]
CONFIGS = [
  digits.get_config(),
  own.get_config(),
  *(m.get_config(v) for m in (cifar10, imagenet) for v in m.VARIANTS),
]
GROUPS = [name for name in CONFIGS[0] if hasattr(CONFIGS[0][name], 'keys')]


def messages(tree):
  """The texts of what a module raises, logs, prints, or ends with."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Raise | ast.Call):
      for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
          yield part.value


def flags():
  """Names of the flags that the programs define."""
  texts = '\n'.join(path.read_text() for path in FILES)
  defined = re.findall(r"DEFINE_\w+\(\s*'(\w+)'", texts)
  defined += re.findall(r"'--([\w-]+)',", texts)
  return {*defined, *(f'no{name}' for name in defined)}


FLAGS = flags() | {'config', 'no'}  # '--no' before the name of one
#: Of git, and of the program that prepares data sets.
OF_OTHERS = {
  *('always', 'dirty', 'abbrev', 'exclude', 'error-unmatch'),
  *('file_format', 'data_dir'),
}
FILE_TYPES = {'py', 'json', 'npz', 'tsv', 'pkl', 'safetensors', 'bin'}


def exists(field):
  for config in CONFIGS:
    value = config
    for name in field.split('.'):
      if not hasattr(value, 'keys') or name not in value:
        break
      value = value[name]
    else:
      return True
  return False


def named(text):
  """The fields and the flags that a text names."""
  fields = re.findall(r'--config\.([a-z]\w*(?:\.\w+)*)', text)
  fields += re.findall(
    rf'(?<![\w./-])((?:{"|".join(GROUPS)})\.[a-z_]\w*)\b(?!\()', text
  )
  fields = {f for f in fields if f.rpartition('.')[2] not in FILE_TYPES}
  return fields, set(re.findall(r'(?<![\w-])--([a-z][\w-]*)', text))


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_options_that_messages_name_exist(path):
  for text in messages(ast.parse(path.read_text())):
    fields, options = named(text)
    for field in fields:
      assert exists(field), text
    if 'report' not in path.parts:  # where properties of CSS look like flags
      assert options <= FLAGS | OF_OTHERS, text


def test_a_name_that_is_not_there_is_found():
  fields, options = named('choose certify.noize or --config.sigmaz, --mergee')
  assert fields == {'certify.noize', 'sigmaz'}
  assert not any(map(exists, fields))
  assert options - FLAGS == {'mergee'}
  assert exists('certify.noise')
  assert 'merge' in FLAGS
