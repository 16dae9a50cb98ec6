# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% tags=["remove-cell", "skip-execution"]
# %pip install -q "dualrs-jax[torch]"

# %% [markdown]
# # Certify a PyTorch model of your own
#
# Smoothing asks nothing of a model but its answers, so a PyTorch module stays
# as it is. Here one is trained under noise, on the 8 × 8 digits of
# scikit-learn, and certified.

# %%
# %matplotlib inline
import os

import jax
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn import datasets

import dualrs_jax as drs
from dualrs_jax import models
from dualrs_jax.evaluation import style

plt.rcParams['figure.dpi'] = 120
SMALL = 'DUALRS_SMALL' in os.environ  # what the tests and the site can afford
SIGMA = 0.25

# %% [markdown]
# Pixels lie in $[0, 1]$, and so $\sigma$ and the radii are in these units.

# %%
found = datasets.load_digits()
images = (found.images / 16).astype(np.float32)[..., None]  # channels last
order = np.random.default_rng(0).permutation(len(images))
train, test = order[:1_400], order[1_400:]

# %% [markdown]
# ## A model that has seen noise
#
# The votes are cast on noisy copies, so that is what the model has to be good
# at. Any normalisation belongs into the module, or into `torch_function`: the
# noise comes first.

# %%
torch.manual_seed(0)
net = torch.nn.Sequential(
  torch.nn.Conv2d(1, 32, 3, padding=1),
  torch.nn.ReLU(),
  torch.nn.Conv2d(32, 32, 3, stride=2, padding=1),
  torch.nn.ReLU(),
  torch.nn.Flatten(),
  torch.nn.Dropout(0.2),
  torch.nn.Linear(512, 10),
)
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
pixels = torch.from_numpy(images[train]).permute(0, 3, 1, 2)
MEAN, DEVIATION = 0.3, 0.4
labels = torch.from_numpy(found.target[train])
for _ in range(10 if SMALL else 60):
  for batch in torch.randperm(len(pixels)).split(100):
    noisy = pixels[batch] + SIGMA * torch.randn_like(pixels[batch])
    loss = torch.nn.functional.cross_entropy(
      net((noisy - MEAN) / DEVIATION), labels[batch]
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f'loss {loss.item():.2f}')

# %% [markdown]
# ## Certify it
#
# `torch_function` puts the module into evaluation mode and hands it what it
# expects. `certify_array` takes arrays and returns arrays. The adaptive
# protocol stops at each image as soon as it is known which of the radii are
# certified.

# %%
count = 40 if SMALL else 200
radii = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
answers = drs.certify_array(
  models.torch_function(net, mean=(MEAN,), deviation=(DEVIATION,)),
  images[test[:count]],
  SIGMA,
  jax.random.key(0),
  n0=100,
  n=1_000 if SMALL else 10_000,
  alpha=0.001,
  chunk_size=500,
  protocol='adaptive',
  goal='grid',
  radii=radii,
)
right = answers.prediction == found.target[test[:count]]
share = np.array([np.mean(right & (answers.radius >= r)) for r in radii])
for r, certified in zip(radii, share, strict=True):
  print(f'right and certified at {r}: {certified:.0%}')

# %%
figure, axes = style.canvas(
  7.0, 3.6, 'Certified accuracy', f'{count} test images, σ = {SIGMA}'
)
axes.plot(radii, 100 * share, 'o:', color=style.level_color(0))
axes.set(ylim=(0, 100), xlabel='radius', ylabel='right and certified, %')
figure

# %% [markdown]
# With probability at least $1 - \alpha$ for each image, no change of it below
# its radius changes the answer of the smoothed model. Several models, one for
# each noise level, and an estimator that chooses among them:
# [Models of other frameworks](../docs/own_models.md).

# %%
cap = SIGMA * 3.3  # no more than all votes for one class can prove
assert share[0] > 0.7
assert np.all(np.diff(share) <= 0)
assert answers.radius.max() < cap
