r"""CIFAR-10 as Sun, Mao and Vechev (2026) set it up, and four variants.

`:denoised`, the default: noise is first removed by the published diffusion
model, then the published vision transformer classifies. What has to be there:

    cifar-10-binary.tar.gz, or the folder cifar10 that tensorflow-datasets
        prepared, in TFDS_DATA_DIR: see docs/training.md
    cifar10_uncond_50M_500K.pt, the diffusion model of improved-diffusion
    vit-base-patch16-224-in21k-finetuned-cifar10/, the transformer: a folder of
        Hugging Face; docs/pretrained.md says where these are

    python -m dualrs_jax.pretrained openai_diffusion \
      cifar10_uncond_50M_500K.pt \
      --out models/cifar10_diffusion
    python -m dualrs_jax.pretrained huggingface \
      vit-base-patch16-224-in21k-finetuned-cifar10/ --out models/cifar10_vit
    python train.py --config configs/cifar10.py
    python certify.py --config configs/cifar10.py \
      --config.certify.protocol=paper

`:resnet`: ResNet-110 trained from scratch under noise, by the recipe of Cohen,
Rosenfeld and Kolter (2019); once at all levels, for the dual, and once at each
level, to compare with. It needs the data set alone:

    python train.py --config configs/cifar10.py:resnet

`:experts`: a trained network of others for each level, with a new estimator
that selects among them. The files are those of Cohen et al., of the models that
were trained at sigma 0.25, 0.5 and 1:

    for sigma in 0.25 0.50 1.00; do
      python -m dualrs_jax.pretrained cifar_resnet \
        cifar10/resnet110/noise_$sigma/checkpoint.pth.tar \
        --out models/cifar10_resnet110_$sigma
    done
    python train.py --config configs/cifar10.py:experts

`:small`: for a machine with two cores and no GPU, from the data set alone. A
residual network of 0.33 million parameters that is told the noise level, 0.25
or 0.5, see `models.conditional_resnet`, fine-tuned so that both levels agree;
an estimator of the same kind, trained for the certificate itself; and a
baseline at each level. Wider ones take
--config.model.classifier.widths=64,128,256 and longer:

    python train.py --config configs/cifar10.py:small

`:routing`: an estimator that routes between the two baselines of `:small`, as
its training has left them; they are not touched. Costs what targets, estimator
and certification of `:small` cost:

    python train.py --config configs/cifar10.py:routing

Cost, counted in multiply-adds: 25.9e9 for a vote of the denoised classifier,
8.6e9 for one of its estimator, 0.25e9 for one of a ResNet-110, 0.013e9 for one
of a small network. Of stages, with the votes that measure them on validation
images:

    stage                      :denoised  :resnet  :experts   :small
    classifier-0                       -   3.4e15         -  4.0e13
    targets-1                     3.9e17   3.8e15    3.8e15  1.7e13
    estimator-1                   8.4e16   6.8e15    6.8e15  1.6e13
    classifier-1                  5.2e16   7.5e14         -  1.2e13
    a baseline                         -   3.9e15         -  5.0e13
    500 test images, n = 10,000   1.7e17   2.6e15    2.6e15  2.0e14

The last line is for a fixed n; adaptive certification, the default, takes a
fraction of it. `python -m dualrs_jax.cost` counts them for other options, and
says hours and bytes. A device that sustains 100 TFLOP/s does 5e13 multiply-adds
a second. Where a batch of a stage does not fit into its memory,
--config.finetune.accumulate=8, say, takes it in eight parts.

What is published without the networks being touched, plain smoothing of them:

    python certify.py --config configs/cifar10.py \
      --config.certify.smoothing=single --config.certify.classifier=classifier-0

The hyper-parameters of the estimator and of fine-tuning are the paper's, as far
as they are known. One thing differs: an image that no level certifies stays in
its batch, without weight, where the paper drops it. The radius targets of the
first three are the certificates of 100 votes, as targets.n is targets.votes;
with --config.targets.n=10000 they are what 10,000 votes might give, drawn from
what those 100 leave open.
"""

from typing import Any

from ml_collections import ConfigDict

from dualrs_jax import data, fields

VARIANTS = ('denoised', 'resnet', 'experts', 'small', 'routing')
SIGMAS = (0.25, 0.5, 1.0)
#: Of `:small`. With level 1, too, it certifies less up to r = 1, more beyond.
SMALL_SIGMAS = (0.25, 0.5)
RADII = tuple(quarter / 4 for quarter in range(11))
HELD_OUT = 500
TRAINING_IMAGES = 50_000 - HELD_OUT
RESNET110 = {'name': 'cifar_resnet', 'depth': 110, 'dtype': 'bfloat16'}
#: What the published recipes do without.
PLAIN = {
  'augmented': True,
  'warmup_steps': 0,
  'gradient_clip': 0.0,
  'average': 0.0,
}
COHEN = {
  **PLAIN,
  'batch_size': 256,
  'optimizer': 'sgd',
  'learning_rate': 0.1,
  'schedule': 'decades',
  'weight_decay': 1e-4,
  'copies': 1,
  'divergence_per_sigma': 0.0,
  'entropy': 0.0,
}
SMALL = {
  'name': 'conditional_resnet',
  'patch': 2,
  'widths': (32, 64, 128),
  'blocks': (1, 1, 1),
}


def get_config(arg: str = '') -> ConfigDict:
  """The configuration; `arg` is one of VARIANTS, or '' for the first."""
  variant = arg or VARIANTS[0]
  if variant not in VARIANTS:
    raise ValueError(
      f'the argument of cifar10.py is one of {", ".join(VARIANTS)}, not {arg!r}'
    )
  config = ConfigDict(
    fields.run(
      name=f'cifar10-{variant}',
      sigmas=SIGMAS,
      estimator_sigma=1.0,
      baselines=SIGMAS if variant == 'resnet' else (),
    )
  )
  config.data = {**data.OPTIONS, 'name': 'cifar10', 'held_out': HELD_OUT}
  config.model = models(variant)
  config.classifier = fields.classifier(
    **COHEN, steps=epochs(90 if variant == 'resnet' else 0, batch_size=256)
  )
  config.targets = fields.targets(votes=100, chunk_size=100, n=100)
  config.estimator = fields.estimator(
    **PLAIN,
    steps=epochs(90, batch_size=256),
    batch_size=256,
    learning_rate=0.01,
    schedule='halving',
    copies=2,
    loss='paper',
    utility={'name': 'radius', 'radii': RADII},
  )
  config.finetune = fields.finetune(
    **PLAIN,
    steps=epochs(0 if variant == 'experts' else 15, batch_size=128),
    learning_rate=2e-5,
    copies=1,
    divergence_per_sigma=0.0,
    entropy=0.0,
    explored=0.0,
  )
  config.checkpoint = fields.checkpoint(
    every_steps=500, evaluate_steps=1000, metrics_steps=100
  )
  config.certify = fields.certify(
    distance={'centre': 10.1}, stride=20, radii=RADII
  )
  if variant in ('small', 'routing'):
    make_small(config)
  if variant == 'routing':
    make_routing(config)
  return config.lock()


def make_small(config: Any) -> None:
  """Turns the configuration into that of `:small`."""
  radii = tuple(quarter / 4 for quarter in range(7))
  shared = {
    'batch_size': 128,
    'optimizer': 'adamw',
    'learning_rate': 3e-3,
    'schedule': 'cosine',
    'warmup_steps': 200,
    'weight_decay': 0.02,
    'gradient_clip': 1.0,
    'average': 0.998,
  }
  config.data.held_out = 1000
  config.sigmas = config.baselines = SMALL_SIGMAS
  config.classifier.update(shared, steps=8000, copies=1)
  config.targets.update(
    of='cascades', count=10_000, votes=64, chunk_size=64, n=0
  )
  config.estimator.update(
    shared, steps=1500, copies=2, loss='certificate', average=0.99
  )
  config.estimator.utility.update(name='report', radii=radii)
  config.finetune.update(
    shared,
    steps=1000,
    learning_rate=1e-3,
    explored=0.15,
    copies=2,
    divergence_of_neighbours=3.0,
  )
  config.checkpoint.update(every_steps=250, evaluate_steps=1000)
  config.certify.update(radii=radii, chunk_size=500, certificate='fallback')


def make_routing(config: Any) -> None:
  """Turns the configuration of `:small` into one that trains no classifier."""
  config.classifier.steps = config.finetune.steps = 0
  config.baselines = ()


def models(variant: str) -> dict[str, Any]:
  """The networks of a variant."""
  if variant == 'denoised':
    return {
      'denoiser': {
        'pretrained': 'models/cifar10_diffusion',
        'schedule': 'cosine',
        'steps': 4000,
        'dtype': 'bfloat16',
      },
      'classifier': {
        'pretrained': 'models/cifar10_vit',
        'size': 224,
        'dtype': 'bfloat16',
      },
      'estimator': RESNET110,
    }
  if variant == 'small':
    return {'denoiser': {}, 'classifier': SMALL, 'estimator': SMALL}
  if variant == 'routing':
    trained = 'runs/cifar10-small/checkpoints/single-'
    experts = {
      'experts': tuple(f'{trained}{sigma:g}' for sigma in SMALL_SIGMAS)
    }
    return {'denoiser': {}, 'classifier': experts, 'estimator': SMALL}
  experts = {
    'experts': tuple(f'models/cifar10_resnet110_{s:.2f}' for s in SIGMAS),
    'dtype': 'bfloat16',
  }
  return {
    'denoiser': {},
    'classifier': experts if variant == 'experts' else RESNET110,
    'estimator': RESNET110,
  }


def epochs(count: int, *, batch_size: int) -> int:
  """The steps of so many passes through the training images."""
  return count * (TRAINING_IMAGES // batch_size)
