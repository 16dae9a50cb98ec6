"""The examples run, and what they print beside the truth is below it."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / 'examples'


def load(name: str):
  spec = importlib.util.spec_from_file_location(name, EXAMPLES / f'{name}.py')
  assert spec
  assert spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_half_space(capsys):
  radii = load('half_space').main()
  truth = radii.pop('true')
  assert all(0 < radius <= truth for radius in radii.values())
  assert radii['paper'] <= radii['minimum'] <= 0.1  # the estimator's boundary
  assert radii['agreement'] > 0.95 * truth
  printed = capsys.readouterr().out.splitlines()
  assert len(printed) == 1 + len(radii)


def test_batch(capsys):
  example = load('batch')
  np.testing.assert_allclose(
    example.true_radii(np.array([[0.9, 0.3, 0.2]])), 0.6 / np.sqrt(2)
  )
  truth = example.true_radii(example.IMAGES)
  labels = example.IMAGES.argmax(axis=-1)
  for _, answer in example.main():
    certified = np.asarray(answer.prediction) >= 0
    assert certified.sum() > len(labels) / 2
    np.testing.assert_array_equal(
      np.asarray(answer.prediction)[certified], labels[certified]
    )
    assert np.all(np.asarray(answer.radius) <= truth)
  assert len(capsys.readouterr().out.splitlines()) == 1 + len(labels)


def test_experts(capsys):
  example = load('experts')
  answers = example.main()
  boundary = np.abs(np.asarray(example.IMAGES)[:, 1] - 0.5)
  for answer, label, truth in zip(
    answers, example.LABELS, boundary, strict=True
  ):
    assert int(answer.prediction) == label
    assert 0.5 * truth < float(answer.radius) <= truth
  assert [int(answer.sigma_index) for answer in answers] == [0, 0, 1, 1]
  assert len(capsys.readouterr().out.splitlines()) == len(answers)


def test_numpy_model():
  answer, labels = load('numpy_model').main()
  assert answer.radius.shape == labels.shape
  assert isinstance(answer.radius, np.ndarray)
  right = answer.prediction == labels
  assert right.mean() > 0.5
  assert np.all(answer.radius[right] > 0)


def test_transformations(capsys):
  example = load('transformations')
  found = example.main()
  assert len(found) == len(example.WAYS) == 5
  first = found.pop('one_by_one')
  assert (np.asarray(first.radius) > 0).sum() > len(first.radius) / 2
  for name, answer in found.items():
    for one, other in zip(
      jax.tree.leaves(first), jax.tree.leaves(answer), strict=True
    ):
      np.testing.assert_array_equal(one, other, err_msg=name)
  assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.parametrize('path', sorted(EXAMPLES.glob('*.py')), ids=str)
def test_every_example_is_tested(path):
  assert f'def test_{path.stem}(' in pathlib.Path(__file__).read_text()
