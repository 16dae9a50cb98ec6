"""Handwritten digits at random scales: the quickest complete run.

Train and certify, in one command, with up to n = 1,000 votes on 100 test
images:

    python train.py --config configs/digits.py

Cost: 3 minutes of processor time on a CPU. Certified accuracy of one such run,
in percent; another seed gives other noise:

    certified, %     r = 0   r = 0.25   r = 0.5   r = 0.75   r = 1
    dual-agreement      91         71        51         34      23
    single-0.25         92         72        53          0       0
    single-0.5          78         59        48         37      24
    single-1            48         40        29         20      14

With n = 1,000 no radius at sigma 0.25 exceeds 0.62, which the larger budget
lifts. All 500 test images, n = 10,000, longer training, and baselines that are
trained at one level each:

    python train.py --config configs/digits.py:full

Cost: 41 minutes on 2 CPU cores; docs/results_digits.md has its table. Its votes
are of a fixed number, so that the composition rules can be compared on the same
ones; --config.certify.protocol=adaptive certifies with fewer.

The source paper's loss in place of the certificate's, into its own folder:

    python train.py --config configs/digits.py --workdir runs/digits-paper \
      --config.estimator.loss=paper --config.estimator.utility.name=radius

Other certificates of what was trained; see certify.py for the options. The
first is the paper's protocol, with its n = 10,000 votes; the second adds the
other 400 test images to the rows that are there:

    python certify.py --config configs/digits.py --config.certify.protocol=paper
    python certify.py --config configs/digits.py --config.certify.count=0

What the fields mean, and those that are not named below: `dualrs_jax.fields`.
"""

from ml_collections import ConfigDict

from dualrs_jax import data, fields

SIGMAS = (0.25, 0.5, 1.0)
RADII = (0.0, 0.25, 0.5, 0.75, 1.0)


def get_config(arg: str = '') -> ConfigDict:
  """The configuration; `arg` is '' or 'full'."""
  if arg not in ('', 'full'):
    raise ValueError(
      f"the argument of digits.py is 'full' or none, not {arg!r}"
    )
  full = arg == 'full'
  config = ConfigDict(
    fields.run(
      name='digits-full' if full else 'digits',
      sigmas=SIGMAS,
      estimator_sigma=0.5,
      baselines=SIGMAS if full else (),
    )
  )
  config.data = {
    **data.OPTIONS,
    'name': 'digits',
    'renderings': 64,
    'seed': 0,
    'canvas': 32,
    'scales': (8.0, 32.0),
  }
  network = {
    'name': 'cnn',
    'channels': (32, 64),
    'kernels': (7, 3),
    'strides': (4, 2),
    'hidden': 128,
    'embedding': 32,
    'image_mean': 0.1,
    'image_deviation': 0.25,
  }
  config.model = {
    'denoiser': {},
    'classifier': dict(network),
    'estimator': dict(network),
  }
  config.classifier = fields.classifier(
    steps=3000 if full else 700, batch_size=256, shares=(0.45, 0.45, 0.1)
  )
  config.targets = fields.targets(count=8 * 1097 if full else 4 * 1097)
  config.estimator = fields.estimator(
    steps=1600 if full else 500, utility={'radii': RADII}
  )
  config.finetune = fields.finetune(steps=4500 if full else 900, batch_size=256)
  config.checkpoint = fields.checkpoint()
  config.certify = fields.certify(
    protocol='fixed' if full else 'adaptive',
    count=0 if full else 100,
    n=10_000 if full else 1_000,
    chunk_size=500,
    radii=RADII,
  )
  return config.lock()
