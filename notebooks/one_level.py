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
# # Why one noise level does not suffice
#
# With $n$ votes, all of them for one class, the radius that is certified is
# $\sigma\,\Phi^{-1}(\alpha^{1/n})$, and no more: **little noise caps the
# radius**. A class that lives in a region narrower than the noise loses the
# vote in its own midst: **much noise washes it out**. Here both happen to one
# classifier, on images of one pixel.

# %%
# %matplotlib inline
import functools
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy import special

import dualrs_jax as drs
from dualrs_jax.evaluation import style

plt.rcParams['figure.dpi'] = 120
SMALL = 'DUALRS_SMALL' in os.environ  # what the tests and the site can afford

# %% [markdown]
# Class 1 is a narrow band around 0.2, class 0 all the rest.

# %%
CENTRE, HALF, NEAR = 0.2, 0.06, 0.2
SIGMAS, ESTIMATOR_SIGMA = (0.04, 0.16), 0.16
N, ALPHA = (2_000 if SMALL else 10_000), 0.001


def band(z, sigma):
  inside = HALF - jnp.abs(z[:, 0] - CENTRE)
  return jnp.stack([-inside, inside], axis=-1)


def share_inside(x, sigma, half=HALF):
  """How much of the noise falls into a band, in closed form."""
  return special.ndtr((CENTRE + half - x) / sigma) - special.ndtr(
    (CENTRE - half - x) / sigma
  )


x = np.linspace(0, 1, 101 if SMALL else 401, dtype=np.float32)
label = (np.abs(x - CENTRE) < HALF).astype(int)
for sigma in SIGMAS:
  cap = sigma * special.ndtri(ALPHA ** (1 / N))
  middle = share_inside(CENTRE, sigma)
  print(f'sigma {sigma}: cap {cap:.3f}, votes in the midst {middle:.0%}')

# %% [markdown]
# Far away from the band the small level stops at its cap, and in the band the
# large level has the wrong majority.
#
# ## Each level by itself


# %%
def signed(answer):
  """The certified radius, below zero where the class is wrong."""
  right = np.asarray(answer.prediction) == label
  return np.where(right, 1, -1) * np.asarray(answer.radius)


images = jnp.asarray(x)[:, None]
keys = jax.vmap(drs.image_key, (None, 0))(jax.random.key(0), jnp.arange(len(x)))
votes = {'n0': 100, 'n': N, 'alpha': ALPHA, 'chunk_size': 1_000}
single = jax.jit(
  jax.vmap(functools.partial(drs.certify, **votes), in_axes=(None, 0, None, 0))
)
classifier = jax.tree_util.Partial(band)  # so that `jit` takes it
found = {
  f'σ = {sigma}': signed(single(classifier, images, sigma, keys))
  for sigma in SIGMAS
}


# %% [markdown]
# ## A second network chooses
#
# The estimator votes for the small level within 0.2 of the midst of the band.
# It is smoothed as well, at $\sigma_e$, so that its choice is certified. Where
# the level could change inside of the ball, `agreement` asks whether the other
# level gives the same answer.


# %%
def estimator(z, sigma):
  near = NEAR - jnp.abs(z[:, 0] - CENTRE)
  return jnp.stack([near, -near], axis=-1)


dual = jax.jit(
  jax.vmap(
    functools.partial(drs.certify_dual, certificate=drs.agreement, **votes),
    in_axes=(None, None, 0, None, None, 0),
  )
)
answers = dual(
  jax.tree_util.Partial(estimator),
  classifier,
  images,
  jnp.array(SIGMAS),
  ESTIMATOR_SIGMA,
  keys,
)
found['dual'] = signed(answers)

# %%
figure, axes = style.canvas(
  7.0,
  3.9,
  'Radius along the pixel',
  f'Below zero: certified for the wrong class. n = {N:,}, α = {ALPHA}',
)
axes.axvspan(CENTRE - HALF, CENTRE + HALF, color='#E8E8E8')
axes.text(CENTRE, 0.41, 'class 1', ha='center', color=style.QUIET)
axes.axhline(0, color=style.QUIET, linewidth=0.8)
colors = [style.level_color(0), style.level_color(1), style.INK]
for (name, radius), color in zip(found.items(), colors, strict=True):
  bold = name == 'dual'
  axes.plot(
    x, radius, color=color, linewidth=2.6 if bold else 1.7, label=name, zorder=3
  )
axes.set(xlabel='pixel', ylabel='certified radius', xlim=(0, 1))
axes.legend(frameon=False, loc='lower right')
figure

# %% [markdown]
# ## Certified accuracy
#
# Of points of which half lie in the band: the share that is right and certified
# at each radius.

# %%
weight = np.where(label == 1, 0.5 / label.sum(), 0.5 / (label == 0).sum())
grid = np.linspace(0, 0.4, 201)
curves = [
  style.Curve(
    name,
    color,
    np.array([100 * weight @ ((r > 0) & (r >= at)) for at in grid]),
    bold=name == 'dual',
  )
  for (name, r), color in zip(found.items(), colors, strict=True)
]
figure, axes = style.canvas(
  7.0, 3.9, 'Certified accuracy', f'{len(x)} points, n = {N:,}, α = {ALPHA}'
)
style.draw_curves(figure, axes, grid, curves)
axes.set(xlabel='certified radius r', ylabel='right and certified at r, %')
figure

# %% [markdown]
# The dual is right in the band, where the large level is wrong, and goes on
# where the small one stops. In between it pays for its choice, which has to be
# certified, too.
#
# ## The truth
#
# All shares of votes are known in closed form here, and so are $g_e$, $g$ and
# the composed classifier $G(x) = g(x, \sigma_{g_e(x)})$. No certificate may
# reach beyond the nearest point where $G$ answers something else.

# %%
fine = np.linspace(-1, 2, 30_001)
level = np.where(share_inside(fine, ESTIMATOR_SIGMA, NEAR) > 0.5, 0, 1)
sigma = np.array(SIGMAS)[level]
truth = (share_inside(fine, sigma) > 0.5).astype(int)
changes = (fine[1:] + fine[:-1])[truth[1:] != truth[:-1]] / 2
radius = np.abs(x[:, None] - changes).min(axis=1)
print('G changes its answer at', changes.round(3))

# %%
small, large, both = found.values()
middle, far = np.argmin(np.abs(x - CENTRE)), np.argmin(np.abs(x - 0.8))
assert large[middle] < 0 < both[middle]  # washed out, and not
assert both[far] > 1.3 * small[far]  # capped, and not
assert np.all(np.asarray(answers.radius) <= radius)
