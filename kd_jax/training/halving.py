"""Successive halving: at rungs the lanes that lag are dropped.

Rung k of a stage of n steps, with the factor eta, is at step n / eta^(K - k),
k = 0, 1, .. < K; after it the best 1 / eta^(k + 1) of all settings go on, by
their accuracy on validation, the mean over their seeds.

Source: L. Li, K. Jamieson, A. Rostamizadeh, E. Gonina, M. Hardt, B. Recht,
A. Talwalkar, A System for Massively Parallel Hyperparameter Tuning, 2018,
https://arxiv.org/abs/1810.05934; the rungs of ASHA, here in step: the lanes
of a grid reach a rung together, so that none has to be guessed.
"""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence

from kd_jax import checkpoint, errors
from kd_jax.training import lane

DROPPED = 'dropped.json'


def rungs(settings: int, steps: int, eta: int) -> list[tuple[int, int]]:
  """[(step, how many settings go on after it)].

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


def make_judge(
  folders: Sequence[pathlib.Path], eta: int
) -> Callable[[Mapping[int, lane.Lane]], dict[int, errors.DroppedError]]:
  """The judge of a grid (see `grid.Plan`).

  It looks at the lanes alone, and says the same after a resume: the settings
  that are dropped are noted in their folders.

  Args:
    folders: of the settings; seeds of one are folders in it.
    eta: the factor.
  """
  known = [folder.resolve() for folder in folders]

  def setting_of(one: lane.Lane) -> pathlib.Path:
    place = one.session.folder.resolve()
    return place if place in known else place.parent

  def judge(lanes):
    step = next(iter(lanes.values())).step
    total = next(iter(lanes.values())).stage.recipe.steps
    due = [keep for at, keep in rungs(len(known), total, eta) if at <= step]
    scores = {}
    for one in lanes.values():
      scores.setdefault(setting_of(one), []).append(lane.accuracy(one))
    means = {key: sum(found) / len(found) for key, found in scores.items()}
    ranked = sorted(means, key=means.get, reverse=True)
    late = ranked[due[-1] :] if due and step < total else []
    for place in late:
      note(place, step, means[place])
    return {
      i: errors.DroppedError(read(setting_of(one)))
      for i, one in lanes.items()
      if setting_of(one) in late
    }

  return judge


def note(folder: pathlib.Path, step: int, score: float) -> None:
  """Writes down that a setting was dropped."""
  value = {'step': step, 'validation': float(score)}
  checkpoint.write_json(folder / DROPPED, value)


def read(folder: pathlib.Path) -> str | None:
  """Why the setting in a folder was dropped, or None."""
  if not (folder / DROPPED).exists():
    return None
  found = checkpoint.read_json(folder / DROPPED)
  return (
    f'dropped at step {found["step"]} with {100 * found["validation"]:.1f} % '
    'on validation'
  )
