"""The stages of a training by name, and which of them leave weights."""

from typing import Any


def names(
  *,
  rounds: int,
  classifier_steps: int,
  finetune_steps: int,
  baselines: tuple[float, ...],
) -> list[str]:
  """The stages that leave a checkpoint, in order.

  A stage of 0 steps leaves none: it hands on the network it was given.

  Args:
    rounds: how often an estimator is trained, and the classifier fine-tuned.
    classifier_steps: steps of 'classifier-0'.
    finetune_steps: steps of 'classifier-1' and after.
    baselines: noise levels of the classifiers that are trained at one.
  """
  found = ['classifier-0'] if classifier_steps else []
  for number in range(1, rounds + 1):
    found.append(f'estimator-{number}')
    if finetune_steps:
      found.append(f'classifier-{number}')
  for sigma in baselines:
    found += [f'{single(sigma)}-0'] if finetune_steps else []
    found.append(single(sigma))
  return found


def single(sigma: float) -> str:
  """The stage that ends a classifier which is trained at one level."""
  return f'single-{sigma:g}'


def of_single(
  sigma: float, classifier: Any, finetune: Any, *, rounds: int
) -> list[tuple[str, Any, int]]:
  """The stages of a baseline: name, options and steps of each.

  It takes the steps of the dual's classifier, by the same options and so with
  the same augmentation and consistency, at its one level.

  Args:
    sigma: the level.
    classifier: options of the first stage of the dual's classifier.
    finetune: options of the later ones, taken together here.
    rounds: how many of these there are.
  """
  if not finetune.steps:
    return [(single(sigma), classifier, classifier.steps)]
  return [
    (f'{single(sigma)}-0', classifier, classifier.steps),
    (single(sigma), finetune, rounds * finetune.steps),
  ]


def origin(
  stage: str, *, classifier_steps: int, finetune_steps: int
) -> str | None:
  """The stage whose checkpoint holds a classifier; None if it is untrained."""
  role, _, number = stage.rpartition('-')
  if role != 'classifier' or not number.isdecimal():
    return stage
  if int(number) and finetune_steps:
    return stage
  return 'classifier-0' if classifier_steps else None
