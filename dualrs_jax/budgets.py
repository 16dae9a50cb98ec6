"""Whether a number of votes can certify at all, and what number could."""

import math
from collections.abc import Sequence

from dualrs_jax import confidence, lookups

#: So many votes beyond what theory asks for make up for looks in between.
_A_FEW_MORE = 16


class NeverCertifies(ValueError):
  """Not even unanimous votes would certify; says what would."""

  def __init__(
    self,
    n: int,
    alpha: float,
    rule: str,
    *,
    fewest: int | None,
    least_alpha: float | None,
    taken: float = 0.0,
  ):
    """Words what is the matter.

    Args:
      n: The number of votes.
      alpha: The failure probability that was asked for.
      rule: The name of the composition rule.
      fewest: The fewest votes that certify at alpha; None if none do.
      least_alpha: A failure probability at which n votes certify, if any.
      taken: What the noise takes of alpha.
    """
    self.fewest = fewest
    self._n, self._rule, self._least_alpha = n, rule, least_alpha
    takes = [] if fewest is None else [f'at least {fewest} votes']
    if least_alpha is not None:
      takes.append(f'alpha = {least_alpha + taken:.3g}')
    wanted = ' or '.join(takes) or 'more votes and a larger alpha'
    told = confidence.parts_of_alpha(alpha, 1.0, taken)
    super().__init__(
      f'n = {n} votes can never certify at {told}, not even when all agree:'
      f' with `{rule}` it takes {wanted}.'
    )

  def of(
    self, alpha: float, taken: float, fewest: int | None
  ) -> 'NeverCertifies':
    """The same, where the noise had its part of alpha before.

    Args:
      alpha: The failure probability that was asked for.
      taken: What the noise takes of it.
      fewest: The fewest votes, with what the noise takes for so many.
    """
    return NeverCertifies(
      self._n,
      alpha,
      self._rule,
      fewest=fewest,
      least_alpha=self._least_alpha,
      taken=taken,
    )


def check_possible(
  n: int,
  alpha: float,
  goal: str,
  name: str,
  shares: Sequence[float],
  bounds: lookups.Kind,
) -> None:
  """Raises NeverCertifies unless n unanimous votes certify at alpha.

  Args:
    n: The number of votes.
    alpha: The failure probability.
    goal: What is to be decided, see `lookups.Kind`.
    name: Of the rule.
    shares: Of alpha, for the bounds without which there is no certificate.
    bounds: The kind of them.
  """

  def possible(n: int, alpha: float) -> bool:
    return all(bounds.possible(n, alpha * share, goal) for share in shares)

  if possible(n, alpha):
    return
  # All agree at p = 1/2 with probability 2^-n, which must be below alpha.
  start = max(n, math.floor(-math.log2(alpha * min(shares)))) + 1
  more = range(start, start + _A_FEW_MORE)
  powers = range(math.ceil(math.log10(alpha)), 0)
  raise NeverCertifies(
    n,
    alpha,
    name,
    fewest=next((m for m in more if possible(m, alpha)), None),
    # Twice as much as is needed: something may take a part of it.
    least_alpha=next(
      (10.0**k for k in powers if possible(n, 10.0**k / 2)), None
    ),
  )
