r"""ImageNet as Sun, Mao and Vechev (2026) set it up, and two variants.

`:denoised`, the default: noise is first removed by the published diffusion
model, then the published BEiT classifies. What has to be there:

    the folder imagenet2012 that tensorflow-datasets prepared, in TFDS_DATA_DIR:
        see docs/training.md
    256x256_diffusion_uncond.pt, the diffusion model of guided-diffusion
    beit_large_patch16_512/, the classifier: a folder of timm with
        model.safetensors and config.json; docs/pretrained.md says where

    python -m dualrs_jax.pretrained openai_diffusion \
      256x256_diffusion_uncond.pt \
      --out models/imagenet_diffusion
    python -m dualrs_jax.pretrained timm_beit beit_large_patch16_512/ \
      --out models/imagenet_beit
    python train.py --config configs/imagenet.py
    python certify.py --config configs/imagenet.py \
      --config.certify.protocol=paper

`:resnet`: ResNet-50 trained from scratch under noise, by the recipe of Cohen,
Rosenfeld and Kolter (2019); once at all levels, for the dual, and once at each
level, to compare with. It needs the data set alone:

    python train.py --config configs/imagenet.py:resnet

`:experts`: a trained network of others for each level, with a new estimator
that selects among them. The files are those of Cohen et al., of the models that
were trained at sigma 0.5 and 1:

    for sigma in 0.50 1.00; do
      python -m dualrs_jax.pretrained resnet \
        imagenet/resnet50/noise_$sigma/checkpoint.pth.tar \
        --out models/imagenet_resnet50_$sigma
    done
    python train.py --config configs/imagenet.py:experts

Cost, counted in multiply-adds: 1218e9 for a vote of the denoised classifier,
860e9 for one of its estimator, 4.1e9 for one of a ResNet-50. Of stages, with
the votes that measure them on validation images:

    stage                      :denoised  :resnet  :experts
    classifier-0                       -   1.4e18         -
    targets-1                     3.1e20   1.0e18    1.0e18
    estimator-1                   2.0e19   2.8e17    2.8e17
    classifier-1                  7.4e16   4.3e14         -
    a baseline                         -   1.4e18         -
    500 test images, n = 10,000   1.0e19   4.1e16    4.1e16

The last line is for a fixed n; adaptive certification, the default, takes a
fraction of it. `python -m dualrs_jax.cost` counts them for other options, and
says hours and bytes. A device that sustains 100 TFLOP/s does 5e13 multiply-adds
a second, so the targets of the whole training set are for a pod. The targets of
50,000 images from 32 votes each take 3.9e18, and as many epochs of them 7.8e17:

    python train.py --config configs/imagenet.py --config.targets.count=50000 \
      --config.targets.votes=32 --config.targets.n=32 \
      --config.estimator.steps=1755

Where a batch of a stage does not fit into the memory of the device,
--config.estimator.accumulate and its like take it in more parts. Images are
decoded by --config.workers processes. The hyper-parameters of the estimator are
the paper's, as far as they are known; so is the length of fine-tuning, while
its learning rate is that of CIFAR-10. One thing differs: an image that no level
certifies stays in its batch, without weight, where the paper drops it.
"""

from typing import Any

from ml_collections import ConfigDict

from dualrs_jax import data, fields

VARIANTS = ('denoised', 'resnet', 'experts')
SIGMAS = (0.5, 1.0)
RADII = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
HELD_OUT = 1000
TRAINING_IMAGES = 1_281_167 - HELD_OUT
RESNET50 = {'name': 'resnet', 'dtype': 'bfloat16'}

#: What the published recipes do without.
PLAIN = {'warmup_steps': 0, 'gradient_clip': 0.0, 'average': 0.0}
COHEN = {
  **PLAIN,
  'augmented': True,
  'batch_size': 400,
  'optimizer': 'sgd',
  'learning_rate': 0.1,
  'schedule': 'decades',
  'weight_decay': 1e-4,
  'copies': 1,
  'divergence_per_sigma': 0.0,
  'entropy': 0.0,
}


def get_config(arg: str = '') -> ConfigDict:
  """The configuration; `arg` is one of VARIANTS, or '' for the first."""
  variant = arg or VARIANTS[0]
  if variant not in VARIANTS:
    raise ValueError(
      f'the argument of imagenet.py is one of {", ".join(VARIANTS)}, not'
      f' {arg!r}'
    )
  denoised = variant == 'denoised'
  config = ConfigDict(
    fields.run(
      name=f'imagenet-{variant}',
      sigmas=SIGMAS,
      estimator_sigma=1.0,
      baselines=SIGMAS if variant == 'resnet' else (),
      workers=8,
    )
  )
  config.data = {
    **data.OPTIONS,
    'name': 'imagenet',
    'held_out': HELD_OUT,
    'resize': 256,
    'crop': 224,
  }
  config.model = models(variant)
  config.classifier = fields.classifier(
    **COHEN, steps=epochs(90 if variant == 'resnet' else 0, batch_size=400)
  )
  config.targets = fields.targets(
    votes=100,
    chunk_size=25 if denoised else 100,
    shard_size=64 if denoised else 500,
    n=100,
  )
  config.estimator = fields.estimator(
    **PLAIN,
    steps=epochs(9, batch_size=256),
    augmented=False,  # its targets are of the middle of an image
    batch_size=256,
    accumulate=8 if denoised else 1,
    learning_rate=0.01,
    schedule='halving',
    copies=2,
    loss='paper',
    paper={'reach': 'weak'},
    utility={'name': 'radius', 'radii': RADII},
  )
  tuned = TRAINING_IMAGES // 50
  config.finetune = fields.finetune(
    **PLAIN,
    steps=0 if variant == 'experts' else tuned // 128,
    augmented=True,
    count=tuned,
    accumulate=8 if denoised else 1,
    learning_rate=2e-5,
    copies=1,
    divergence_per_sigma=0.0,
    entropy=0.0,
    explored=0.0,
  )
  config.checkpoint = fields.checkpoint(
    every_steps=100 if denoised else 1000,
    evaluate_steps=5000,
    metrics_steps=100,
  )
  config.certify = fields.certify(
    distance={'rate': 0.001, 'centre': 0}, stride=100, radii=RADII
  )
  return config.lock()


def models(variant: str) -> dict[str, Any]:
  """The networks of a variant."""
  if variant == 'denoised':
    return {
      'denoiser': {
        'pretrained': 'models/imagenet_diffusion',
        'schedule': 'linear',
        'steps': 1000,
        'dtype': 'bfloat16',
      },
      'classifier': {
        'pretrained': 'models/imagenet_beit',
        'size': 512,
        'dtype': 'bfloat16',
      },
      'estimator': RESNET50,
    }
  experts = {
    'experts': tuple(f'models/imagenet_resnet50_{s:.2f}' for s in SIGMAS),
    'dtype': 'bfloat16',
  }
  return {
    'denoiser': {},
    'classifier': experts if variant == 'experts' else RESNET50,
    'estimator': RESNET50,
  }


def epochs(count: int, *, batch_size: int) -> int:
  """The steps of so many passes through the training images."""
  return count * (TRAINING_IMAGES // batch_size)
