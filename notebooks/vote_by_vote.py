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
# # Adaptive certification, vote by vote
#
# `certify_images` looks at the votes as they come, lets the stages take turns,
# and stops as soon as its question is answered. This is allowed because its
# bounds are *confidence sequences*: with probability at least $1 - \alpha$ they
# hold at **all** looks together. Here they are watched.

# %%
# %matplotlib inline
import io

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython import display
from PIL import Image

import dualrs_jax as drs
from dualrs_jax import decisions, noise, plans, voting
from dualrs_jax.base import Cast, Counts
from dualrs_jax.evaluation import style

plt.rcParams['figure.dpi'] = 120

# %% [markdown]
# ## The problem
#
# All is made of half-spaces, so that all distances are known. At the first
# level the classifier changes its answer at a distance of 0.56 from the image,
# at the second one, in another direction, at 0.25. The estimator goes over from
# the first level to the second at 0.4, where the second has long answered
# something else. So the true radius of the composed classifier is 0.4.


# %%
def classifier(z, sigma):
  first = z @ jnp.array([0.6, 0.8]) - 0.5
  second = z[:, 0] - 0.45
  side = jnp.where(sigma < 0.3, first, second)
  return jnp.stack([side, -side], axis=-1)


def estimator(z, sigma):
  side = z[:, 0] - 0.3
  return jnp.stack([side, -side], axis=-1)


IMAGE, SIGMAS, ESTIMATOR_SIGMA = jnp.array([0.7, 0.8]), (0.25, 0.5), 0.5
N0, N, ALPHA = 100, 10_000, 0.001
TRUTH = {decisions.ESTIMATOR: 0.4, 0: 0.56}  # and 0.25 at the second level
KEY = jax.random.key(3)

# %% [markdown]
# ## All votes, cast ahead
#
# Vote $j$ of a stage is a function of the noise numbered $j$, whether it is
# ever asked for or not. So all of them can be cast here, and shown one look
# after the other.

# %%
own_key = noise.image_key(KEY, 0)


def all_votes(stage, split):
  """The class of each vote of a stage, in their order."""
  network = estimator if stage == decisions.ESTIMATOR else classifier
  sigma = jnp.float32(
    ESTIMATOR_SIGMA if stage == decisions.ESTIMATOR else SIGMAS[stage]
  )
  number = jnp.arange(N if split == noise.ESTIMATION else N0)
  copies = voting.noisy_copies(
    IMAGE, sigma, own_key, jnp.full(len(number), split), number
  )
  levels = jnp.full(len(number), sigma)
  return np.asarray(voting.cast_votes(network, copies, levels))


STAGES = {decisions.ESTIMATOR: 'estimator', 0: 'σ = 0.25', 1: 'σ = 0.5'}
COLORS = {-1: '#A0487A', 0: style.level_color(0), 1: style.level_color(1)}
cast = {
  (stage, split): all_votes(stage, split)
  for stage in STAGES
  for split in (noise.SELECTION, noise.ESTIMATION)
}

# %% [markdown]
# ## Each stage: a sequence closes in
#
# At each look there is a lower bound on $p$, the share of votes for what was
# selected, and an upper one. $\sigma\,\Phi^{-1}$ of both is an interval around
# the distance.

# %%
options = {'n0': N0, 'n': N, 'alpha': ALPHA, 'certificate': drs.agreement}
plan = plans.plan(SIGMAS, ESTIMATOR_SIGMA, goal='full', radii=(), **options)
looks = np.array(plan.looks)
interval = {}
for stage, table in ((decisions.ESTIMATOR, plan.keeps), (0, plan.selected[0])):
  wins = np.cumsum(cast[stage, noise.ESTIMATION] == 0)[looks - 1]
  interval[stage] = plan.sigma_of(stage) * np.array(
    [
      (table.lower_z(look, won), table.upper_z(look, won))
      for look, won in zip(plan.looks, wins, strict=True)
    ]
  )

figure, axes = style.canvas(
  7.0,
  4.0,
  'Confidence sequences close in on the distances',
  f'Bounds of two stages at {len(looks)} looks that hold at all of them',
)
for stage, bounds in interval.items():
  low, high = np.maximum(bounds[:, 0], -1), np.minimum(bounds[:, 1], 3)
  axes.fill_between(looks, low, high, color=COLORS[stage], alpha=0.2)
  for bound in (low, high):
    axes.plot(looks, bound, '.-', color=COLORS[stage], linewidth=1.6)
  axes.axhline(TRUTH[stage], color=COLORS[stage], linestyle=':')
  axes.text(
    1.08 * looks[-1],
    TRUTH[stage],
    f'{STAGES[stage]},\ntruly {TRUTH[stage]}',
    color=COLORS[stage],
    va='center',
  )
axes.set_xscale('log')
axes.set(xlabel='votes of the stage', ylabel='radius', ylim=(0, 1.2))
axes.set_xlim(looks[0], looks[-1])
figure

# %% [markdown]
# ## Both stages race
#
# `decisions.certification` asks for votes of one stage at a time, is told their
# counts, and returns a certificate when its goal is decided. This is what the
# library runs for each image. After each answer we note what the votes so far
# amount to:
#
# $$\hat R = \min\bigl(\hat B_i,\; \max(\hat A_k, \hat B_k)\bigr),$$
#
# with $\hat A_k$ from the estimator, $\hat B_i$ and $\hat B_k$ from the
# classifier at the selected level and at the other. The goal is a grid of
# radii: how many of 0, 0.04, 0.08, ... are certified?


# %%
def certificate(counts, votes, plan):
  """What counts amount to, by the library's own rule."""

  def of(stage, split):
    return counts.get((stage, split), np.zeros(2, np.int64))

  def number(stage, split):
    return votes.get((stage, split), 0)

  both = noise.SELECTION, noise.ESTIMATION
  return plans.certificate_of_counts(
    Counts(*(of(decisions.ESTIMATOR, split) for split in both)),
    Counts(*(np.stack([of(0, split), of(1, split)]) for split in both)),
    Cast(*(number(decisions.ESTIMATOR, split) for split in both)),
    Cast(*(np.array([number(0, s), number(1, s)]) for s in both)),
    plan,
  )


def watch(plan):
  """Runs the certification of the image, and keeps what it saw."""
  counts, votes, history = {}, {}, []
  asking = decisions.certification(plan)
  request = next(asking)
  while True:
    stage, split, number = request
    counts[stage, split] = np.bincount(cast[stage, split][:number], minlength=2)
    votes[stage, split] = number
    history.append((stage, dict(votes), certificate(counts, votes, plan)))
    try:
      request = asking.send(counts[stage, split])
    except StopIteration as stop:
      return history, stop.value


GRID = tuple((0.04 * np.arange(16)).round(2).tolist())
plan = plans.plan(SIGMAS, ESTIMATOR_SIGMA, goal='grid', radii=GRID, **options)
history, answer = watch(plan)
print('level', SIGMAS[answer.sigma_index], 'radius', round(answer.radius, 4))
for stage, name in STAGES.items():
  print(f'{name:<9}', sum(history[-1][1].get((stage, s), 0) for s in (0, 1)))

# %% [markdown]
# A picture of it. On top are the bounds, below the votes of each stage; time is
# the number of votes of all stages together.

# %%
other = 1 - answer.sigma_index
time = [sum(votes.values()) for _, votes, _ in history]
estimation = [
  {stage: votes.get((stage, noise.ESTIMATION), 0) for stage in STAGES}
  for _, votes, _ in history
]


def agreeing(votes):
  """The bound at the level that was not selected."""
  if not votes[other]:
    return -np.inf
  wins = (cast[other, noise.ESTIMATION][: votes[other]] == 0).sum()
  return SIGMAS[other] * plan.agrees[0].lower_z(votes[other], wins)


lines = {  # A_k, B_i and B_k
  'estimator': [found.estimator_radius for *_, found in history],
  STAGES[answer.sigma_index]: [
    found.classifier_radius for *_, found in history
  ],
  STAGES[other]: [agreeing(votes) for votes in estimation],
}
certified = [
  min(here, max(chosen, there))
  for chosen, here, there in zip(*lines.values(), strict=True)
]


def draw(shown):
  """The race, as far as so many requests."""
  figure, (top, below) = style.panels(
    7.0,
    5.2,
    'Both stages race',
    f'Bounds on the radius after every look; n = {N:,}, α = {ALPHA}',
    [3.0, 1.4],
  )
  by_name = {name: COLORS[stage] for stage, name in STAGES.items()}
  for name, values in lines.items():
    top.step(
      time[:shown],
      np.maximum(values[:shown], 0),
      where='post',
      color=by_name[name],
      linewidth=1.8,
      label=name,
    )
  top.step(
    time[:shown],
    certified[:shown],
    where='post',
    color=style.INK,
    linewidth=2.8,
    alpha=0.85,
    label='certified',
  )
  top.axhline(0.4, color=style.INK, linestyle=':', linewidth=1.2)
  top.text(1.1 * time[0], 0.415, 'true radius', color=style.INK)
  top.set(ylim=(0, 0.55), xlim=(time[0], 1.1 * time[-1]), ylabel='radius')
  top.legend(frameon=False, loc='upper left', ncols=4, columnspacing=1.2)
  for stage, color in COLORS.items():
    below.step(
      time[:shown],
      [votes[stage] for votes in estimation[:shown]],
      where='post',
      color=color,
      linewidth=1.8,
    )
  below.set(
    ylim=(20, 2 * N), xlabel='votes of all stages', ylabel='votes of a stage'
  )
  below.set(xscale='log', yscale='log')
  return figure


draw(len(history))

# %% [markdown]
# The two stages take turns: each gets votes until its bound passes the next
# radius of the grid. At the end the second level is asked for a few votes, as
# it might agree where the level changes, and is given up. As an animation:

# %%
frames = []
for shown in [*range(1, len(history), 2), len(history)]:
  held = io.BytesIO()
  draw(shown).savefig(held, format='png', dpi=80, facecolor='white')
  frames.append(Image.open(held).convert('P', palette=Image.Palette.ADAPTIVE))
pause = [250] * (len(frames) - 1) + [3_000]  # milliseconds
moving = io.BytesIO()
frames[0].save(
  moving,
  'gif',
  save_all=True,
  append_images=frames[1:],
  duration=pause,
  loop=0,
)
display.Image(moving.getvalue(), format='gif')

# %% [markdown]
# ## The question decides how many votes it takes
#
# Whether *one* radius is certified takes fewer votes than how far the
# certificate can go.

# %%
needed = {}
for goal, radii in [
  ('radius', (0.05,)),
  ('radius', (0.3,)),
  ('radius', (0.36,)),
  ('radius', (0.5,)),
  ('full', ()),
]:
  asked = plans.plan(SIGMAS, ESTIMATOR_SIGMA, goal=goal, radii=radii, **options)
  seen, found = watch(asked)
  needed[goal, radii] = sum(seen[-1][1].values())
  print(
    f'{goal:<7}{radii!s:<8}{needed[goal, radii]:>7,} votes:'
    f' certified {found.radius:.2f}'
  )

# %% [markdown]
# 0.5 is more than the true radius, so it cannot be certified; that, too, is
# seen long before all votes are cast.
#
# ## The same by the front door
#
# `certify_images` runs these very decisions, on the very same noise, with votes
# of many images in each batch.

# %%
[(_, direct)] = drs.certify_images(
  estimator,
  classifier,
  [(0, np.asarray(IMAGE))],
  SIGMAS,
  ESTIMATOR_SIGMA,
  KEY,
  goal='grid',
  radii=GRID,
  chunk_size=1_000,
  **options,
)
print(direct.radius, answer.radius)

# %%
assert direct.radius == answer.radius
assert all(radius <= 0.4 for radius in certified)
assert 0.3 < answer.radius <= certified[-1]
for stage, bounds in interval.items():
  assert np.all(bounds[:, 0] <= TRUTH[stage])
  assert np.all(bounds[:, 1] >= TRUTH[stage])
assert (
  needed['radius', (0.05,)] < needed['radius', (0.36,)] < needed['full', ()]
)
