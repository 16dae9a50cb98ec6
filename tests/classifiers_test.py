"""The form of a classifier, and the width of its logits."""

import jax.numpy as jnp
import numpy as np
import pytest

from dualrs_jax import classifiers
from tests import oracles

IMAGE = oracles.image(4, 4, 1)


@pytest.mark.parametrize(
  'bad',
  [
    lambda images, sigma: images.sum(axis=(1, 2, 3)),
    lambda images, sigma: jnp.zeros((1, 5)),
    lambda images, sigma: jnp.zeros((images.shape[0], 0)),
    lambda images, sigma: (images, sigma),
  ],
)
def test_logits_of_a_wrong_shape(bad):
  with pytest.raises(ValueError, match=r'logits \[batch, classes\]'):
    classifiers.num_classes(bad, IMAGE, batch=2)


def test_an_image_of_another_shape_is_told_in_one_sentence():
  weights = jnp.ones((4, 3))

  def classifier(images, sigma):
    del sigma
    return images @ weights

  with pytest.raises(ValueError, match=r'fails on images of shape \(2, 5\)'):
    classifiers.num_classes(classifier, np.zeros(5, np.float32), batch=2)
