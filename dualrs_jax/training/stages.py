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
  return found + [single(sigma) for sigma in baselines]


def single(sigma: float) -> str:
  """The stage of a classifier that is trained at one level."""
  return f'single-{sigma:g}'


def single_steps(classifier: Any, finetune: Any, *, rounds: int) -> int:
  """The steps of a classifier that is trained at one level.

  It is shown as many noisy images as the dual's classifier in all of its
  stages, by the options of the first one.

  Args:
    classifier: options of the first stage.
    finetune: options of the later ones.
    rounds: how many of these there are.
  """
  shown = rounds * finetune.steps * finetune.batch_size * finetune.copies
  at_a_time = classifier.batch_size * classifier.copies
  return classifier.steps + round(shown / at_a_time)


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
