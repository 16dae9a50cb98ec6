"""Any function of images: a scikit-learn model, arrays in and arrays out.

`certify_array` calls the model with NumPy arrays of one fixed shape, so it can
come from any framework. The data are the 8x8 digits of scikit-learn.

  python examples/numpy_model.py
"""

from typing import Any

import jax
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import dualrs_jax as drs

SIGMA = 0.25
NUM_TRAIN = 1_500
NUM_TEST = 20


def main() -> tuple[Any, np.ndarray]:
  """Prints certified accuracies; returns certificates and labels."""
  pixels, classes = load_digits(return_X_y=True)
  images = np.asarray(pixels, np.float32).reshape(-1, 8, 8) / 16  # in [0, 1]
  generator = np.random.default_rng(0)
  noisy = images + SIGMA * generator.standard_normal(images.shape)
  regression = LogisticRegression(C=0.1, max_iter=1_000).fit(
    noisy[:NUM_TRAIN].reshape(NUM_TRAIN, -1), classes[:NUM_TRAIN]
  )

  def model(batch: np.ndarray) -> np.ndarray:
    return regression.decision_function(batch.reshape(len(batch), -1))

  labels = classes[-NUM_TEST:]
  answer = drs.certify_array(
    model,
    images[-NUM_TEST:],
    SIGMA,
    jax.random.key(0),
    n0=100,
    n=1_000,
    alpha=0.001,
    chunk_size=1_100,
  )
  right = answer.prediction == labels
  for radius in (0.0, 0.25, 0.5):
    share = np.mean(right & (answer.radius >= radius))
    print(f'right and certified at {radius:.2f}: {share:.0%}')
  return answer, labels


if __name__ == '__main__':
  main()
