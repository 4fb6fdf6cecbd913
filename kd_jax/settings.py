"""Many settings of one config: trained one after another, one table of all."""

import csv
import io
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence

from kd_jax import checkpoint, config, grid, runs, sweep, types
from kd_jax.report import swept

COLUMNS = (
  'setting', 'seeds', 'validation', 'validation_sd', 'test', 'test_sd',
  'difference', 'low', 'high', 'seconds_per_step', 'extra_parameters',
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
    for name, value in vars(module).items() if name.startswith('sweep_')
  }
  parts = []
  for name in filter(None, text.split(',')):
    if name not in known:
      raise types.unknown('sweep', name, known)
    parts.append(known[name]())
  if not parts:
    raise ValueError(f"an empty sweep; known: {', '.join(sorted(known))}")
  return sweep.product(*parts)


def configs_of(
  file: str, changes: Mapping, settings: Sequence[sweep.Setting]
) -> dict[str, config.ConfigDict]:
  """{folder: config} of every setting.

  Args:
    file: 'FILE' or 'FILE:arg'; the key 'arg' of a setting is another arg.
    changes: {dotted key: text}, the same for all.
    settings: of the sweep.

  Raises:
    ValueError: for a key or value that cannot be, before any work.
  """
  made = {}
  for name, setting in sweep.expand(settings).items():
    rest = dict(setting)
    path = file
    if 'arg' in rest:
      path = f"{file.partition(':')[0]}:{rest.pop('arg')}"
    made[name] = runs.changed(config.read(path, changes), rest)
    config.validate(made[name])
  return made


def launch(
  configs: Mapping[str, config.ConfigDict],
  workdir: pathlib.Path,
  stop: Callable[[], bool],
  data=None,
  plan: grid.Plan = grid.ALONE,
) -> list[dict]:
  """Trains every setting in a folder of its own; what is done is not again.

  Settings that differ in numbers of the state alone are trained at once.

  Returns:
    A row per setting (see `COLUMNS`); they are in sweep.json, sweep.csv and
    sweep.html too. A setting that fails is reported, the others go on.
  """
  found = runs.launch_all(configs, workdir, stop, data, plan)
  rows, alone = [], None
  for name, report in found.items():
    if isinstance(report, Exception):
      print(f'{name}: {report}', file=sys.stderr)
      continue
    rows.append(row_of(name, workdir / name, report))
    alone = report['networks'].get('baseline', {}).get('accuracy')
  if rows:
    write(workdir, rows)
    alone = alone['mean'] if isinstance(alone, dict) else alone
    swept.write(workdir, rows, alone)
  return rows


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
  return dict(zip(COLUMNS, (
    name, len(seeds), *_moments(found), *_moments(test),
    verdict.get('difference'), low, high,
    min(spec['cost']['seconds_per_step'] for spec in specs),
    cost['extra_parameters'],
  )))


def _moments(values: Sequence[float]) -> tuple[float, float | None]:
  """Mean and standard deviation (None of one value)."""
  mean = sum(values) / len(values)
  if len(values) < 2:
    return mean, None
  square = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
  return mean, square**0.5


def write(workdir: pathlib.Path, rows: Sequence[Mapping]) -> None:
  """sweep.json and sweep.csv."""
  checkpoint.write_json(workdir / 'sweep.json', list(rows))
  text = io.StringIO()
  writer = csv.DictWriter(text, COLUMNS)
  writer.writeheader()
  writer.writerows(rows)
  (workdir / 'sweep.csv').write_text(text.getvalue())


def table(rows: Sequence[Mapping]) -> str:
  """The settings as a Markdown table, accuracies in percent."""
  lines = [
    '| setting | validation, % | test, % | against the student alone | '
    's/step | extra parameters |',
    '|---|---|---|---|---|---|',
  ]
  for row in rows:
    difference = '-'
    if row['difference'] is not None:
      low, high = (100 * row[end] for end in ('low', 'high'))
      difference = (
        f"{100 * row['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
      )
    lines.append(
      f"| {row['setting']} | {_percent(row, 'validation')} | "
      f"{_percent(row, 'test')} | {difference} | "
      f"{row['seconds_per_step']:.4f} | {row['extra_parameters']:,} |"
    )
  return '\n'.join(lines)


def _percent(row, key) -> str:
  spread = row[f'{key}_sd']
  mean = f'{100 * row[key]:.1f}'
  return mean if spread is None else f'{mean} ± {100 * spread:.1f}'
