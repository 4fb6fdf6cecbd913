"""A run on disk: whose folder it is, its seeds, and what is left behind."""

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
  metrics,
  parallel,
  report,
  sweep,
  training,
)
from kd_jax.build import networks as build_networks
from kd_jax.data import sources
from kd_jax.runs import folders
from kd_jax.training import halving, loop

FAILED = 'failed.txt'


def seeds_of(c: config.ConfigDict) -> dict[str, config.ConfigDict]:
  """{folder: config} of the seeds; one seed is the folder itself ('')."""
  if c.seeds == 1:
    return {'': c}
  seeds = range(c.seed, c.seed + c.seeds)
  return {f'seed_{n}': changed(c, {'seed': n, 'seeds': 1}) for n in seeds}


def changed(c: config.ConfigDict, setting: Mapping) -> config.ConfigDict:
  """A copy of a config with dotted keys changed; references still follow."""
  made = copy.deepcopy(c)
  for key, value in setting.items():
    config.change(made, key, value)
  return made


def launch(
  c: config.ConfigDict,
  workdir: pathlib.Path,
  stop: Callable[[], bool] = lambda: False,
  data: sources.Data | None = None,
  shelf: pathlib.Path | None = None,
  plan: loop.Plan = loop.ALONE,
) -> dict:
  """Trains, compares and reports a config: every seed of it.

  Args:
    c: from a config file.
    workdir: where it is kept.
    stop: asked after every step.
    data: in place of the data set that the config names.
    shelf: where runs find what they share.
    plan: how seeds are trained at once.

  Returns:
    The report (see `compare`).

  Raises:
    ValueError: before any work, for a config or folder that cannot be.
    errors.StoppedError, errors.DivergedError: see `training.run`.
  """
  return only(train_all(prepare({'': c}, workdir, data), stop, plan, shelf))


def only(found: Mapping[str, dict | Exception]) -> dict:
  """The one report; why there is none is raised."""
  (one,) = found.values()
  if isinstance(one, Exception):
    raise one
  return one


class Place(NamedTuple):
  """One seed of one setting: its config, its folder, the setting's."""

  config: config.ConfigDict
  folder: pathlib.Path
  setting: pathlib.Path


class Prepared(NamedTuple):
  """Configs that are built and whose folders are claimed.

  Attributes:
    seeds: {setting: the folders of its seeds}.
    workdir: of all.
    groups: [(place, experiment)] of those that train together.
  """

  seeds: Mapping[str, Sequence[pathlib.Path]]
  workdir: pathlib.Path
  groups: Sequence[Sequence[tuple[Place, build.Experiment]]]


def prepare(
  configs: Mapping[str, config.ConfigDict],
  workdir: pathlib.Path,
  data: sources.Data | None = None,
) -> Prepared:
  """Builds all that configs name and claims their folders; trains nothing.

  Args:
    configs: {folder in workdir: config}; '' is workdir itself.
    workdir, data: as in `launch`.

  Raises:
    ValueError: for a config or a folder that cannot be.
  """
  places = {
    (name, seed): Place(one, workdir / name / seed, workdir / name)
    for name, c in configs.items()
    for seed, one in seeds_of(c).items()
  }
  asked = {key: place.config for key, place in places.items()}
  read = build.reader(data)
  groups = [
    make_group([places[key] for key in keys], read(asked[keys[0]]))
    for _, keys in groups_of(asked, read(next(iter(asked.values()))))
  ]
  for name, c in configs.items():
    folders.claim(workdir / name, config.to_json(c))
  for place, experiment in itertools.chain(*groups):
    folders.claim(place.folder, experiment.config)
  seeds = {
    name: [p.folder for p in places.values() if p.setting == workdir / name]
    for name in configs
  }
  return Prepared(seeds, workdir, groups)


def train_all(
  prepared: Prepared,
  stop: Callable[[], bool] = lambda: False,
  plan: loop.Plan = loop.ALONE,
  shelf: pathlib.Path | None = None,
  each: Callable[[], None] = lambda: None,
) -> dict[str, dict | Exception]:
  """Trains, compares and reports, those at once that can be.

  Args:
    prepared: from `prepare`.
    stop, shelf: as in `launch`.
    plan: how lanes are trained at once.
    each: called whenever some of them are finished.

  Returns:
    {folder: the report, or why there is none}.

  Raises:
    errors.StoppedError: asked to stop.
  """
  if shelf is None and sum(map(len, prepared.groups)) > 1:
    shelf = prepared.workdir / 'shelf'
  failed, found = {}, {}
  for group in prepared.groups:
    failed |= run_group(group, stop, plan, shelf)
    parallel.meet('a group is reported')
    for name, seeds in prepared.seeds.items():
      over = all(f in failed or (f / 'report.json').exists() for f in seeds)
      if over and name not in found:
        found[name] = _together(prepared.workdir / name, seeds, failed)
    each()
  return {name: found[name] for name in prepared.seeds}


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
      k: str(v) for k, v in config.flatten(config.to_json(resolved)).items()
    }
  return sweep.stackable(flat, numbers.__contains__)


def make_group(places: Sequence[Place], data=None) -> list[tuple]:
  """[(place, experiment)] of places that train together."""
  first = build.make_experiment(places[0].config, data)
  return [(places[0], first)] + [
    (place, build.make_experiment(place.config, like=first))
    for place in places[1:]
  ]


def run_group(group, stop, plan=loop.ALONE, shelf=None) -> dict:
  """Trains and reports lanes; those that are finished are not done again.

  Returns:
    {folder: why it went no further}.
  """
  failed = {}
  todo = [
    (place.folder, experiment)
    for place, experiment in group
    if not (place.folder / 'report.json').exists()
  ]
  if plan.halving:
    settings = list(dict.fromkeys(place.setting for place, _ in group))
    plan = plan._replace(judge=halving.make_judge(settings, plan.halving))
    failed = {
      place.folder: errors.DroppedError(halving.read(place.setting))
      for place, _ in group
      if halving.read(place.setting)
    }
    todo = [one for one in todo if one[0] not in failed]
  if not todo:
    return failed
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
    found = training.run_all(
      [experiment for _, experiment in todo], sessions, plan
    )
  finally:
    for writer in writers:
      writer.close()
  memo = {}
  for (folder, experiment), done in zip(todo, found):
    if stop():
      raise errors.StoppedError('the comparison with the teacher')
    if isinstance(done, Exception):
      failed[folder] = done
      if not isinstance(done, errors.DroppedError):
        (folder / FAILED).write_text(f'{done}\n')
      continue
    (folder / FAILED).unlink(missing_ok=True)
    compare.run(experiment, done, folder, memo)
    if first:
      report.write(folder)
  return failed


def _together(folder, places, failed) -> dict | Exception:
  """The report of a setting: of its one run, or of all its seeds."""
  for place in places:
    if place in failed:
      return failed[place]
  if list(places) == [folder]:
    return checkpoint.read_json(folder / 'report.json')
  found = compare.combine(folder, places)
  if jax.process_index() == 0:
    report.write(folder)
  return found
