"""Successive halving: drops the worst settings of a sweep at some steps.

Rung k of a stage of n steps, with the factor eta, is at step n / eta^(K - k),
k = 0, 1, .. < K; after it the best 1 / eta^(k + 1) of all settings go on. They
are ranked by the task's score on validation, the mean over their seeds.

Source: L. Li, K. Jamieson, A. Rostamizadeh, E. Gonina, M. Hardt, B. Recht,
A. Talwalkar, A System for Massively Parallel Hyperparameter Tuning, 2018,
https://arxiv.org/abs/1810.05934. The rungs are those of ASHA, but synchronous:
the lanes of a sweep reach a rung together, so none is promoted early.
"""

import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from kd_jax import checkpoint, errors, tasks
from kd_jax.training import lane

DROPPED = 'dropped.json'


def rungs(settings: int, steps: int, eta: int) -> list[tuple[int, int]]:
  """[(step, number of settings that go on after it)].

  Args:
    settings: at the start.
    steps: of the stage.
    eta: 2 or more.
  """
  count = int(math.log(settings, eta) + 1e-9)
  return [
    (steps // eta ** (count - k), math.ceil(settings / eta ** (k + 1)))
    for k in range(count)
  ]


def need_validation(experiments: Iterable, option: str) -> None:
  """Refuses an option that ranks settings on a validation set that is empty.

  Args:
    experiments: of the settings, built.
    option: of the command line.

  Raises:
    ValueError: naming data.validation.
  """
  for data in (experiment.data for experiment in experiments):
    if not len(data.validation.labels):
      raise ValueError(
        f"{option} ranks settings on validation, and '{data.name}' holds out "
        f'none; leave {option} out, or set data.validation above 0'
      )


def make_pruner(
  folders: Sequence[pathlib.Path], eta: int, task: tasks.Task
) -> Callable[[Mapping[int, lane.Lane]], dict[int, errors.DroppedError]]:
  """Makes the pruner of a sweep (see `loop.Plan`).

  It depends on the lanes alone. The folder of a dropped setting notes it, so
  that it stays dropped after a resume.

  Args:
    folders: of the settings; the seeds of a setting are folders in its own.
    eta: the factor.
    task: whose score ranks them.
  """
  settings = [folder.resolve() for folder in folders]

  def setting_of(member: lane.Lane) -> pathlib.Path:
    folder = member.session.folder.resolve()
    return folder if folder in settings else folder.parent

  def pruner(lanes):
    step = next(iter(lanes.values())).step
    total = next(iter(lanes.values())).stage.recipe.steps
    due = [left for at, left in rungs(len(settings), total, eta) if at <= step]
    scores = {}
    for member in lanes.values():
      scores.setdefault(setting_of(member), []).append(lane.score(member))
    means = {key: sum(values) / len(values) for key, values in scores.items()}
    ranked = sorted(means, key=lambda key: -task.better * means[key])
    dropped = ranked[due[-1] :] if due and step < total else []
    for folder in dropped:
      note(folder, step, means[folder], task)
    return {
      i: errors.DroppedError(read(setting_of(member)))
      for i, member in lanes.items()
      if setting_of(member) in dropped
    }

  return pruner


def note(
  folder: pathlib.Path, step: int, score: float, task: tasks.Task
) -> None:
  """Notes in a setting's folder that it was dropped."""
  value = {'step': step, 'validation': float(score), 'unit': task.unit}
  checkpoint.write_json(folder / DROPPED, value)


def read(folder: pathlib.Path) -> str | None:
  """The reason why the setting in a folder was dropped; None if it was not."""
  if not (folder / DROPPED).exists():
    return None
  record = checkpoint.read_json(folder / DROPPED)
  score = tasks.shown(record['validation'], record.get('unit', '%'))
  return f'dropped at step {record["step"]} with {score} on validation'
