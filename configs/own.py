"""Your own classifiers, as they are, on your own folder of images.

Fill in the lines between the two marks: where the images are, which functions
return your classifiers, and the noise each was trained at. Only an estimator is
trained here. It learns which classifier bears an image best, from votes that
the classifiers cast on your training images; the pair is then certified:

    python train.py --config my_own.py

Cost: the votes for the targets are COUNT * VOTES * len(SIGMAS) forward passes
of your classifiers, an image of the certification takes from a few hundred to
2 * (n0 + n) of the fields below, and the training of the estimator some minutes
on a CPU. Interrupted, the same command goes on where it was.

Everything can be given on the command line as well:

    python train.py --config configs/own.py --config.data.data_dir=~/pictures \\
      --config.model.classifier.functions="('nets.py:low', 'nets.py:high')"

A function takes no arguments. It returns a PyTorch module, with its weights,
from images [batch, channels, height, width] to logits; or any function of NumPy
images [batch, height, width, channels], float32 in [0, 1] plus noise, whose
weights `identity` then stands for. docs/own_models.md has an example of each.

docs/own.md goes through it step by step. What the other fields mean, and the
usual values: `dualrs_jax.fields`.
"""

from ml_collections import ConfigDict

from dualrs_jax import data, fields

# ---- Fill in ----------------------------------------------------------------

#: The name of the run: its folder is runs/<NAME>.
NAME = 'own'
#: A folder <class>/... or <split>/<class>/..., see docs/data.md.
IMAGES = ''
#: Height and width to which images are brought; () if all have one size.
SIZE = ()
#: One function per noise level, or a single one for all levels.
CLASSIFIERS = ('my_models.py:low', 'my_models.py:high')
#: The noise that each was trained at, where a pixel is in [0, 1].
SIGMAS = (0.25, 1.0)
#: What your training subtracted from a pixel in [0, 1], per channel, and by
#: what it then divided; as they stand, for networks that do so themselves.
MEAN, DEVIATION = (0.0,), (1.0,)
#: Of other functions than PyTorch modules: a text to be changed with them.
IDENTITY = ''

# -----------------------------------------------------------------------------

#: The noise under which the estimator chooses.
ESTIMATOR_SIGMA = max(SIGMAS) / 2
#: Radii of the table, in pixel units.
RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
#: Training images whose targets are computed, at equal distances; 0 for all.
COUNT = 0
#: Noisy copies of each, at each level.
VOTES = 64
#: Noisy images per call of a classifier, always so many.
CHUNK = 64


def get_config(arg: str = '') -> ConfigDict:
  """The configuration; it has no argument."""
  if arg:
    raise ValueError(f'own.py has no argument such as {arg!r}')
  config = ConfigDict(
    fields.run(name=NAME, sigmas=SIGMAS, estimator_sigma=ESTIMATOR_SIGMA)
  )
  config.data = {
    **data.OPTIONS,
    'name': 'folder',
    'data_dir': IMAGES,
    'size': SIZE,
  }
  config.model = {
    'denoiser': {},
    'classifier': {
      'functions': CLASSIFIERS,
      'image_mean': MEAN,
      'image_deviation': DEVIATION,
      'identity': IDENTITY,
    },
    'estimator': {
      'name': 'cnn',
      'channels': (32, 64),
      'kernels': (7, 3),
      'strides': (4, 2),
      'hidden': 128,
      'embedding': 32,
      'image_mean': 0.5,
      'image_deviation': 0.25,
    },
  }
  config.classifier = fields.classifier()
  config.targets = fields.targets(count=COUNT, votes=VOTES, chunk_size=CHUNK)
  config.estimator = fields.estimator(steps=1500, utility={'radii': RADII})
  config.finetune = fields.finetune()
  config.checkpoint = fields.checkpoint()
  config.certify = fields.certify(count=500, chunk_size=CHUNK, radii=RADII)
  return config.lock()
