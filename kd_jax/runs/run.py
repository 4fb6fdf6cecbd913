"""Runs a config: builds it, claims its folder, trains, compares, reports."""

import copy
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from kd_jax import (
  build,
  checkpoint,
  compare,
  config,
  errors,
  identities,
  metrics,
  parallel,
  report,
  sweep,
  training,
)
from kd_jax.build import networks as build_networks
from kd_jax.compare import seeds
from kd_jax.data import sources
from kd_jax.executors import jobs, status
from kd_jax.export import outside
from kd_jax.runs import folders
from kd_jax.training import finished, halving, resume


def seeds_of(c: config.ConfigDict) -> dict[str, config.ConfigDict]:
  """{folder: config} of the seeds; one seed is the folder itself ('')."""
  if c.seeds == 1:
    return {'': c}
  numbers = range(c.seed, c.seed + c.seeds)
  return {f'seed_{n}': changed(c, {'seed': n, 'seeds': 1}) for n in numbers}


def changed(c: config.ConfigDict, setting: Mapping) -> config.ConfigDict:
  """A copy of a config with dotted keys changed; references still follow."""
  other = copy.deepcopy(c)
  for key, value in setting.items():
    config.change(other, key, value)
  return other


class Result(NamedTuple):
  """The report of a setting, or why there is none."""

  report: Mapping[str, Any] | None
  failure: Exception | None = None

  def unwrap(self) -> dict:
    """The report; raises why there is none."""
    if self.failure:
      raise self.failure
    return self.report


def launch(
  c: config.ConfigDict,
  workdir: pathlib.Path,
  stop: Callable[[], bool] = lambda: False,
  data: sources.Data | None = None,
  shelf: pathlib.Path | None = None,
  plan: training.Plan = training.ALONE,
) -> dict:
  """Trains, compares and reports a config: every seed of it.

  Args:
    c: from a config file.
    workdir: folder of the run.
    stop: called after every step; training saves and stops once it is true.
    data: in place of the data set that the config names.
    shelf: folder of the networks that runs share.
    plan: how seeds are trained at once.

  Returns:
    The report (see `compare`).

  Raises:
    ValueError: before any work, for an invalid config or folder.
    errors.StoppedError, errors.DivergedError: see `training.run`.
  """
  prepared = claim(build_all({'': c}, workdir, data))
  return train_all(prepared, stop, plan, shelf)[''].unwrap()


class Place(NamedTuple):
  """A seed of a setting: its config, its folder, the folder of the setting."""

  config: config.ConfigDict
  folder: pathlib.Path
  setting: pathlib.Path


class Prepared(NamedTuple):
  """Configs whose experiments are built.

  Attributes:
    configs: {setting: its config}.
    seeds: {setting: the folders of its seeds}.
    workdir: of all.
    groups: [(place, experiment)] of those that train together.
  """

  configs: Mapping[str, config.ConfigDict]
  seeds: Mapping[str, Sequence[pathlib.Path]]
  workdir: pathlib.Path
  groups: Sequence[Sequence[tuple[Place, build.Experiment]]]


def build_all(
  configs: Mapping[str, config.ConfigDict],
  workdir: pathlib.Path,
  data: sources.Data | None = None,
) -> Prepared:
  """Builds the experiments of configs; writes and trains nothing.

  Configs that differ in numbers of the state alone share networks and data.

  Args:
    configs: {folder in workdir: config}; '' is workdir itself.
    workdir, data: as in `launch`.

  Raises:
    ValueError: for an invalid config.
  """
  places = {
    (name, seed): Place(seed_config, workdir / name / seed, workdir / name)
    for name, c in configs.items()
    for seed, seed_config in seeds_of(c).items()
  }
  seed_configs = {key: place.config for key, place in places.items()}
  for c in seed_configs.values():
    config.validate(c)
  read = build.reader(data)
  groups = [
    make_group([places[key] for key in keys], read(seed_configs[keys[0]]))
    for _, keys in groups_of(
      seed_configs, read(next(iter(seed_configs.values())))
    )
  ]
  folders_of = {name: [] for name in configs}
  for (name, _), place in places.items():
    folders_of[name].append(place.folder)
  return Prepared(configs, folders_of, workdir, groups)


def claim(prepared: Prepared, sweep_of: Mapping | None = None) -> Prepared:
  """Claims the folders of all experiments.

  Args:
    prepared: from `build_all`.
    sweep_of: the config (JSON) that the settings of a sweep change; None of
      a single run.

  Raises:
    errors.UserError: for a folder that belongs to something else.
  """
  workdir = prepared.workdir
  if sweep_of is not None:
    folders.claim_sweep(workdir, dict(sweep_of))
  claimed = set()
  for place, experiment in itertools.chain(*prepared.groups):
    if place.setting not in {place.folder, *claimed}:
      claimed.add(place.setting)
      name = str(place.setting.relative_to(workdir))
      whole = prepared.configs['' if name == '.' else name]
      folders.claim(place.setting, config.to_json(whole), experiment.inputs)
    folders.claim(
      place.folder,
      experiment.config,
      experiment.inputs,
      experiment.data.tokenizer,
    )
  return prepared


def train_all(
  prepared: Prepared,
  stop: Callable[[], bool] = lambda: False,
  plan: training.Plan = training.ALONE,
  shelf: pathlib.Path | None = None,
  each: Callable[[], None] = lambda: None,
  pages: bool = True,
) -> dict[str, Result]:
  """Trains, compares and reports all settings, as many as possible at once.

  Args:
    prepared: from `claim`.
    stop, shelf: as in `launch`.
    plan: how lanes are trained at once.
    each: called after every group of settings.
    pages: whether reports are written as pages too (`kd_jax.report` makes them
      of finished runs).

  Returns:
    {setting: its report, or why there is none}.

  Raises:
    errors.StoppedError: `stop` was true.
    errors.BusyError: another process trains in one of the folders.
  """
  if shelf is None and sum(map(len, prepared.groups)) > 1:
    shelf = prepared.workdir / jobs.SHELF
  failed, results = {}, {}
  places = [place for group in prepared.groups for place, _ in group]
  with folders.lock(*(p.folder for p in places), *(p.setting for p in places)):
    for group in prepared.groups:
      failed |= run_group(group, stop, plan, shelf, pages)
      parallel.meet('a group is reported')
      for name, runs in prepared.seeds.items():
        over = all(f in failed or (f / resume.REPORT).exists() for f in runs)
        if over and name not in results:
          if len(prepared.seeds) == 1 < len(runs):
            metrics.say(f'writing the report over {len(runs)} seeds')
          folder = prepared.workdir / name
          results[name] = _together(folder, runs, failed, pages)
      each()
  return {name: results[name] for name in prepared.seeds}


def train_only(
  prepared: Prepared,
  stop: Callable[[], bool],
  plan: training.Plan = training.ALONE,
  shelf: pathlib.Path | None = None,
) -> dict[str, list[finished.Outcome]]:
  """Trains settings without comparing them: no test set is read.

  Args:
    prepared, stop, plan, shelf: as in `train_all`.

  Returns:
    {setting: the outcome of each of its seeds}.

  Raises:
    errors.StoppedError, errors.BusyError: as `train_all`.
  """
  outcomes = {name: [] for name in prepared.configs}
  names = {prepared.workdir / name: name for name in prepared.configs}
  places = [place for group in prepared.groups for place, _ in group]
  with folders.lock(*(p.folder for p in places), *(p.setting for p in places)):
    for group in prepared.groups:
      todo = [(place.folder, experiment) for place, experiment in group]
      for (place, _), outcome in zip(group, _train(todo, stop, plan, shelf)):
        outcomes[names[place.setting]].append(outcome)
  return outcomes


def groups_of(
  configs: Mapping[Any, config.ConfigDict], data: sources.Data | None = None
) -> list[tuple[str | None, list]]:
  """[(the key that splits a group from those before it, names)].

  The lanes of a group train together: they differ in numbers of the state.
  """
  first = next(iter(configs.values()))
  data = data or build.make_data(first)
  numbers, flat = set(), {}
  for name, c in configs.items():
    resolved = config.resolve(c)
    numbers |= build_networks.number_keys(resolved, data)
    flat[name] = {
      k: str(v) for k, v in identities.flatten(config.to_json(resolved)).items()
    }
  return sweep.stackable(flat, numbers.__contains__)


def make_group(places: Sequence[Place], data=None) -> list[tuple]:
  """[(place, experiment)] of places that train together."""
  first = build.make_experiment(places[0].config, data)
  return [(places[0], first)] + [
    (place, build.make_experiment(place.config, like=first))
    for place in places[1:]
  ]


def is_finished(experiment: build.Experiment, folder: pathlib.Path) -> bool:
  """Whether a run has its report, and every network in it.

  Prints which are missing: they are then trained again.
  """
  run = resume.of_run(folder)
  if run.what == resume.DAMAGED:
    metrics.say(f'{run.why}; it is made again')
  if run.what != resume.FINISHED:
    return False
  for stage in experiment.stages:
    state = finished.status(experiment, stage, folder)
    if state.what != resume.FINISHED:
      why = f' ({state.why})' if state.why else ''
      metrics.say(
        f'{folder} has a report, but the networks of its stage '
        f"'{stage.name}' are missing or not its own{why}: they are made again"
      )
      return False
  return True


def run_group(group, stop, plan=training.ALONE, shelf=None, pages=True) -> dict:
  """Trains and reports the lanes that are not finished.

  Returns:
    {folder: why it went no further}.
  """
  failed = {}
  todo = [
    (place.folder, experiment)
    for place, experiment in group
    if not is_finished(experiment, place.folder)
  ]
  if plan.halving:
    settings = list(dict.fromkeys(place.setting for place, _ in group))
    task = group[0][1].task
    pruner = halving.make_pruner(settings, plan.halving, task)
    plan = plan._replace(pruner=pruner)
    failed = {
      place.folder: errors.DroppedError(halving.read(place.setting))
      for place, _ in group
      if halving.read(place.setting)
    }
    todo = [lane for lane in todo if lane[0] not in failed]
  if not todo:
    return failed
  outcomes = _train(todo, stop, plan, shelf)
  return failed | _report(todo, outcomes, stop, pages)


def _report(
  todo, outcomes: Sequence[finished.Outcome], stop, pages: bool
) -> dict:
  """Compares and reports trained [(folder, experiment)].

  Returns:
    {folder: why it went no further}.
  """
  failed, memo = {}, {}
  update, close = metrics.Progress(lambda *_: None, lambda: None)
  if len(todo) > 1:
    every = todo[0][1].options['log_every']
    update, close = metrics.make_progress(
      'comparing and reporting', 0, len(todo), every, unit='run'
    )
  for number, ((folder, experiment), outcome) in enumerate(
    zip(todo, outcomes), 1
  ):
    if stop():
      raise errors.StoppedError('the comparison with the teacher')
    if outcome.failure:
      failed[folder] = outcome.failure
      if not isinstance(outcome.failure, errors.DroppedError):
        (folder / status.FAILURE).write_text(f'{outcome.failure}\n')
      continue
    (folder / status.FAILURE).unlink(missing_ok=True)
    compare.run(experiment, outcome.networks, folder, memo, outside.make_run)
    if len(todo) == 1:
      metrics.say('writing the report')
    if jax.process_index() == 0 and pages:
      report.write(folder)
    update(number, dict)
  close()
  return failed


def _train(todo, stop, plan, shelf) -> list[finished.Outcome]:
  """Trains [(folder, experiment)] together, with a writer of metrics each."""
  first = jax.process_index() == 0
  writers = [
    metrics.make_writer(folder) if first else metrics.silent()
    for folder, _ in todo
  ]
  sessions = [
    training.Session(folder, writer, stop, shelf)
    for (folder, _), writer in zip(todo, writers)
  ]
  try:
    experiments = [experiment for _, experiment in todo]
    return training.run_all(experiments, sessions, plan)
  finally:
    for writer in writers:
      writer.close()


def _together(folder, runs, failed, pages: bool) -> Result:
  """The report of a setting: of its only run, or of all its seeds."""
  for run in runs:
    if run in failed:
      return Result(None, failed[run])
  if list(runs) == [folder]:
    return Result(checkpoint.read_json(folder / resume.REPORT))
  combined = seeds.combine(folder, runs)
  if jax.process_index() == 0 and pages:
    report.write(folder)
  return Result(combined)
