"""Saves finished networks, and reuses them across stages and runs."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax

from kd_jax import (
  checkpoint,
  errors,
  identities,
  locks,
  metrics,
  network_files,
  parallel,
  types,
)
from kd_jax.training import resume

# `select` -> the moment that is kept beside the chosen one, as NAME_MOMENT.
BESIDE = {'last': 'best', 'best': 'last'}


class Finished(NamedTuple):
  """A trained network: last and best-on-validation variables.

  scores is {'last': score, 'best': score, 'best_step': step}, the task's score
  on validation; NaN without a validation set, whose best is the last. cost is
  {'seconds_per_step' (compilation included; in a sweep the lane's share),
  'extra_parameters' (learned by the stage's terms), 'extra_bytes' (of what
  terms learn and remember, and of copies)}.
  """

  last: types.Variables
  best: types.Variables
  scores: Mapping[str, float]
  cost: Mapping[str, float]


class Outcome(NamedTuple):
  """The networks of a training, or why it ended early.

  Attributes:
    networks: {name: variables}, or {student: Finished} of one stage.
    failure: why there are none.
    best: {name: variables} when they were best on validation; the last ones
      without a validation set.
  """

  networks: Mapping
  failure: Exception | None = None
  best: Mapping = {}

  def unwrap(self) -> Mapping:
    """The networks; raises why there are none."""
    if self.failure:
      raise self.failure
    return self.networks


class Session(NamedTuple):
  """Folder, metrics and stop signal with which a stage is trained.

  Attributes:
    folder: of the run; None: nothing is kept on disk.
    writer: of metrics.
    stop: () -> bool, called after every step.
    shelf: folder of networks that the runs of a sweep share; None: none.
  """

  folder: pathlib.Path | None
  writer: metrics.Writer
  stop: Callable[[], bool] = lambda: False
  shelf: pathlib.Path | None = None


def status(experiment, stage, folder: pathlib.Path | None) -> resume.Status:
  """How far the stage is in a folder."""
  if folder is None:
    return resume.Status(resume.FRESH)
  return resume.of_stage(
    folder,
    stage.name,
    _names(experiment, stage),
    experiment.identities[stage.name],
  )


def _names(experiment, stage) -> list[str]:
  """The folders of the networks that a stage leaves."""
  other = BESIDE[experiment.options['select']]
  beside = [f'{name}_{other}' for name in stage.kept.values()]
  return [*_rows(stage).values(), *beside]


def _rows(stage) -> dict[str, str]:
  """{student, or what makes images: the name under which it is kept}."""
  makers = [stage.maker.name] if stage.maker else []
  return {**stage.kept, **{name: name for name in makers}}


def read(experiment, stage, folder) -> Outcome | None:
  """The networks that the same stage left in a folder, or None.

  A damaged network, or a network of another name, is moved aside with a
  message: the stage is then trained again, from its last whole checkpoint.

  Raises:
    errors.UserError: a network belongs to another training.
  """
  if folder is None:
    return None
  identity, networks = experiment.identities[stage.name], {}
  for name in _names(experiment, stage):
    place = folder / 'networks' / name
    state, networks[name] = resume.read_network(place, name, identity)
    if state.what == resume.FOREIGN:
      raise errors.UserError(f'{state.why}; use another workdir, or overwrite')
    if state.what == resume.DAMAGED and not jax.process_index():
      target = checkpoint.move_aside(place, folder / 'damaged')
      metrics.say(f'{state.why}; moved to {target}')
  parallel.meet(f'{stage.name} is looked at')
  if any(variables is None for variables in networks.values()):
    return None
  end = '_best' if experiment.options['select'] == 'last' else ''
  return Outcome(
    {name: networks[name] for name in _rows(stage).values()},
    best={name: networks[f'{name}{end}'] for name in stage.kept.values()},
  )


def _shared(experiment, stage, session) -> pathlib.Path | None:
  """The folder in which the runs of a sweep share the networks of a stage."""
  if session.shelf is None or stage.name not in experiment.shared:
    return None
  name = identities.fingerprint(experiment.identities[stage.name])
  return session.shelf / name


@contextlib.contextmanager
def turns(lanes: Sequence[tuple]) -> Iterator[bool]:
  """Lets a single run train shared networks; the others read them afterwards.

  Args:
    lanes: (experiment, stage, session) of the networks that are missing.

  Yields:
    Whether it is the turn of this run; False where it was stopped before.
  """
  _, stage, session = lanes[0]
  places = {_shared(*lane) for lane in lanes} - {None}
  if jax.process_index():
    places = ()  # the first process of a run waits for all
  with contextlib.ExitStack() as stack:
    # Sorted, so that no two runs wait for each other.
    yield all(
      stack.enter_context(
        locks.held(p.with_name(f'{p.name}.lock'), session.stop, stage.name)
      )
      for p in sorted(places)
    )


def copy_from_shelf(experiment, stage, session) -> None:
  """Copies the networks that another run of the sweep has trained."""
  place = _shared(experiment, stage, session)
  if place is None:
    return
  if place.exists() and jax.process_index() == 0:
    for network in sorted(place.iterdir()):
      target = session.folder / 'networks' / network.name
      if not target.exists():
        network_files.copy_folder(network, target)
  parallel.meet(f'{stage.name} is copied')


def copy_to_shelf(experiment, stage, session) -> None:
  """Copies the networks of this run for the other runs of the sweep."""
  place = _shared(experiment, stage, session)
  if place is None or place.exists() or jax.process_index():
    return
  part = place.with_name(f'.{place.name}.{os.getpid()}')
  for name in _names(experiment, stage):
    network_files.copy_folder(session.folder / 'networks' / name, part / name)
  part.rename(place)


def write(
  experiment, stage, trained: Mapping[str, Finished], folder
) -> Outcome:
  """Writes the finished networks of a stage; returns what `read` would."""
  select, kept, best = experiment.options['select'], {}, {}
  other = BESIDE[select]
  identity = experiment.identities[stage.name]
  for student, name in _rows(stage).items():
    finished, judged = trained[student], student in stage.students
    kept[name] = getattr(finished, select)
    if judged:
      best[name] = finished.best
    if folder is None or jax.process_index():
      continue
    spec = {
      # What makes images is no network of the table, and loads as none.
      'build': experiment.specs[student] if judged else {'name': name},
      'identity': dict(identity),
      'made_by': identities.fingerprint(identity),
      'versions': checkpoint.versions(),
      'data': {
        'name': experiment.data.name,
        'fingerprint': experiment.data.fingerprint,
      },
      'seed': stage.recipe.seed,
      'steps': stage.recipe.steps,
      'validation': dict(finished.scores),
      'cost': dict(finished.cost),
    }
    rows = {f'{name}_{other}': other} if judged else {}
    for row, moment in {**rows, name: select}.items():
      _write(
        folder / 'networks' / row,
        getattr(finished, moment),
        {**spec, 'network': row, 'select': moment},
      )
  return Outcome(kept, best=best)


def _write(place: pathlib.Path, variables, spec) -> None:
  """Writes a network; an equal network, of a stage killed before, stays."""
  if place.exists():
    with contextlib.suppress(ValueError):
      _, stored = network_files.load_network(place)
      if stored['hash'] == checkpoint.content_hash(dict(variables)):
        return
    metrics.say(f'moved {place} to {checkpoint.move_aside(place)}')
  network_files.save_network(place, variables, spec)
