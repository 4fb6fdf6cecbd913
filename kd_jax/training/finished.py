"""Finished networks of a run: kept, found again, shared by a sweep."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax

from kd_jax import checkpoint, metrics, parallel, types
from kd_jax.executors import locks


class Finished(NamedTuple):
  """A trained network: last and best-on-validation variables.

  scores is {'last': accuracy, 'best': accuracy, 'best_step': step}, of
  validation, in [0, 1]. cost is {'seconds_per_step' (compilation included; in
  a grid the lane's share), 'extra_parameters' (learned by the stage's terms),
  'extra_bytes' (of what terms learn and remember, and of copies)}.
  """

  last: types.Variables
  best: types.Variables
  scores: Mapping[str, float]
  cost: Mapping[str, float]


class Session(NamedTuple):
  """What a stage is trained with, beside the experiment.

  Attributes:
    folder: of the run; None keeps nothing on disk.
    writer: of metrics.
    stop: () -> bool, asked after every step.
    shelf: where runs of a sweep find what they share; None shares nothing.
  """

  folder: pathlib.Path | None
  writer: metrics.Writer
  stop: Callable[[], bool] = lambda: False
  shelf: pathlib.Path | None = None


def found(experiment, stage, folder) -> dict | None:
  """The networks that this very stage made before, or None."""
  if folder is None:
    return None
  networks = {}
  for name in stage.kept.values():
    place = folder / 'networks' / name
    try:
      networks[name], spec = checkpoint.load_network(place)
    except ValueError:
      return None
    if spec['made_by'] != experiment.settings[stage.name]:
      return None
  return networks


def _shared(experiment, stage, session) -> pathlib.Path | None:
  """Where the runs of a sweep keep what this stage makes."""
  if session.shelf is None or stage.name not in experiment.shared:
    return None
  return session.shelf / experiment.settings[stage.name]


@contextlib.contextmanager
def turns(wanted: Sequence[tuple]) -> Iterator[bool]:
  """One run at a time makes what runs share; the next finds it on the shelf.

  Args:
    wanted: (experiment, stage, loop) of what is not there yet; one at least.

  Yields:
    Whether it is this run's turn; False where it was asked to stop before.
  """
  _, stage, session = wanted[0]
  places = {_shared(*one) for one in wanted} - {None}
  if jax.process_index():
    places = ()  # the first process waits for all of a run
  with contextlib.ExitStack() as stack:
    # In one order everywhere: nobody waits for one who waits for them.
    yield all(
      stack.enter_context(
        locks.held(p.with_name(f'{p.name}.lock'), session.stop, stage.name)
      )
      for p in sorted(places)
    )


def take(experiment, stage, session) -> None:
  """Copies what another run of the sweep has made already."""
  place = _shared(experiment, stage, session)
  if place is None:
    return
  if place.exists() and jax.process_index() == 0:
    for network in sorted(place.iterdir()):
      target = session.folder / 'networks' / network.name
      if not target.exists():
        checkpoint.copy_folder(network, target)
  parallel.meet(f'{stage.name} is taken')


def give(experiment, stage, session) -> None:
  """Copies what this run has made, for the other runs of the sweep."""
  place = _shared(experiment, stage, session)
  if place is None or place.exists() or jax.process_index():
    return
  names = [n for kept in stage.kept.values() for n in (kept, f'{kept}_best')]
  part = place.with_name(f'.{place.name}.{os.getpid()}')
  for name in names:
    checkpoint.copy_folder(session.folder / 'networks' / name, part / name)
  part.rename(place)


def keep(experiment, stage, trained, folder) -> dict[str, types.Variables]:
  """Writes the finished networks; those selected, by name."""
  kept = {}
  for student, name in stage.kept.items():
    finished = trained[student]
    kept[name] = getattr(finished, experiment.options['select'])
    if folder is None or jax.process_index():
      continue
    spec = {
      'build': experiment.specs[student],
      'made_by': experiment.settings[stage.name],
      'data': {
        'name': experiment.data.name,
        'fingerprint': experiment.data.fingerprint,
      },
      'seed': stage.recipe.seed,
      'steps': stage.recipe.steps,
      'validation': dict(finished.scores),
      'cost': dict(finished.cost),
    }
    place = folder / 'networks'
    best = {**spec, 'select': 'best'}
    checkpoint.save_network(place / f'{name}_best', finished.best, best)
    chosen = {**spec, 'select': experiment.options['select']}
    checkpoint.save_network(place / name, kept[name], chosen)
  return kept
