# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% tags=["remove-cell", "skip-execution"]
# %pip install -q dualrs-jax

# %% [markdown]
# # Train and certify handwritten digits
#
# The 1,797 digits that scikit-learn ships, drawn at random scales: a small one
# bears little noise, a large one much. One configuration has everything that
# training and certification take. It is the one of
# `python -m dualrs_jax.train --config digits`, and takes about three minutes on
# two CPU cores. (This page was run with far fewer steps and images:
# [Results](../docs/results_digits.md) has what a complete run certifies.)

# %%
# %matplotlib inline
import os
import pathlib
import runpy
import tempfile

import matplotlib.pyplot as plt
import numpy as np

from dualrs_jax import shipped
from dualrs_jax.data import to_unit
from dualrs_jax.evaluation import (
  certify_dataset,
  figures,
  gallery,
  run_inputs,
  run_rows,
  style,
)
from dualrs_jax.training import loop
from dualrs_jax.verify import verify

plt.rcParams['figure.dpi'] = 120
SMALL = 'DUALRS_SMALL' in os.environ  # what the tests and the site can afford

# %%
config = runpy.run_path(shipped.find('digits'))['get_config']()
if SMALL:
  for stage in (config.classifier, config.estimator, config.finetune):
    stage.steps, stage.warmup_steps, stage.average = 120, 20, 0.97
    stage.batch_size = 48
  config.targets.count = 300
  config.targets.votes = 32
  config.certify.count = 24
print('noise levels     ', config.sigmas)
print('estimator sigma  ', config.estimator_sigma)
print('steps            ', config.classifier.steps, config.finetune.steps)

# %%
source = run_inputs.load_source(config)
figure = style.blank(7.0, 1.4, 'Digits at random scales', 'Ten to be certified')
for place in range(10):
  axes = figure.add_axes((0.02 + 0.097 * place, 0.04, 0.09, 0.45))
  image = to_unit(source.gather(np.array([place]))[0])
  axes.imshow(np.squeeze(image), cmap='gray')
  axes.set_axis_off()
figure

# %% [markdown]
# ## Training
#
# A classifier is trained under noise of all levels. Its votes on training
# images say which radius each level would certify; from that the estimator
# learns to choose; and the classifier is fine-tuned under the chosen noise.
# Everything is written to a folder, and the call goes on where it was if it is
# interrupted.

# %%
workdir = pathlib.Path(tempfile.mkdtemp()) / 'digits'
loop.train(config, workdir)

# %% [markdown]
# ## Certification
#
# The dual first, then plain smoothing of the same classifier at each of its
# levels, for comparison. Each row says what is claimed of one image: with
# probability at least $1 - \alpha$ over the noise, no image within `radius`, in
# $\ell_2$, gets another class.

# %%
rows = certify_dataset.certify_dataset(config, workdir)
config.certify.smoothing = 'single'
certify_dataset.certify_dataset(config, workdir)
for row in rows[:5]:
  print(
    f'image {row.idx:>3}: label {row.label}, predicted {row.predict},'
    f' sigma {row.sigma:g}, radius {row.radius:g}'
  )

# %%
runs = run_rows.load_runs(workdir)
dual = runs['dual-agreement']
singles = [run for name, run in runs.items() if name.startswith('single')]
figures.certified_accuracy(dual, singles)

# %% [markdown]
# Votes were cast until it was known which of five radii are certified, so there
# are points and no curve. Which noise an image gets:

# %%
gallery.chosen_images(dual, source)

# %% [markdown]
# ## The same, recomputed
#
# A row holds its vote counts. `verify` computes every radius again from them,
# in code that shares nothing with the code that made it.

# %%
checked = verify(workdir / 'certify' / 'dual-agreement' / 'rows.tsv')
print(len(rows), 'rows,', len(checked.problems), 'that do not follow')

# %%
assert not checked.problems
assert {row.radius for row in rows} <= set(config.certify.radii)
right = np.mean([row.correct for row in rows])
assert right > (0.3 if SMALL else 0.8)
