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
# # Certify a half-space, and see the true radius
#
# A certificate is a claim about every point of a ball. Where the classifier is
# a half-space,
#
# $$f(z) = \begin{cases} 0 & \text{if } \langle w, z\rangle > v, \\
#   1 & \text{else,}\end{cases} \qquad \lVert w\rVert = 1,$$
#
# the truth is known: the smoothed classifier has the very same boundary, and
# the true radius of an image $x$ is its distance $\langle w, x\rangle - v$.

# %%
# %matplotlib inline
import functools
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import dualrs_jax as drs
from dualrs_jax.evaluation import style

plt.rcParams['figure.dpi'] = 120
SMALL = 'DUALRS_SMALL' in os.environ  # what the tests and the site can afford

# %%
NORMAL, OFFSET = jnp.array([0.6, 0.8]), 0.5
IMAGE, SIGMA, ALPHA = jnp.array([0.7, 0.8]), 0.25, 0.001


def half_space(z, sigma):
  side = z @ NORMAL - OFFSET
  return jnp.stack([side, -side], axis=-1)


truth = 0.6 * 0.7 + 0.8 * 0.8 - OFFSET
print(f'{truth:.2f}')

# %% [markdown]
# ## The votes
#
# Noise $\sigma\varepsilon$ is added, and $f$ votes on each noisy copy. Of the
# noise only its component along $w$ matters, so that the share of votes for
# class 0 is $p = \Phi((\langle w, x\rangle - v)/\sigma)$, and
# $\sigma\,\Phi^{-1}(p)$ is the distance that was looked for.

# %%
key = drs.image_key(jax.random.key(0), 0)
answer = drs.certify(
  half_space, IMAGE, SIGMA, key, n0=100, n=10_000, alpha=ALPHA, chunk_size=5_000
)
print('class ', answer.prediction)
print('votes ', answer.counts.estimation)
print('radius', answer.radius, f'of {truth:.2f}')

# %%
figure, axes = style.canvas(
  6.0,
  5.0,
  'What the votes prove',
  f'300 noisy copies at σ = {SIGMA}; the certificate is from 10,000 votes',
)
rng = np.random.default_rng(0)
copies = np.asarray(IMAGE) + SIGMA * rng.normal(size=(300, 2))
wins = copies @ np.asarray(NORMAL) > OFFSET
for won, label, color in ((True, 0, 0), (False, 1, 5)):
  axes.scatter(
    *copies[wins == won].T,
    s=9,
    color=style.level_color(color),
    label=f'a vote for class {label}',
  )
along = np.linspace(-0.5, 1.9, 2)
axes.plot(
  along, (OFFSET - 0.6 * along) / 0.8, color=style.INK, label='boundary'
)
turn = np.linspace(0, 2 * np.pi, 200)
for radius, line, name in (
  (truth, ':', 'true radius'),
  (float(answer.radius), '-', 'certified radius'),
):
  axes.plot(
    0.7 + radius * np.cos(turn),
    0.8 + radius * np.sin(turn),
    color=style.INK,
    linestyle=line,
    label=f'{name}, {np.floor(1e3 * radius) / 1e3:.3f}',
  )
axes.plot(*np.asarray(IMAGE), 'o', color=style.INK, markersize=6)
axes.set(aspect='equal', xlim=(-0.2, 1.6), ylim=(-0.1, 1.7))
axes.set(xlabel='first pixel', ylabel='second pixel')
axes.legend(loc='upper left', bbox_to_anchor=(1.02, 1), frameon=False)
figure

# %% [markdown]
# ## More votes, a larger radius, never the true one
#
# The share of votes is known up to its sampling error, and the certificate
# takes a lower bound $\underline p$ that holds with probability
# $1 - \alpha$. So the radius $\sigma\,\Phi^{-1}(\underline p)$ comes closer to
# the truth from below. Twenty images' worth of noise, at each number of votes:

# %%
budgets = [100, 1_000, 10_000] if SMALL else [100, 1_000, 10_000, 100_000]
keys = jax.vmap(drs.image_key, (None, 0))(jax.random.key(1), jnp.arange(20))
classifier = jax.tree_util.Partial(half_space)  # so that `jit` takes it
radii = {}
for n in budgets:
  certify = functools.partial(
    drs.certify, n0=100, n=n, alpha=ALPHA, chunk_size=min(n, 5_000)
  )
  many = jax.jit(jax.vmap(certify, in_axes=(None, None, None, 0)))
  radii[n] = np.asarray(many(classifier, IMAGE, SIGMA, keys).radius)

# %%
figure, axes = style.canvas(
  6.0,
  3.6,
  'Certified radii close in on the true one',
  f'20 certificates of one image at each n; α = {ALPHA}',
)
for n, found in radii.items():
  axes.scatter(np.full(20, n), found, s=14, color=style.level_color(0))
axes.axhline(truth, color=style.INK, linestyle=':')
axes.text(budgets[0], truth + 0.01, 'true radius', color=style.INK)
axes.set_xscale('log')
axes.set_xticks(budgets, [f'{n:,}' for n in budgets])
axes.minorticks_off()
axes.set(xlabel='votes n', ylabel='certified radius', ylim=(0, 0.65))
figure

# %% [markdown]
# No certificate exceeds the truth here. Of many thousands up to one in
# $1/\alpha$ may.

# %%
assert answer.radius <= truth
assert all(found.max() <= truth for found in radii.values())
assert np.all(radii[budgets[-1]] > 0.9 * truth)
