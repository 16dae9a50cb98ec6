"""Which votes an image needs next, and what they decide.

Adaptive certification of one image is a coroutine: it asks for votes of one
stage at a time, is sent their counts, and returns a certificate as soon as the
goal is decided. It sees nothing but the votes of its own image, at looks that
were fixed before, so a certificate depends neither on other images nor on how
votes are batched. `scheduler` runs many of them against a device.

What is claimed is up to `plans`, which votes to ask for next to `pursuit`.
docs/adaptive.md has the argument.
"""

from collections.abc import Generator

import numpy as np
from jaxtyping import Int

from dualrs_jax import fallbacks, lookups, noise, plans
from dualrs_jax.base import AdaptiveCertificate, Cast, Counts
from dualrs_jax.look_bounds import Tables
from dualrs_jax.plans import ESTIMATOR as ESTIMATOR
from dualrs_jax.plans import Plan
from dualrs_jax.pursuit import Pursuit, Request, Votes, down, read


def certification(
  plan: Plan, begun: AdaptiveCertificate | None = None
) -> Generator[Request, Int[np.ndarray, 'classes'], AdaptiveCertificate]:
  """Certifies one image: asks for votes, returns the certificate.

  Guarantee: with probability at least 1 - alpha over the noise, the returned
  certificate abstains, or G returns its prediction at every point of the open
  ball of its radius, whenever the plan chooses to stop.

  Args:
    plan: What was fixed before.
    begun: A certificate of the same image, by a plan that differs at most in n
      and whose bounds have no end: its votes are kept, and added to.

  Yields:
    The request whose counts must be sent: the valid votes for each level or
    class among the first `votes` votes of that stage and split.
  """
  image = _Image(plan)
  if begun is not None:
    image.take(begun)
  else:
    yield from image.choose()
  while (stage := image.next_stage()) is not None:
    votes = lookups.next_look(plan.looks, image.estimated(stage))
    assert votes is not None  # what cannot grow hopes for what it has
    counts = yield Request(stage, noise.ESTIMATION, votes)
    image.estimation[stage] = np.asarray(counts)
    image.cast[stage][noise.ESTIMATION] = votes
  return image.certificate()


def is_decided(plan: Plan, begun: AdaptiveCertificate) -> bool:
  """Whether a certificate needs no further votes under a plan."""
  image = _Image(plan)
  image.take(begun)
  return image.next_stage() is None


def votes_of(
  begun: AdaptiveCertificate,
) -> dict[tuple[int, int], Votes]:
  """The votes of a certificate by stage and split, where there are any."""
  found = {}
  for split in (noise.SELECTION, noise.ESTIMATION):
    counts = dict(enumerate(np.asarray(begun.classifier_counts[split])))
    counts[ESTIMATOR] = np.asarray(begun.estimator_counts[split])
    cast = dict(enumerate(np.asarray(begun.classifier_cast[split]).tolist()))
    cast[ESTIMATOR] = int(begun.estimator_cast[split])
    for stage, number in cast.items():
      if number:
        found[stage, split] = Votes(number, counts[stage])
  return found


class _Image(Pursuit):
  """One image under a composition rule."""

  def __init__(self, plan: Plan):
    super().__init__(plan, plan.tolerance)

  def take(self, begun: AdaptiveCertificate) -> None:
    """Starts from the votes of a certificate."""
    kept = {
      noise.SELECTION: self.selection,
      noise.ESTIMATION: self.estimation,
    }
    for (stage, split), votes in votes_of(begun).items():
      kept[split][stage] = votes.counts
      self.cast[stage][split] = votes.cast
    self._chosen()

  def choose(self):
    """Asks for the votes that choose the level and the class."""
    if len(self._plan.sigmas) > 1:
      yield from self.select(ESTIMATOR)
    self._chosen()
    if self._plan.rule.falls_back:
      for level in range(len(self._plan.sigmas)):
        yield from self.select(level)
    else:
      yield from self.select(self.level)
    self._chosen()

  def _chosen(self) -> None:
    if len(self._plan.sigmas) > 1:
      self.level = int(np.argmax(self.selection[ESTIMATOR]))
    if self.level in self.selection:
      self.label = int(np.argmax(self.selection[self.level]))
      if self._plan.rule.falls_back:
        self._choose_cascades()

  def _choose_cascades(self) -> None:
    estimator, classifier, _, cast = self._votes()
    _, label, answering = fallbacks.selection(
      estimator,
      classifier,
      self._plan.sigmas,
      cast.selection,
      runner_up=True,
    )
    self.label, self._answering = int(label), answering.tolist()

  def terms(self, sure: float | None) -> list[dict[int, float]]:
    """Those of the level that is selected, and of every other one."""
    plan = self._plan
    terms = self._answers(self.level, plan.selected, sure)
    if len(plan.sigmas) == 1:
      return terms
    cast, votes = self.estimated(ESTIMATOR), self.estimation.get(ESTIMATOR)
    counts = [0] * len(plan.sigmas) if votes is None else votes.tolist()
    keeps = read(plan.keeps, cast, cast - counts[self.level], sure)
    invalid = cast - sum(counts)
    for k in range(len(plan.sigmas)):
      if k == self.level:
        continue
      radius = down(plan.estimator_sigma * keeps)
      if plan.avoids is not None:
        avoids = read(plan.avoids, cast, counts[k] + invalid, sure)
        gap = down(keeps + avoids)
        radius = max(radius, down(plan.estimator_sigma / 2 * gap))
      answers = [{}]
      if plan.agrees is not None:
        answers = self._answers(k, plan.agrees, sure)
      terms += [{ESTIMATOR: radius} | options for options in answers]
    return terms

  def _answers(
    self, level: int, bounds: Tables, sure: float | None
  ) -> list[dict[int, float]]:
    """The terms of the radius in which a level answers the label."""
    if not self._plan.rule.falls_back:
      return [{level: self.of_level(level, bounds, sure)}]
    last = self._answering[level]
    before = fallbacks.visited(level, last, self._plan.sigmas)
    return [
      {stage: self.of_cascade(stage, bounds, sure, answers=stage == last)}
      for stage in (*before, last)
    ]

  def certificate(self) -> AdaptiveCertificate:
    """What the votes amount to."""
    return plans.certificate_of_counts(*self._votes(), self._plan)

  def _votes(self) -> tuple[Counts, Counts, Cast, Cast]:
    levels = len(self._plan.sigmas)
    classes = len(self.selection[self.level])
    rows = [self._counts(stage, classes) for stage in range(levels)]
    cast = np.array([self.cast[stage] for stage in range(levels)], np.int64)
    return (
      self._counts(ESTIMATOR, levels),
      Counts(*map(np.stack, zip(*rows, strict=True))),
      Cast(*self.cast[ESTIMATOR]),
      Cast(*cast.T),
    )

  def _counts(self, stage: int, width: int) -> Counts:
    nothing = np.zeros(width, np.int64)
    return Counts(
      self.selection.get(stage, nothing), self.estimation.get(stage, nothing)
    )
