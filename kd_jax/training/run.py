"""The loop over stages, of one experiment or of many that train together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kd_jax import build, errors, stages, types
from kd_jax.training import cached_teachers, finished, loop

# The public face of the smaller files.
Session = finished.Session
Finished = finished.Finished


def run(
  experiment: build.Experiment, session: finished.Session
) -> dict[str, types.Variables]:
  """Trains every stage of an experiment that is not finished yet.

  Returns:
    {network: variables} of all that is finished, loaded ones too.

  Raises:
    errors.StoppedError: asked to stop; the same run continues where it was.
    errors.DivergedError: a loss became NaN or infinite.
    errors.CacheError: stored teachers are of something else.
  """
  (done,) = run_all([experiment], [session])
  if isinstance(done, Exception):
    raise done
  return done


def run_all(
  experiments: Sequence[build.Experiment],
  sessions: Sequence[finished.Session],
  plan: loop.Plan = loop.ALONE,
) -> list[dict[str, types.Variables] | Exception]:
  """Trains experiments that differ in numbers and seeds alone, at once.

  Each leaves what it would have left alone. What several have in common (see
  `Experiment.shared`) is trained once.

  Args:
    experiments: made `like` the first.
    sessions: one each.
    plan: how lanes are moved.

  Returns:
    For each as `run` does, or why it went no further.

  Raises:
    errors.StoppedError, errors.CacheError: see `run`.
  """
  for experiment, session in zip(experiments, sessions):
    cached_teachers.check(experiment, session)
  many = _Many(experiments, sessions, [dict(e.loaded) for e in experiments], {})
  for k in range(len(experiments[0].stages)):
    _train(many, k, plan)
  return many.done


class _Many(NamedTuple):
  """The experiments, and what is finished of each, or why it failed.

  Attributes:
    known: {(stage, settings): networks}: one copy in memory of what many have.
  """

  experiments: Sequence[build.Experiment]
  sessions: Sequence[finished.Session]
  done: list[dict[str, types.Variables] | Exception]
  known: dict[tuple[str, str], dict[str, types.Variables]]


def _train(many: _Many, k: int, plan: loop.Plan) -> None:
  """Stage k of every experiment that has not failed."""
  well = [
    i for i, done in enumerate(many.done) if not isinstance(done, Exception)
  ]
  missing = [i for i in well if not _find(many, i, k)]
  if not missing:
    return
  wanted = [
    (many.experiments[i], many.experiments[i].stages[k], many.sessions[i])
    for i in missing
  ]
  with finished.turns(wanted) as mine:
    if not mine:
      raise errors.StoppedError(f'{wanted[0][1].name}, which another run makes')
    _make(many, k, [i for i in missing if not _find(many, i, k)], plan)


def _make(many: _Many, k: int, missing: list[int], plan: loop.Plan) -> None:
  """Trains stage k of those that lack it; one of those that are equal."""
  firsts, waiting = {}, []
  for i in missing:
    first = firsts.setdefault(_key(many, i, k), i)
    if first != i:
      waiting.append((i, first))
  for group in _groups(many, firsts.values(), k):
    _train_group(many, k, group, plan)
  for i, first in waiting:
    if isinstance(many.done[first], Exception):
      many.done[i] = many.done[first]
    else:
      _find(many, i, k)


def _key(many, i, k) -> tuple:
  """Equal for those that would train the very same; else its own."""
  experiment = many.experiments[i]
  stage = experiment.stages[k]
  own = None if stage.name in experiment.shared else i
  return stage.name, experiment.settings[stage.name], own


def _find(many, i, k) -> bool:
  """Whether the networks of stage k are there already; they are then done."""
  experiment, session = many.experiments[i], many.sessions[i]
  stage, key = experiment.stages[k], _key(many, i, k)
  finished.take(experiment, stage, session)
  found = finished.found(experiment, stage, session.folder)
  if found is None and session.folder is not None:
    return False
  found = many.known.get(key, found)
  if found is None:
    return False
  many.done[i] |= many.known.setdefault(key, found)
  return True


def _groups(many, wanted, k) -> list[list[int]]:
  """Those that train together: the very same frozen networks teach them."""
  groups = {}
  for i in wanted:
    frozen = many.experiments[i].stages[k].frozen
    key = tuple(id(many.done[i][name]) for name in frozen)
    groups.setdefault(key, []).append(i)
  return list(groups.values())


def _train_group(many, k, group, plan) -> None:
  """Trains stage k of some experiments as lanes; keeps what they made."""
  experiment = many.experiments[group[0]]
  done = many.done[group[0]]
  frozen = {name: done[name] for name in experiment.stages[k].frozen}
  wanted = []
  for i in group:
    stage = many.experiments[i].stages[k]
    starts = {s: many.done[i][name] for s, name in stage.starts.items()}
    wanted.append((stage, starts, many.sessions[i]))
  last = k + 1 == len(experiment.stages)
  plan = plan if last else plan._replace(judge=None)
  for i, found in zip(group, loop.train(experiment, wanted, frozen, plan)):
    own, session = many.experiments[i], many.sessions[i]
    if isinstance(found, Exception):
      many.done[i] = found
      continue
    stage = own.stages[k]
    networks = finished.keep(own, stage, found, session.folder)
    finished.give(own, stage, session)
    many.done[i] |= many.known.setdefault(_key(many, i, k), networks)


def train_stage(
  experiment: build.Experiment,
  stage: stages.Stage,
  frozen: Mapping[str, types.Variables],
  starts: Mapping[str, types.Variables],
  session: finished.Session,
) -> dict[str, finished.Finished]:
  """Trains the students of a stage, from its newest checkpoint if it has one.

  Args:
    experiment: networks, data, placement.
    stage: what is trained.
    frozen: {network: variables} that never change.
    starts: {student: variables} of those that do not start afresh.
    session: folder, writer, stop.

  Returns:
    {student: Finished}.
  """
  (found,) = loop.train(experiment, [(stage, starts, session)], frozen)
  if isinstance(found, Exception):
    raise found
  return found
