"""Trains the stages of an experiment, or of many experiments together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from kd_jax import build, errors, identities, metrics, stages, types
from kd_jax.training import cached_teachers, finished, loop, made, resume


def run(
  experiment: build.Experiment, session: finished.Session
) -> dict[str, types.Variables]:
  """Trains every stage of an experiment that is not finished yet.

  Returns:
    {network: variables} of all that is finished, loaded ones too.

  Raises:
    errors.StoppedError: `stop` was true; the same run continues there.
    errors.DivergedError: a loss became NaN or infinite.
    errors.CacheError: the cached teacher outputs belong to something else.
    errors.UserError: what is in the folder belongs to another training, or
      the placement does not allow the plan.
  """
  (outcome,) = run_all([experiment], [session])
  return outcome.unwrap()


def run_all(
  experiments: Sequence[build.Experiment],
  sessions: Sequence[finished.Session],
  plan: loop.Plan = loop.ALONE,
) -> list[finished.Outcome]:
  """Trains experiments that differ in numbers and seeds alone, at once.

  Each leaves the files that it would leave alone. Stages that several share
  (see `Experiment.shared`) are trained once.

  Args:
    experiments: built `like` the first.
    sessions: of each experiment.
    plan: how lanes are trained.

  Returns:
    For each {network: variables} as `run` returns, or its failure.

  Raises:
    errors.StoppedError, errors.CacheError, errors.UserError: see `run`.
  """
  loop.check(plan, experiments[0])
  for experiment, session in zip(experiments, sessions):
    cached_teachers.check(experiment, session)
  outcomes = [finished.Outcome(dict(e.loaded)) for e in experiments]
  many = _Many(experiments, sessions, outcomes, {})
  for k in range(len(experiments[0].stages)):
    _train(many, k, plan)
  return many.outcomes


class _Many(NamedTuple):
  """The experiments, and the finished networks or the failure of each.

  Attributes:
    known: {(stage, fingerprint): outcome}: a single copy in memory of the
      networks that many have.
  """

  experiments: Sequence[build.Experiment]
  sessions: Sequence[finished.Session]
  outcomes: list[finished.Outcome]
  known: dict[tuple[str, str], finished.Outcome]


def _train(many: _Many, k: int, plan: loop.Plan) -> None:
  """Trains stage k of every experiment that has not failed."""
  running = [i for i, done in enumerate(many.outcomes) if not done.failure]
  missing = [i for i in running if not _read(many, i, k)]
  _announce(many, k, running, missing)
  if not missing:
    return
  lanes = [
    (many.experiments[i], many.experiments[i].stages[k], many.sessions[i])
    for i in missing
  ]
  with finished.turns(lanes) as may_train:
    if not may_train:
      name = lanes[0][1].name
      raise errors.StoppedError(f"'{name}', which another run is training")
    missing = [i for i in missing if not _read(many, i, k)]
    _train_missing(many, k, missing, plan)


def _announce(many, k, running, missing) -> None:
  """Prints which experiments have finished the stage and which continue.

  Raises:
    errors.UserError: a checkpoint belongs to another training.
  """
  ready = [i for i in running if i not in missing and many.sessions[i].folder]
  if ready:
    name = many.experiments[ready[0]].stages[k].name
    place = many.sessions[ready[0]].folder / 'networks'
    others = f' and {len(ready) - 1} more runs' if len(ready) > 1 else ''
    metrics.say(f'{name}: finished before, read from {place}{others}')
  for i in missing:
    experiment, folder = many.experiments[i], many.sessions[i].folder
    stage = experiment.stages[k]
    if folder is None:
      continue
    identity = experiment.identities[stage.name]
    status = resume.of_checkpoints(
      folder / 'checkpoints' / stage.name, identity
    )
    if status.what == resume.FOREIGN:
      raise errors.UserError(
        f'{status.why}; use another workdir, or overwrite this one'
      )
    if status.what == resume.AT:
      metrics.say(
        f'{stage.name}: continues at step {status.step} of '
        f'{stage.recipe.steps} in {folder}'
      )


def _train_missing(
  many: _Many, k: int, missing: list[int], plan: loop.Plan
) -> None:
  """Trains stage k of those that lack it; equal stages are trained once."""
  firsts, waiting = {}, []
  for i in missing:
    first = firsts.setdefault(_key(many, i, k), i)
    if first != i:
      waiting.append((i, first))
  for group in _groups(many, firsts.values(), k):
    _train_group(many, k, group, plan)
  for i, first in waiting:
    if many.outcomes[first].failure:
      many.outcomes[i] = many.outcomes[first]
    else:
      _read(many, i, k)


def _key(many, i, k) -> tuple:
  """A key that is equal for experiments that share the stage."""
  experiment = many.experiments[i]
  stage = experiment.stages[k]
  number = None if stage.name in experiment.shared else i
  identity = identities.fingerprint(experiment.identities[stage.name])
  return stage.name, identity, number


def _read(many, i, k) -> bool:
  """Reads the networks of stage k; whether they were there."""
  experiment, session = many.experiments[i], many.sessions[i]
  stage, key = experiment.stages[k], _key(many, i, k)
  finished.copy_from_shelf(experiment, stage, session)
  outcome = finished.read(experiment, stage, session.folder)
  if outcome is None and session.folder is not None:
    return False
  outcome = many.known.get(key, outcome)
  if outcome is None:
    return False
  _add(many, i, many.known.setdefault(key, outcome))
  return True


def _add(many, i, new: finished.Outcome) -> None:
  """Adds the networks of a stage to the outcome of an experiment."""
  old = many.outcomes[i]
  many.outcomes[i] = finished.Outcome(
    {**old.networks, **new.networks}, best={**old.best, **new.best}
  )


def _groups(many, members: Iterable[int], k) -> list[list[int]]:
  """Groups that train together: with the same frozen networks in memory.

  Likewise the images of earlier stages on which they train.
  """
  groups = {}
  for i in members:
    stage = many.experiments[i].stages[k]
    names = (*stage.frozen, *(maker.name for maker in stage.transfer))
    key = tuple(id(many.outcomes[i].networks[name]) for name in names)
    groups.setdefault(key, []).append(i)
  return list(groups.values())


def _train_group(many, k, group, plan) -> None:
  """Trains stage k of some experiments as lanes, and writes their networks."""
  experiment = many.experiments[group[0]]
  networks = many.outcomes[group[0]].networks
  experiment = made.on_images(experiment, experiment.stages[k], networks)
  frozen = {name: networks[name] for name in experiment.stages[k].frozen}
  entries = [_entry(many, i, k) for i in group]
  last = k + 1 == len(experiment.stages)
  lanes = f' x{len(group)}' if len(group) > 1 else ''
  data = experiment.data
  metrics.say(
    f'training {experiment.stages[k].name}{lanes} '
    f'({k + 1} of {len(experiment.stages)} stages) on '
    f'{data.train.labels.shape[0]} examples of {data.name}'
  )
  plan = plan if last else plan._replace(pruner=None)
  for i, trained in zip(group, loop.train(experiment, entries, frozen, plan)):
    if trained.failure:
      many.outcomes[i] = trained
      continue
    member, session = many.experiments[i], many.sessions[i]
    stage = member.stages[k]
    outcome = finished.write(member, stage, trained.networks, session.folder)
    finished.copy_to_shelf(member, stage, session)
    _add(many, i, many.known.setdefault(_key(many, i, k), outcome))


def _entry(many, i, k) -> loop.Entry:
  """Stage k of an experiment as the loop takes it."""
  experiment = many.experiments[i]
  stage, networks = experiment.stages[k], many.outcomes[i].networks
  return loop.Entry(
    stage,
    {student: networks[name] for student, name in stage.starts.items()},
    many.sessions[i],
    experiment.identities[stage.name],
  )


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
  identity = experiment.identities.get(stage.name, {})
  entry = loop.Entry(stage, starts, session, identity)
  (trained,) = loop.train(experiment, [entry], frozen)
  return trained.unwrap()
