"""The classifier's stages: which noise it is trained under."""

import jax
import jax.numpy as jnp
import numpy as np

from dualrs_jax import data
from dualrs_jax.training import classifier, feed, losses, noisy
from tests.training import networks

SIGMAS = jnp.array([0.25, 0.5, 1.0])
KEY = jax.random.key(3)


def levels(shares=(0.5, 0.5, 0.0), explored=None, cascades=False):
  selection = None
  if explored is not None:
    selection = classifier.Selection(
      networks.Brightest(3),
      jnp.float32(0.01),
      jnp.float32(explored),
      jnp.bool_(cascades),
    )
  return classifier.Levels(SIGMAS, jnp.asarray(shares), selection)


def images(brightest, count):
  pixels = jnp.zeros((count, 4, 4, 1))
  return pixels.at[:, 0, brightest].set(1.0)


def test_levels_are_drawn_by_their_shares():
  chosen = classifier.choose_levels(levels(), images(0, 4000), KEY)
  counts = np.bincount(chosen, minlength=3)
  assert counts[2] == 0
  assert abs(counts[0] - 2000) < 160  # five standard deviations


def test_the_estimator_selects_and_a_share_is_explored():
  selected = classifier.choose_levels(levels(explored=0.0), images(2, 50), KEY)
  assert (selected == 2).all()
  selected = classifier.choose_levels(levels(explored=1.0), images(2, 50), KEY)
  assert (selected < 2).all()
  mixed = classifier.choose_levels(levels(explored=0.5), images(2, 4000), KEY)
  assert abs(int((mixed == 2).sum()) - 2000) < 160


def test_a_cascade_is_trained_at_all_levels_up_to_the_selected_one():
  def chosen(brightest, **options):
    context = levels(explored=0.0, cascades=True, **options)
    found = classifier.choose_levels(context, images(brightest, 4000), KEY)
    return np.bincount(found, minlength=3)

  shares = (0.3, 0.3, 0.4)
  assert chosen(0, shares=shares).tolist() == [4000, 0, 0]
  below = chosen(1, shares=shares)
  assert abs(below[0] - 2000) < 160
  assert below[2] == 0
  assert (abs(chosen(2, shares=shares) - [1200, 1200, 1600]) < 160).all()
  # Where these levels have no share, it is the selected one.
  assert chosen(1, shares=(0.0, 0.0, 1.0)).tolist() == [0, 4000, 0]


def test_noise_has_the_level_that_the_network_is_told():
  class Spread(networks.Linear):
    def __call__(self, images, sigma):
      flat = images.reshape(len(images), -1)
      return jnp.stack([flat.std(-1), sigma, sigma], axis=-1)

  sigma = jnp.array([0.25, 1.0])
  logits = noisy.noisy_logits(
    Spread(), jnp.zeros((2, 60, 60, 1)), sigma, KEY, copies=3
  )
  assert logits.shape == (3, 2, 3)
  np.testing.assert_allclose(logits[..., 0], logits[..., 1], rtol=0.1)
  assert len(np.unique(logits[..., 0])) == 6, 'copies share their noise'


def test_loss_is_cross_entropy_and_consistency():
  source = networks.source(6)
  batch = feed.Examples(jnp.asarray(source.images), jnp.asarray(source.labels))
  context = levels((0.0, 1.0, 0.0))
  model = networks.Linear()
  loss = classifier.make_loss(copies=2, divergence_per_sigma=10.0, entropy=0.1)
  value, metrics = loss(model, context, batch, KEY, 0)
  _, noise_key = jax.random.split(KEY)
  logits = noisy.noisy_logits(
    model,
    data.to_unit(batch.images),
    jnp.full(6, 0.5),
    noise_key,
    copies=2,
  )
  expected = losses.cross_entropy(logits, batch.targets).mean()
  expected += losses.consistency(logits, divergence=5.0, entropy=0.1).mean()
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert metrics['mean_sigma'] == 0.5


def test_neighbours_are_next_to_a_level():
  level = jnp.arange(4000) % 4
  found = np.asarray(classifier.neighbours(level, 4, KEY))
  assert set(np.abs(found - level).tolist()) == {1}
  assert found.min() == 0
  assert found.max() == 3
  inner = found[np.asarray(level) == 1]
  assert 400 < np.sum(inner == 2) < 600, 'both sides are drawn'
  alone = classifier.neighbours(jnp.zeros(5, int), 1, KEY)
  assert alone.tolist() == [0] * 5


def test_neighbouring_levels_are_to_agree():
  """A network that answers by the level alone, and one that does not."""

  class ByLevel(networks.Linear):
    def __call__(self, images, sigma):
      answers = jnp.stack([sigma > 0.4, sigma < 0.4], axis=-1)
      return 4.0 * answers.astype(jnp.float32)

  class Constant(networks.Linear):
    def __call__(self, images, sigma):
      return jnp.tile(jnp.array([4.0, 0.0]), (len(images), 1))

  source = networks.source(60)
  batch = feed.Examples(jnp.asarray(source.images), jnp.zeros(60, jnp.int32))
  context = levels((0.5, 0.5, 0.0))

  def value(model, weight):
    loss = classifier.make_loss(
      copies=2,
      divergence_per_sigma=0.0,
      entropy=0.0,
      divergence_of_neighbours=weight,
    )
    return loss(model, context, batch, KEY, 0)

  np.testing.assert_allclose(
    value(Constant(), 3.0)[0], value(Constant(), 1.0)[0], rtol=1e-5
  )
  pair = jnp.array([[[4.0, 0.0]], [[0.0, 4.0]]])
  apart = losses.consistency(pair, divergence=1.0, entropy=0.0)[0]
  gain = value(ByLevel(), 3.0)[0] - value(ByLevel(), 1.0)[0]
  # Pairs across 0.4 are all those from level 0, and half of those from 1.
  assert 0.6 < gain / (2 * apart) < 0.9
  assert 0.25 < value(Constant(), 3.0)[1]['mean_sigma'] < 1.0


def test_noisy_accuracy_falls_with_the_noise():
  source = networks.source(200)
  examples = feed.Examples(
    jnp.asarray(source.images), jnp.asarray(source.labels)
  )
  accuracy = classifier.noisy_accuracy(
    networks.Brightest(3),
    examples,
    jnp.array([0.001, 0.5, 3.0]),
    KEY,
    batch_size=70,
  )
  assert accuracy[0] == 1
  assert accuracy[0] > accuracy[1] > accuracy[2] > 0.2
