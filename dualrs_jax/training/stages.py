"""The stages of a training: names, options, and which of them leave weights."""

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
    found += of_single(
      sigma, classifier_steps=classifier_steps, finetune_steps=finetune_steps
    )
  return found


def single(sigma: float) -> str:
  """The last stage of a baseline, a classifier that is trained at one level."""
  return f'single-{sigma:g}'


def of_single(
  sigma: float, *, classifier_steps: int, finetune_steps: int
) -> list[str]:
  """The stages of a baseline, in order.

  One where nothing is fine-tuned, or that alone is trained; otherwise two: the
  rounds of fine-tuning are taken together.
  """
  last = single(sigma)
  return [f'{last}-0', last] if classifier_steps and finetune_steps else [last]


def level_of_single(stage: str) -> str | None:
  """The level of a stage of a baseline, as its name has it; None of others."""
  role, _, level = stage.removesuffix('-0').partition('-')
  return level if role == 'single' else None


def options_of(
  stage: str, classifier: Any, finetune: Any, *, rounds: int
) -> tuple[Any, int]:
  """The options by which the stage of a classifier is trained, and its steps.

  A baseline takes the steps of the dual's classifier by the same options, and
  so with the same augmentation and consistency, at its one level.

  Args:
    stage: its name.
    classifier: options of a first stage.
    finetune: options of the later ones, which are one stage of a baseline.
    rounds: how many of these there are.
  """
  if stage.endswith('-0') or not finetune.steps:
    return classifier, classifier.steps
  return finetune, (rounds if level_of_single(stage) else 1) * finetune.steps


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
