"""Tunes each setting of a sweep by a search, then trains what it chose anew.

The settings are rivals, such as methods: each gets as many trials, in its own
`search_space(arg)`, with seeds that its runs do not have. Trials are scored on
validation alone, and no trial reads the test set; the runs of the best trial's
values are compared as those of any sweep.

A setting has its folder, and its study lies in TUNING/SETTING: the same command
continues both. Where more trials find better values, the run of the old ones is
moved aside, and the new ones are trained. The page of the sweep is written at
the end; those of its runs are left to `python -m kd_jax.report DIR`, since they
take longer than training a small network.
"""

import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kd_jax import build, checkpoint, config, network_files, runs, sweep
from kd_jax.executors import jobs
from kd_jax.runs import folders, search, sweep_run
from kd_jax.training import loop

TUNING = 'tuning'  # the folder of the studies
SEEDS = 2  # of a trial, whose mean it is scored by


def spaces(
  file: str, settings: Sequence[sweep.Setting]
) -> dict[str, dict[str, sweep.Draw]]:
  """{setting: what is searched}.

  Raises:
    ValueError: for a key that a setting has and its search too; otherwise as
      `search.space_of`.
  """
  spaces = {}
  for name, setting in sweep.expand(settings).items():
    space = search.space_of(jobs.split(file, setting)[0])
    shared = space.keys() & setting.keys()
    if shared:
      raise ValueError(
        f"'{shared.pop()}' is in the sweep and in search_space(); leave one out"
      )
    spaces[name] = space
  return spaces


def check(
  file: str, changes: Mapping[str, str], settings: Sequence[sweep.Setting]
) -> None:
  """Builds every setting at the ends of its search, before any trial.

  Raises:
    ValueError: as `search.check_space`.
  """
  read = build.reader()
  for setting, space in zip(settings, spaces(file, settings).values()):
    path, rest = jobs.split(file, setting)
    more = _with(changes, rest)
    named = any(key.partition('.')[0] == 'data' for key in space)
    data = None if named else read(config.read(path, more))
    search.check_space(path, more, space, data)


def run(
  file: str,
  changes: Mapping[str, str],
  settings: Sequence[sweep.Setting],
  trials: int,
  workdir: pathlib.Path,
  stop: Callable[[], bool],
  plan: loop.Plan = loop.ALONE,
) -> list[dict]:
  """Tunes and trains the settings of a sweep, one after the other.

  Args:
    file, changes, settings: as in `sweep_run.make`.
    trials: of each setting.
    workdir: of the sweep.
    stop, plan: as in `runs.launch`.

  Returns:
    As `sweep_run.collect`: 'values' has what the search chose too.
  """
  folders.claim_sweep(workdir, config.to_json(config.read(file, changes)))
  swept = {}
  searched = spaces(file, settings)
  for name, setting in sweep.expand(settings).items():
    best = tune(
      file, changes, setting, searched[name], trials, workdir, name, stop, plan
    )
    if best is None:
      print(f'{name}: no trial reached its end', file=sys.stderr)
      continue
    chosen = {**setting, **best}
    swept[name] = sweep_run.make_one(file, changes, chosen, workdir / name)
    prepared = sweep_run.build_all({name: swept[name]}, workdir)
    folders.supersede(workdir / name, _settings(prepared), searched[name])
    runs.claim(prepared)
    shelf = workdir / jobs.SHELF
    (result,) = runs.train_all(
      prepared, stop, plan, shelf, pages=False
    ).values()
    if result.failure:
      print(f'{name}: {result.failure}', file=sys.stderr)
  return sweep_run.collect(swept, workdir)


def _settings(prepared: runs.Prepared) -> Mapping:
  """The config that a single setting's folder is claimed with, as JSON."""
  ((place, experiment), *_), *_ = prepared.groups
  if place.setting == place.folder:
    return experiment.config
  (c,) = prepared.configs.values()
  return config.to_json(c)


def tune(
  file: str,
  changes: Mapping[str, str],
  setting: sweep.Setting,
  space: Mapping[str, sweep.Draw],
  trials: int,
  workdir: pathlib.Path,
  name: str,
  stop: Callable[[], bool],
  plan: loop.Plan = loop.ALONE,
) -> dict[str, Any] | None:
  """The values of the trial that is best on validation; None without any.

  Args:
    file, changes, trials, workdir, stop, plan: as in `run`.
    setting: whose values are kept.
    space: {dotted key: distribution}.
    name: of the setting's folder.
  """
  path, rest = jobs.split(file, setting)
  c = config.read(path, changes)
  more = {'seed': c.seed + c.seeds, 'seeds': SEEDS, 'baseline': False}
  folder = workdir / TUNING / name

  def train(batched, prepared, names):
    del names
    outcomes = runs.train_only(prepared, stop, plan, workdir / jobs.SHELF)
    scores = {}
    for trial in batched:
      failures = [o.failure for o in outcomes[trial] if o.failure]
      if failures:
        print(f'{name}, {trial}: {failures[0]}', file=sys.stderr)
      else:
        scores[trial] = score(prepared.seeds[trial], prepared)
    return scores

  study, _ = search.explore(
    path,
    _with(changes, {**rest, **more}),
    space,
    trials,
    folder,
    train,
    lanes=plan.lanes or trials,
  )
  done = [t for t in study.get_trials() if t.value is not None]
  return dict(study.best_trial.params) if done else None


def score(places: Sequence[pathlib.Path], prepared: runs.Prepared) -> float:
  """The score on validation of a trial: the mean over its seeds."""
  student = prepared.groups[0][0][1].stages[-1].kept
  (name, *_) = student.values()
  specs = [
    checkpoint.read_json(place / 'networks' / name / network_files.SPEC)
    for place in places
  ]
  return sum(s['validation'][s['select']] for s in specs) / len(specs)


def _with(changes: Mapping[str, str], more: Mapping) -> dict[str, str]:
  """Changes of a command line and further ones, as texts."""
  return {**changes, **{k: jobs.text_of(k, v) for k, v in more.items()}}
