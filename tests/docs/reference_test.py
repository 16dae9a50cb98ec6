"""What the reference is made of; that a name is there once, the build says."""

import math_core
import pytest

import dualrs_jax
from docs.extensions import docstrings, mathml, public, reference, shapes


def test_every_public_name_is_documented():
  assert reference.undocumented() == []


def test_the_library_is_what_the_door_offers():
  names = {name.rpartition('.')[2] for name in public.door()}
  assert names == set(dualrs_jax._HOMES)
  page = (public.ROOT / 'docs' / 'reference' / 'library.md').read_text()
  shown = [
    name
    for kind, lines in reference.FENCE.findall(page)
    for name in lines.split()
    if kind == 'library'
  ]
  assert sorted(shown) == sorted(names)


@pytest.mark.parametrize(
  ('annotation', 'words'),
  [
    ("Float[Array | np.ndarray, '*image']", 'float array [*image]'),
    ('Float[Array, batch * image]', 'float JAX array [batch *image]'),
    (
      "Int[np.ndarray, ''] | Sequence[Float[Array, ' levels']]",
      'integer NumPy array, a scalar | Sequence[float JAX array [levels]]',
    ),
    ('Mapping[str, int]', 'Mapping[str, int]'),
  ],
)
def test_shapes_in_words(annotation, words):
  assert shapes.words(annotation) == words


def test_an_entry_has_its_guarantee_and_its_shapes():
  entry = docstrings.of_the_library('certify_dual')
  assert '{py:function} certify_dual(estimator, classifier,' in entry
  assert ':::{admonition} Guarantee' in entry
  assert 'With probability at least 1 - alpha' in entry
  assert r'`image` float array \[\*image]' in entry
  methods = docstrings.of_the_library('Classifier')
  assert "images: '§float JAX array [batch *image]'" not in methods
  assert '{py:method} __call__' not in methods


def test_formulas():
  text = mathml.markup(r'\hat B_k \le \overline q \tag{3}', block=True)
  assert 'display="block"' in text
  assert '(3)' in text
  with pytest.raises(math_core.LatexError, match='nonsense'):
    mathml.markup(r'\nonsense', block=False)
