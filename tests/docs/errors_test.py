"""Messages that a user meets are on the page of messages."""

import ast
import re

import jax
import numpy as np
import pytest

import dualrs_jax as drs
from docs.extensions import errors
from dualrs_jax import data, validation
from dualrs_jax.models import create

CLASSIFIER = drs.ignore_sigma(lambda x: x.reshape(len(x), -1)[:, :2])
OPTIONS = {'n0': 10, 'n': 100, 'alpha': 0.001, 'chunk_size': 10}


def certify(image, key, **options):
  drs.certify(CLASSIFIER, image, 0.5, key, **OPTIONS | options)


@pytest.mark.parametrize(
  ('module', 'refused'),
  [
    ('confidence', lambda: certify(np.zeros(4), jax.random.key(0), n=3)),
    ('validation', lambda: certify(np.full(4, 9.0), jax.random.key(0))),
    ('validation', lambda: validation.as_votes('n', 'many')),
    ('data', lambda: data.load('cifar', 'test')),
    (
      'models',
      lambda: create('cnnn', num_classes=2, image_shape=(8, 8, 1), seed=0),
    ),
  ],
)
def test_messages_are_found_by_their_words(module, refused):
  with pytest.raises((ValueError, TypeError)) as caught:
    refused()
  found = [s.text for s in errors.sentences() if s.matches(str(caught.value))]
  assert found, caught.value
  assert any(
    s.text in found and s.module.startswith(f'dualrs_jax.{module}')
    for s in errors.sentences()
  )
  words = errors._escaped(max(found, key=len))
  assert words in errors.markdown()


def test_every_refusal_with_words_has_a_sentence():
  """Others pass on an error that was raised elsewhere, or one of the system."""
  known = {(s.module, s.line) for s in errors.sentences()}
  assert len(known) > 300
  for module, tree in errors._trees().items():
    for node in ast.walk(tree):
      if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        words = [
          part.value
          for part in ast.walk(node.exc)
          if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        if re.search('[a-z]{3} [a-z]', ' '.join(words)):
          assert (module, node.exc.lineno) in known, ast.unparse(node)


def test_blanks_and_choices():
  source = (
    'def f(a, b):\n'
    "  kind = 'large' if a else f'small ({b})'\n"
    "  raise ValueError(f'{a!r} is too {kind}' + ' for this')\n"
  )
  [function] = ast.parse(source).body
  found = [text for _, text in errors._of_module(function, set())]
  assert found == [
    '‹a› is too large for this',
    '‹a› is too small (‹b›) for this',
  ]
  sentence = errors.Sentence('m', 1, found[1])
  assert sentence.matches('[1, 2] is too small (7) for this')
  assert not sentence.matches('[1, 2] is too large for this')
