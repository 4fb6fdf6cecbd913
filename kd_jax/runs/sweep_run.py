"""Many settings of one config: trained at once, one table of all."""

import csv
import io
import pathlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax

from kd_jax import checkpoint, config, identities, runs, sweep, types
from kd_jax.compare import statistics
from kd_jax.executors import jobs, status
from kd_jax.report import swept
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
    ValueError: for a name that the config does not have, or no settings.
  """
  if '=' in text:
    return sweep.parse(text)
  module = config.load_module(file.partition(':')[0])
  known = {
    name.removeprefix('sweep_'): value
    for name, value in vars(module).items()
    if name.startswith('sweep_')
  }
  parts = []
  for name in filter(None, text.split(',')):
    if name not in known:
      raise types.unknown('sweep', name, known)
    parts.append(known[name]())
  if not parts:
    raise ValueError(f'an empty sweep; known: {", ".join(sorted(known))}')
  return sweep.product(*parts)


class Swept(NamedTuple):
  """One setting of a sweep: what it changes, its config, its command."""

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
    ValueError: for a key or value that cannot be, before any work.
  """
  return {
    name: make_one(file, changes, setting, (workdir or pathlib.Path()) / name)
    for name, setting in sweep.expand(settings).items()
  }


def make_one(
  file: str,
  changes: Mapping[str, str],
  setting: sweep.Setting,
  folder: pathlib.Path,
) -> Swept:
  """One setting, kept in `folder`; the rest as in `make`."""
  path, rest = jobs.split(file, setting)
  c = runs.changed(config.read(path, changes), rest)
  config.validate(c)
  told = jobs.arguments(file, changes, setting, folder)
  return Swept(setting, c, ('python', *told))


def describe(swept: Mapping[str, Swept], data=None) -> str:
  """The settings and the groups that train together, in words."""
  groups = runs.groups_of({k: v.config for k, v in swept.items()}, data)
  lines = []
  for splits, names in groups:
    why = f', apart by {splits}' if splits else ''
    lines.append(f'{len(names)} at once{why}:')
    lines += [f'  {name}' for name in names]
  return '\n'.join(lines)


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
  """Trains every setting; what is done is not done again.

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
  rows, failed, alone = [], {}, None
  for name, one in settings.items():
    folder = workdir / name
    if (folder / 'report.json').exists():
      report = checkpoint.read_json(folder / 'report.json')
      rows.append(row_of(name, folder, report) | {'values': typed(one)})
      alone = report['networks'].get('baseline', {}).get('accuracy', alone)
    else:
      for path in sorted(folder.rglob(runs.FAILED)):
        failed[name] = path.read_text().strip()
      state = status.state_of(jobs.Job(name, one.command, folder))
      if state.what == status.FAILED:
        failed[name] = state.detail
      if halving.read(folder):
        failed[name] = halving.read(folder)
  if rows and jax.process_index() == 0:
    alone = alone['mean'] if isinstance(alone, dict) else alone
    write(workdir, rows)
    commands = {k: shlex.join(v.command) for k, v in settings.items()}
    swept.write(workdir, rows, alone, commands, failed)
  return rows


def typed(one: Swept) -> dict:
  """What a setting changes, as the config has it: numbers, not their text."""
  flat = identities.flatten(config.to_json(one.config))
  return {
    key: value if key == 'arg' else flat.get(key, value)
    for key, value in one.values.items()
  }


def row_of(name: str, folder: pathlib.Path, report: Mapping) -> dict:
  """What the table says of a setting."""
  seeds = sorted(folder.glob('seed_*')) or [folder]
  specs = [
    checkpoint.read_json(seed / 'networks' / 'student' / checkpoint.SPEC)
    for seed in seeds
  ]
  found = [spec['validation'][spec['select']] for spec in specs]
  test = report['networks']['student']['accuracy']
  test = test['values'] if isinstance(test, dict) else [test]
  verdict = report.get('verdict') or {}
  low, high = verdict.get('interval') or (None, None)
  cost = specs[-1]['cost']
  return dict(
    zip(
      COLUMNS,
      (
        name,
        len(seeds),
        *_moments(found),
        *_moments(test),
        *_interval(test),
        verdict.get('difference'),
        low,
        high,
        min(spec['cost']['seconds_per_step'] for spec in specs),
        cost['extra_parameters'],
        cost['extra_bytes'],
      ),
    )
  )


def _moments(values: Sequence[float]) -> tuple[float, float | None]:
  """Mean and standard deviation (None of one value)."""
  mean = sum(values) / len(values)
  if len(values) < 2:
    return mean, None
  square = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
  return mean, square**0.5


def _interval(values: Sequence[float]) -> tuple[float | None, float | None]:
  """The 95 % interval of the mean over seeds (None of one)."""
  if len(values) < 2:
    return None, None
  return statistics.over_seeds(values)


def write(workdir: pathlib.Path, rows: Sequence[Mapping]) -> None:
  """sweep.json and sweep.csv."""
  checkpoint.write_json(workdir / 'sweep.json', list(rows))
  text = io.StringIO()
  writer = csv.DictWriter(text, COLUMNS, extrasaction='ignore')
  writer.writeheader()
  writer.writerows(rows)
  (workdir / 'sweep.csv').write_text(text.getvalue())


def table(rows: Sequence[Mapping]) -> str:
  """The settings as a Markdown table, accuracies in percent."""
  lines = [
    '| setting | validation, % | test, % | against the student alone | '
    'ms/step | extra parameters | extra kB |',
    '|---|---|---|---|---|---|---|',
  ]
  for row in rows:
    difference = '-'
    if row['difference'] is not None:
      low, high = (100 * row[end] for end in ('low', 'high'))
      difference = f'{100 * row["difference"]:+.1f} ({low:+.1f} to {high:+.1f})'
    lines.append(
      f'| {row["setting"]} | {_percent(row, "validation")} | '
      f'{_percent(row, "test")} | {difference} | '
      f'{1e3 * row["seconds_per_step"]:.1f} | {row["extra_parameters"]:,} | '
      f'{row["extra_bytes"] / 1e3:.1f} |'
    )
  return '\n'.join(lines)


def _percent(row, key) -> str:
  spread = row[f'{key}_sd']
  mean = f'{100 * row[key]:.1f}'
  return mean if spread is None else f'{mean} ± {100 * spread:.1f}'
