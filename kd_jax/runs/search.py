"""Searches many dimensions: Optuna proposes settings, lanes train them.

The study is a journal in the workdir: the same command continues it, and
trials that were running when it was killed are trained to their end.
"""

import contextlib
import inspect
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping

from kd_jax import (
  config,
  errors,
  identities,
  kinds,
  runs,
  sweep,
  tasks,
  user_file,
)
from kd_jax.runs import folders, sweep_run
from kd_jax.training import halving, lane, loop

JOURNAL, AT_ONCE = 'study.jsonl', 8


def require_optuna():
  """The module optuna; a ValueError where it is not installed."""
  try:
    import optuna
  except ImportError as error:
    raise ValueError(
      '--search optuna needs a package that is optional: pip install optuna'
    ) from error
  return optuna


def space_of(file: str) -> dict[str, sweep.Draw]:
  """{dotted key: distribution}: `search_space()` of a config file.

  Args:
    file: 'FILE' or 'FILE:arg'; a `search_space` with a parameter gets the arg.

  Raises:
    ValueError: where it has none.
  """
  path, _, arg = file.partition(':')
  values = vars(user_file.load(path))
  legal = (
    'a dict of dotted keys and sweep.uniform, sweep.log_uniform or sweep.choice'
  )
  if 'search_space' not in values:
    raise ValueError(f'{path} has no search_space(): {legal}')
  make = user_file.pick(path, values, 'search_space')
  args = [arg] if arg and inspect.signature(make).parameters else []
  space = user_file.call(path, make, *args)
  what = f'search_space() of {path}'
  kinds.check(what, space, Mapping)
  if not space:
    raise ValueError(f'the {what} is empty')
  for key, draw in space.items():
    kinds.check(f'a key of {what}', key, str)
    if not isinstance(draw, sweep.Draw):
      raise ValueError(
        f"'{key}' of {what} is {kinds.short(draw)}; legal: {legal}"
      )
  return space


def check_space(
  file: str, changes: Mapping[str, str], space: Mapping[str, sweep.Draw], data
) -> None:
  """Builds the ends of every distribution, key by key.

  Args:
    file, changes, space, data: as in `run`.

  Raises:
    ValueError: for an invalid key or value, or no validation set to score a
      trial on, before any trial.
  """
  ends = [
    {key: value}
    for key, draw in space.items()
    for value in draw.values or (draw.low, draw.high)
  ]
  swept = {
    str(n): sweep_run.make_one(file, changes, setting, pathlib.Path(str(n)))
    for n, setting in enumerate(ends)
  }
  groups = sweep_run.build_all(swept, pathlib.Path(), data).groups
  halving.need_validation((e for group in groups for _, e in group), '--search')


def describe(space: Mapping[str, sweep.Draw]) -> str:
  """A line for each dimension."""
  rows = [f'  {key}: {_text_of(draw)}' for key, draw in space.items()]
  return '\n'.join(['search:', *rows])


def _text_of(draw: sweep.Draw) -> str:
  """A distribution in a few words."""
  if draw.values:
    return f'{draw.kind} {", ".join(map(str, draw.values))}'
  return f'{draw.kind} {draw.low:g} to {draw.high:g}'


def check_study(workdir: pathlib.Path, space: Mapping[str, sweep.Draw]) -> None:
  """Refuses to continue a study of other keys or distributions.

  Its trials would be rivals of what is drawn now.

  Raises:
    ValueError: naming the keys of both, or the first that is drawn otherwise.
  """
  if not (workdir / JOURNAL).exists():
    return
  for trial in open_study(require_optuna(), workdir).get_trials():
    known = set(trial.params)
    # A trial that was killed while it was drawn has only some of the keys.
    if known != set(space) and (
      trial.state.is_finished() or known - set(space)
    ):
      raise ValueError(
        f'the study in {workdir} searches {", ".join(sorted(known))}, '
        f'and search_space() now has {", ".join(sorted(space))}; use another '
        '--workdir'
      )
    for key, distribution in trial.distributions.items():
      then = _draw_of(distribution)
      if identities.plain(then) != identities.plain(space[key]):
        raise ValueError(
          f'the study in {workdir} draws {key} as {_text_of(then)}, and '
          f'search_space() now as {_text_of(space[key])}; use another '
          '--workdir, or --overwrite'
        )


def _draw_of(distribution) -> sweep.Draw:
  """What Optuna's distribution was made of."""
  if hasattr(distribution, 'choices'):
    return sweep.Draw('choice', values=distribution.choices)
  kind = 'log_uniform' if distribution.log else 'uniform'
  return sweep.Draw(kind, distribution.low, distribution.high)


def run(
  file: str,
  changes: Mapping[str, str],
  space: Mapping[str, sweep.Draw],
  trials: int,
  workdir: pathlib.Path,
  stop: Callable[[], bool],
  data=None,
  plan: loop.Plan = loop.ALONE,
) -> list[dict]:
  """Trains settings that Optuna proposes until there are `trials` of them.

  TPE proposes as many at a time as are trained at once; a median pruner drops
  lanes by the task's score on validation.

  Args:
    file, changes: as in `sweep_run.make`.
    space: {dotted key: distribution}.
    trials: in all, those of earlier starts included.
    workdir: of the study and of a folder a trial.
    stop, data, plan: as in `runs.launch`.

  Returns:
    As `sweep_run.collect`.
  """

  def train(batched, prepared, names):
    task = prepared.groups[0][0][1].task
    pruned = plan._replace(pruner=make_pruner(names, task))
    rows = sweep_run.launch(batched, prepared, stop, pruned)
    return {row['setting']: row['validation'] for row in rows}

  _, settings = explore(
    file, changes, space, trials, workdir, train, data, plan.lanes
  )
  return sweep_run.collect(settings, workdir)


def explore(
  file: str,
  changes: Mapping[str, str],
  space: Mapping[str, sweep.Draw],
  trials: int,
  workdir: pathlib.Path,
  train: Callable[[Mapping, runs.Prepared, Mapping], Mapping[str, float]],
  data=None,
  lanes: int = 0,
) -> tuple:
  """Proposes settings and has them trained until there are `trials` of them.

  Args:
    file, changes, space, trials, workdir, data: as in `run`.
    train: ({trial: Swept}, what is built of them, {trial: Optuna's}) ->
      {trial: score on validation} of those that were trained to their end.
    lanes: trials that are proposed together; 0: `AT_ONCE`.

  Returns:
    The study, and {trial: Swept}.

  Raises:
    errors.UserError: for values that do not go together, before the trials
      that are proposed with them are trained.
  """
  optuna = require_optuna()
  sweep_of = config.to_json(config.read(file, changes))
  folders.claim_sweep(workdir, sweep_of)
  study, settings = open_study(optuna, workdir), {}

  def swept(trial):
    name = f'trial_{trial.number:04d}'
    values = {key: propose(trial, key, draw) for key, draw in space.items()}
    with _invalid(workdir):
      return name, sweep_run.make_one(file, changes, values, workdir / name)

  for trial in study.get_trials():
    settings |= [swept(optuna.trial.FixedTrial(trial.params, trial.number))]
  running = optuna.trial.TrialState.RUNNING
  batch = [
    optuna.trial.Trial(study, t._trial_id)
    for t in study.get_trials(states=(running,))
  ]
  while batch or len(settings) < trials:
    while len(settings) < trials and len(batch) < (lanes or AT_ONCE):
      batch.append(study.ask())
      settings |= [swept(batch[-1])]
    names = {f'trial_{trial.number:04d}': trial for trial in batch}
    batched = {name: settings[name] for name in names}
    with _invalid(workdir):
      prepared = sweep_run.build_all(batched, workdir, data)
    runs.claim(prepared, sweep_of)
    scores = train(batched, prepared, names)
    tell(optuna, study, names, scores, prepared.groups[0][0][1].task)
    batch = []
  return study, settings


@contextlib.contextmanager
def _invalid(workdir: pathlib.Path) -> Iterator[None]:
  """Makes what is refused of a trial's config a mistake of its space."""
  try:
    yield
  except ValueError as error:
    raise errors.UserError(
      f'a trial of the search in {workdir} cannot be: {error}; change '
      'search_space(), and use another --workdir or --overwrite'
    ) from error


def open_study(optuna, workdir: pathlib.Path):
  """The study of a workdir; a new one where there is none."""
  optuna.logging.set_verbosity(optuna.logging.WARNING)
  workdir.mkdir(parents=True, exist_ok=True)
  journal = optuna.storages.journal
  backend = journal.JournalFileBackend(str(workdir / JOURNAL))
  return optuna.create_study(
    study_name='kd_jax',
    direction='maximize',
    load_if_exists=True,
    storage=journal.JournalStorage(backend),
    sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=AT_ONCE),
  )


def propose(trial, key: str, draw: sweep.Draw):
  """The trial's value of a key."""
  if draw.kind == 'choice':
    return trial.suggest_categorical(key, draw.values)
  log = draw.kind == 'log_uniform'
  return trial.suggest_float(key, draw.low, draw.high, log=log)


def make_pruner(
  trials: Mapping[str, object], task: tasks.Task = tasks.CLASSIFICATION
) -> Callable:
  """A pruner (see `loop.Plan`) that decides as the pruner of the study.

  A study maximizes: it is told the negative of a score of which less is better.
  """

  def pruner(lanes):
    scores, dropped = {}, {}
    for i, member in lanes.items():
      place = member.session.folder
      place = place if place.name in trials else place.parent
      score = i, lane.score(member), member.step
      scores.setdefault(place, []).append(score)
    for place, lane_scores in scores.items():
      mean = sum(x for _, x, _ in lane_scores) / len(lane_scores)
      step = lane_scores[0][2]
      trial = trials[place.name]
      trial.report(task.better * mean, step)
      if trial.should_prune():
        halving.note(place, step, mean, task)
        reason = errors.DroppedError(halving.read(place))
        dropped |= {i: reason for i, _, _ in lane_scores}
    return dropped

  return pruner


def tell(
  optuna,
  study,
  trials: Mapping[str, object],
  scores: Mapping[str, float],
  task: tasks.Task,
) -> None:
  """Reports to the study how the trials ended."""
  states = optuna.trial.TrialState
  for name, trial in trials.items():
    if name in scores:
      study.tell(trial, task.better * scores[name])
    elif trial.study.trials[trial.number].intermediate_values:
      study.tell(trial, state=states.PRUNED)
    else:
      print(f'{name} failed', file=sys.stderr)
      study.tell(trial, state=states.FAIL)
