"""Trains the settings of a sweep at once, and writes the table of them."""

import csv
import functools
import io
import itertools
import pathlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax

from kd_jax import (
  checkpoint,
  config,
  identities,
  kinds,
  network_files,
  runs,
  sweep,
  tasks,
  types,
  user_file,
)
from kd_jax.compare import family, results
from kd_jax.compare import table as tables
from kd_jax.executors import jobs, status
from kd_jax.report import swept
from kd_jax.runs import folders
from kd_jax.training import halving, loop

COLUMNS = (
  'setting',
  'seeds',
  'validation',
  'validation_sd',
  'test',
  'test_sd',
  'test_low',
  'test_high',
  'difference',
  'low',
  'high',
  'p',
  'p_holm',
  'outcome',
  'comparisons',
  'seconds_per_step',
  'extra_parameters',
  'extra_bytes',
)


def named(file: str, text: str) -> list[sweep.Setting]:
  """The settings that `--sweep TEXT` means.

  Args:
    file: the config's path, whose sweep_NAME() are known by NAME.
    text: 'a,b', names whose product is meant; or 'key=1,2;other=0:1:5'.

  Raises:
    ValueError: for a name that the config does not have, no settings, or a
      function that raises or returns something else.
  """
  if '=' in text:
    return sweep.parse(text)
  path = file.partition(':')[0]
  values = vars(user_file.load(path))
  known = [
    name.removeprefix('sweep_') for name in values if name.startswith('sweep_')
  ]
  parts = []
  for name in filter(None, text.split(',')):
    if name not in known:
      raise types.unknown('sweep', name, known)
    make = user_file.pick(path, values, f'sweep_{name}')
    parts.append(_settings(f'sweep_{name}() of {path}', path, make))
  if not parts:
    raise ValueError(f'an empty sweep; known: {", ".join(sorted(known))}')
  return sweep.product(*parts)


def _settings(what: str, path: str, make: Callable) -> list[sweep.Setting]:
  """The settings that a function of a user's file returns."""
  settings = user_file.call(path, make)
  kinds.check(what, settings, Sequence[Mapping])
  for key in itertools.chain(*settings):
    kinds.check(f'a key of {what}', key, str)
  return list(settings)


class Swept(NamedTuple):
  """A setting of a sweep: what it changes, its config, its command."""

  values: sweep.Setting
  config: config.ConfigDict
  command: tuple[str, ...]


def make(
  file: str,
  changes: Mapping[str, str],
  settings: Sequence[sweep.Setting],
  workdir: pathlib.Path | None = None,
) -> dict[str, Swept]:
  """{folder: Swept} of every setting.

  Args:
    file: 'FILE' or 'FILE:arg'; the key 'arg' of a setting is another arg.
    changes: {dotted key: text}, the same for all.
    settings: of the sweep.
    workdir: of the sweep, for the commands.

  Raises:
    ValueError: for an invalid key or value, before any work.
  """
  # The file is read once for each argument, not for each setting.
  read = functools.cache(lambda path: config.read(path, changes))
  root = workdir or pathlib.Path()
  swept = {
    name: make_one(file, changes, setting, root / name, read)
    for name, setting in sweep.expand(settings).items()
  }
  runs_of_all = sum(setting.config.seeds for setting in swept.values())
  sweep.check_count(runs_of_all, 'runs (settings times seeds)')
  return swept


def make_one(
  file: str,
  changes: Mapping[str, str],
  setting: sweep.Setting,
  folder: pathlib.Path,
  read: Callable[[str], config.ConfigDict] | None = None,
) -> Swept:
  """A setting whose run is in `folder`; the rest as in `make`.

  Args:
    file, changes: as in `make`.
    setting: what it changes.
    folder: of its run.
    read: 'FILE:arg' -> its config with `changes`, which is copied.
  """
  path, rest = jobs.split(file, setting)
  c = runs.changed(read(path) if read else config.read(path, changes), rest)
  config.validate(c)
  command = jobs.arguments(file, changes, setting, folder)
  return Swept(setting, c, ('python', *command))


def describe(swept: Mapping[str, Swept], data=None) -> str:
  """Lists the settings by the groups that train together."""
  groups = runs.groups_of({k: v.config for k, v in swept.items()}, data)
  lines = []
  for splits, names in groups:
    why = f', apart by {splits}' if splits else ''
    lines.append(f'{len(names)} at once{why}:')
    lines += [f'  {name}' for name in names]
  return '\n'.join(lines)


def progress(
  workdir: pathlib.Path, many: Sequence[jobs.Job]
) -> dict[str, status.State]:
  """{setting: how far it is}, from the folder of a sweep.

  Raises:
    ValueError: where the folder is missing, or holds nothing of the sweep.
  """
  if not workdir.is_dir():
    what = 'is not a folder' if workdir.exists() else 'does not exist'
    raise ValueError(f'no sweep to show: {workdir} {what}')
  there = {path.name for path in workdir.iterdir()}
  known = {folders.SWEEP, jobs.LOGS, *(job.name for job in many)}
  if there and not there & known:
    raise ValueError(
      f'no sweep to show: {workdir} holds something else (no {folders.SWEEP})'
    )
  return status.of(many)


def build_all(
  settings: Mapping[str, Swept], workdir: pathlib.Path, data=None
) -> runs.Prepared:
  """Builds every setting, for a folder of its own: see `runs.build_all`."""
  configs = {name: setting.config for name, setting in settings.items()}
  return runs.build_all(configs, workdir, data)


def launch(
  settings: Mapping[str, Swept],
  prepared: runs.Prepared,
  stop: Callable[[], bool],
  plan: loop.Plan = loop.ALONE,
) -> list[dict]:
  """Trains every setting that is not finished.

  Settings that differ in numbers of the state alone are trained at once.

  Returns:
    As `collect`. A setting that fails is reported, the others go on.
  """
  rows = []

  def each():
    rows[:] = collect(settings, prepared.workdir)

  for name, result in runs.train_all(prepared, stop, plan, each=each).items():
    if result.failure:
      print(f'{name}: {result.failure}', file=sys.stderr)
  return rows


def collect(settings: Mapping[str, Swept], workdir: pathlib.Path) -> list[dict]:
  """Writes sweep.json, sweep.csv and sweep.html of what is finished.

  Returns:
    A row per finished setting (see `COLUMNS`), and 'values', what it changes.
  """
  reports = {
    name: results.read_report(workdir / name)
    for name in settings
    if (workdir / name / results.REPORT).exists()
  }
  corrected = family.correct({k: r['verdict'] for k, r in reports.items()})
  rows = [
    row_of(name, workdir / name, report, corrected[name])
    | {'values': typed(settings[name])}
    for name, report in reports.items()
  ]
  if rows and jax.process_index() == 0:
    write(workdir, rows)
    folder = unused(workdir)
    swept.write(
      workdir,
      rows,
      alone_of(reports.values()),
      {k: shlex.join(again(v, folder)) for k, v in settings.items()},
      failures(settings, workdir, reports),
      tables.shared(reports.values()),
    )
  return rows


def failures(settings, workdir: pathlib.Path, finished) -> dict[str, str]:
  """{setting: why it went no further} of those without a report."""
  failed = {}
  for name, setting in settings.items():
    if name in finished:
      continue
    folder = workdir / name
    for path in sorted(folder.rglob(status.FAILURE)):
      failed[name] = path.read_text().strip()
    state = status.state_of(jobs.Job(name, setting.command, folder))
    if state.what == status.FAILED:
      failed[name] = state.detail
    if halving.read(folder):
      failed[name] = halving.read(folder)
  return failed


def alone_of(reports) -> float | None:
  """Test score of the student alone, in the last report that has it."""
  alone = None
  for report in reports:
    (_, baseline), *_ = report['students'].items()
    name = tasks.task_of(report).score
    alone = report['networks'].get(baseline, {}).get(name, alone)
  return alone['mean'] if isinstance(alone, Mapping) else alone


def again(setting: Swept, folder: pathlib.Path) -> tuple[str, ...]:
  """The command that trains a setting anew, in another folder."""
  command = list(setting.command)
  command[command.index('--workdir') + 1] = str(folder)
  return tuple(command)


def unused(workdir: pathlib.Path) -> pathlib.Path:
  """A folder beside that of a sweep which is not there yet."""
  workdir = workdir if workdir.name else workdir.resolve()
  folder, number = workdir.with_name(f'{workdir.name}_best'), 1
  while folder.exists():
    number += 1
    folder = workdir.with_name(f'{workdir.name}_best_{number}')
  return folder


def typed(setting: Swept) -> dict:
  """What a setting changes, as values of the config: numbers, not text."""
  flat = identities.flatten(config.to_json(setting.config))
  return {
    key: value if key == 'arg' else flat.get(key, value)
    for key, value in setting.values.items()
  }


def row_of(
  name: str, folder: pathlib.Path, report: Mapping, corrected: Mapping
) -> dict:
  """The row of a setting in the table.

  Args:
    name: of the setting.
    folder: of its run.
    report: of it.
    corrected: its comparison within the sweep (see `family.correct`).
  """
  seeds = sorted(folder.glob('seed_*')) or [folder]
  first = next(iter(report['students']))  # the network that the run is about
  specs = [
    checkpoint.read_json(seed / 'networks' / first / network_files.SPEC)
    for seed in seeds
  ]
  scores = [spec['validation'][spec['select']] for spec in specs]
  student = report['networks'][first]
  test = student[tasks.task_of(report).score]
  test = test['values'] if isinstance(test, Mapping) else [test]
  verdict = report['verdict'] or {}
  cost = specs[-1]['cost']
  return dict(
    zip(
      COLUMNS,
      (
        name,
        len(seeds),
        *_moments(scores),
        *_moments(test),
        *(student['interval'] or (None, None)),
        verdict.get('difference'),
        *(verdict.get('interval') or (None, None)),
        *(corrected[key] for key in ('p', 'p_holm', 'outcome', 'comparisons')),
        min(spec['cost']['seconds_per_step'] for spec in specs),
        cost['extra_parameters'],
        cost['extra_bytes'],
      ),
    )
  )


def _moments(
  values: Sequence[float | None],
) -> tuple[float | None, float | None]:
  """Mean and standard deviation (None for a single value).

  Both are None where a value is, as a score that is not defined.
  """
  if None in values:
    return None, None
  mean = sum(values) / len(values)
  if len(values) < 2:
    return mean, None
  square = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
  return mean, square**0.5


def write(workdir: pathlib.Path, rows: Sequence[Mapping]) -> None:
  """Writes sweep.json and sweep.csv."""
  checkpoint.write_json(workdir / 'sweep.json', list(rows))
  text = io.StringIO()
  writer = csv.DictWriter(text, COLUMNS, extrasaction='ignore')
  writer.writeheader()
  writer.writerows(rows)
  (workdir / 'sweep.csv').write_text(text.getvalue())


def summary(rows: Sequence[Mapping], workdir: pathlib.Path) -> str:
  """The result of a sweep as text: the best setting, its significance, a table.

  Args:
    rows: as `collect` makes them.
    workdir: of the sweep.
  """
  if not rows:
    return f'no setting of {workdir} is finished'
  task = task_of(rows, workdir)
  lines = tables.wrapped(swept.best_in_words(rows, task))
  lines += tables.wrapped(swept.family_in_words(rows))
  text = table(rows, task)
  return '\n'.join([*lines, '', text, '', str(workdir / swept.PAGE)])


def task_of(rows: Sequence[Mapping], workdir: pathlib.Path) -> tasks.Task:
  """The task of a sweep: that of the report of its first row."""
  return tasks.task_of(results.read_report(workdir / rows[0]['setting']))


def table(
  rows: Sequence[Mapping], task: tasks.Task = tasks.CLASSIFICATION
) -> str:
  """The settings as a Markdown table, scores in the unit of the task."""
  heads = swept.heads(task)
  lines = [
    f'| {" | ".join(heads)} | extra kB |',
    '|---' * (len(heads) + 1) + '|',
  ]
  for row in rows:
    difference = '-'
    if row['difference'] is not None:
      change, low, high = (
        tasks.changed(row[key], task.unit)
        for key in ('difference', 'low', 'high')
      )
      difference = f'{change} ({low} to {high})'
    lines.append(
      f'| {row["setting"]} | {swept.score(row, "validation", task)} | '
      f'{swept.score(row, "test", task)} | {difference} | '
      f'{family.shown_p(row)} | '
      f'{1e3 * row["seconds_per_step"]:.1f} | {row["extra_parameters"]:,} | '
      f'{row["extra_bytes"] / 1e3:.1f} |'
    )
  return '\n'.join(lines)
