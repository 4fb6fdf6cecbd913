"""Reads and writes the results of a run: numbers, predictions, curves.

Pages are made from these alone: no data set, no network, no pickle.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kd_jax import checkpoint, errors, metrics, tasks
from kd_jax.compare import schema, statistics

REPORT, PREDICTIONS = 'report.json', 'predictions.npz'


class Run(NamedTuple):
  """One run of one seed.

  Attributes:
    folder: where it is.
    report: from `compare.compare`.
    labels: of the test examples, i64 [N]; of tasks of many predictions an
      example there are none, and in place of the logits:
    logits: {row: f32 [N, K]}.
    images: {test example: uint8 [H, W, C]}, a handful.
    rows: of metrics.jsonl.
    sums: {row: {name: [N, ...]}}, see `Task.per_example`.
    truth: {test example: labels i16 [H, W]} of the images; of text what was
      asked for of each token [L], as texts, '' where nothing was.
    answers: {row: {test example: classes [H, W]}}, or texts [L], '' likewise.
    sequences: i [N], the film of each test example; None without any.
    pieces: {test example: texts [L]}, of the tokens; '' of padding.
    losses: {row: {test example: f32 [L]}}, of the tokens, in nats; NaN where
      nothing was asked for.
  """

  folder: pathlib.Path
  report: Mapping[str, Any]
  labels: np.ndarray
  logits: Mapping[str, np.ndarray]
  images: Mapping[int, np.ndarray]
  rows: list[dict]
  sums: Mapping[str, Mapping[str, np.ndarray]] = {}
  truth: Mapping[int, np.ndarray] = {}
  answers: Mapping[str, Mapping[int, np.ndarray]] = {}
  sequences: np.ndarray | None = None
  pieces: Mapping[int, np.ndarray] = {}
  losses: Mapping[str, Mapping[int, np.ndarray]] = {}


class Result(NamedTuple):
  """A run folder, or a folder of runs that differ only in their seed.

  Attributes:
    folder: where it is.
    report: of the run, or over the seeds.
    runs: one, or one per seed.
    config: as JSON; {} where it is not known.
    command: that started it; '' likewise.
    environment: versions, devices, git hash; {} likewise.
  """

  folder: pathlib.Path
  report: Mapping[str, Any]
  runs: list[Run]
  config: Mapping[str, Any]
  command: str
  environment: Mapping[str, Any]


def read(folder: str | os.PathLike) -> Result:
  """Reads the results of a finished run.

  Raises:
    ValueError: one line, where the folder is not a run, or the run is not
      finished, or a file of it is damaged.
  """
  folder = pathlib.Path(folder)
  report = read_report(folder)
  seeds = report.get('runs')
  places = [folder / name for name in seeds] if seeds else [folder]
  near = places[0] if not (folder / 'config.json').exists() else folder
  return Result(
    folder,
    report,
    [_run(place) for place in places],
    _mapping(near / 'config.json'),
    _text(near / 'command.txt'),
    _mapping(near / 'environment.json'),
  )


def read_report(folder: pathlib.Path) -> dict:
  """Reads report.json of a run folder.

  Raises:
    ValueError: as `read`.
  """
  path = folder / REPORT
  if path.exists():
    report = _json(path)
    mistake = schema.first_mistake(report)
    if mistake:
      raise errors.DamagedError(
        f'{path} is damaged: {mistake}; delete it and run the same command '
        'again to make a new one'
      )
    return _with_intervals(_ordered(report))
  if not folder.is_dir():
    raise ValueError(f'no folder {folder}; {_known(folder.parent)}')
  if not (folder / 'config.json').exists():
    raise ValueError(
      f'no run in {folder} (config.json is missing); {_known(folder)}'
    )
  done = sorted(p.parent.name for p in folder.glob('networks/*/network.json'))
  raise ValueError(
    f'the run in {folder} is not finished ({REPORT} is missing; networks so '
    f'far: {", ".join(done) or "none"}); run its command again'
  )


def _ordered(report: dict) -> dict:
  """Puts the rows of a report of version 0.1, with sorted keys, in order."""
  if list(report['networks']) == list(report['rows']):
    return report
  by_row = ('networks', 'students', 'verdicts', 'gap_closed')
  return report | {
    key: {r: report[key][r] for r in report['rows'] if r in report[key]}
    for key in by_row
  }


def _with_intervals(report: dict) -> dict:
  """Adds the intervals that a report of version 0.1 lacks.

  Those were of classification alone.
  """
  if tasks.task_of(report) is not tasks.CLASSIFICATION:
    return report
  name = tasks.CLASSIFICATION.score
  for network in report['networks'].values():
    if network.get('interval') is None:
      score = network[name]
      several = isinstance(score, Mapping)
      values = score['values'] if several else [score]
      count = max(round(report['data']['test']), 1)
      network['interval'] = list(statistics.of_accuracy(values, count))
  return report


def _known(folder: pathlib.Path) -> str:
  """'runs in FOLDER: ..' for a message."""
  runs = sorted(str(p.parent) for p in folder.glob(f'*/{REPORT}'))
  return f'runs in {folder}: {", ".join(runs[:10]) or "none"}'


def _run(folder: pathlib.Path) -> Run:
  report = read_report(folder)
  path = folder / PREDICTIONS
  try:
    with np.load(path, allow_pickle=False) as stored:
      arrays = {name: stored[name] for name in stored.files}
    read = _with_logits if tasks.task_of(report).single else _with_sums
    return read(Run(folder, report, *[{}] * 3, curves(folder)), arrays)
  except Exception as error:  # a damaged file can raise anything
    reason = ' '.join(str(error).split())
    raise errors.DamagedError(
      f'{path} is missing or damaged: {reason}'
    ) from error


def _with_logits(run: Run, arrays: Mapping[str, np.ndarray]) -> Run:
  logits, labels = _under(arrays, 'logits'), arrays['labels']
  _match(run.report, labels, logits)
  images, pieces = (
    dict(zip(arrays['shown'].tolist(), arrays.get(kind, ())))
    for kind in ('images', 'pieces')
  )
  return run._replace(
    labels=labels, logits=logits, images=images, pieces=pieces
  )


def _with_sums(run: Run, arrays: Mapping[str, np.ndarray]) -> Run:
  shown, sums = arrays['shown'].tolist(), {}
  for name, values in _under(arrays, 'sums').items():
    row, _, kind = name.rpartition('/')
    if len(values) != run.report['data']['test']:
      raise ValueError(f'sums of {row!r} are not one for each test example')
    sums.setdefault(row, {})[kind] = values
  lacking = [row for row in run.report['networks'] if row not in sums]
  if lacking:
    raise ValueError(f'sums of {lacking[0]!r} are missing')
  images, truth, pieces = (
    dict(zip(shown, arrays.get(kind, ())))
    for kind in ('images', 'truth', 'pieces')
  )
  answers, losses = (
    {
      row: dict(zip(shown, values))
      for row, values in _under(arrays, kind).items()
    }
    for kind in ('answers', 'losses')
  )
  return run._replace(
    labels=np.zeros(0, np.int64),
    images=images,
    sums=sums,
    truth=truth,
    answers=answers,
    sequences=arrays.get('sequences'),
    pieces=pieces,
    losses=losses,
  )


def _under(arrays, folder: str) -> dict[str, np.ndarray]:
  """The arrays 'FOLDER/NAME', by NAME."""
  start = f'{folder}/'
  return {
    name.removeprefix(start): array
    for name, array in arrays.items()
    if name.startswith(start)
  }


def same(first: Run, second: Run, row: str) -> bool:
  """Whether a row answers alike on the whole test set in two runs."""
  pairs = [(run.logits.get(row), run.sums.get(row)) for run in (first, second)]
  (logits, sums), (others, totals) = pairs
  if sums is None:
    return np.array_equal(logits, others)
  return all(np.array_equal(x, totals[name]) for name, x in sums.items())


def _match(report, labels, logits) -> None:
  """Refuses predictions that are not those of the report."""
  classes, rows = len(report['data']['classes']), report['networks']
  if labels.ndim != 1 or not np.isin(labels, np.arange(classes)).all():
    raise ValueError(f'labels are not classes 0..{classes - 1}')
  for row in rows:
    shape = np.shape(logits.get(row))
    if shape != (labels.size, classes):
      raise ValueError(
        f'logits of {row!r} are {shape} and not {(labels.size, classes)}'
      )


def curves(folder: pathlib.Path) -> list[dict]:
  """The metrics of a run; for a seed, after those of stages that all share."""
  rows = metrics.read_rows(folder)
  if not folder.resolve().name.startswith('seed_'):
    return rows
  stages = {row['stage'] for row in rows}
  above = metrics.read_rows(folder.resolve().parent)
  return [row for row in above if row['stage'] not in stages] + rows


def write(
  folder: pathlib.Path, report: Mapping, arrays: Mapping[str, np.ndarray]
) -> None:
  """Writes report.json and predictions.npz, each atomically."""
  part = folder / f'.{PREDICTIONS}.{os.getpid()}'
  with open(part, 'wb') as file:
    np.savez_compressed(file, **arrays)
  part.replace(folder / PREDICTIONS)
  write_report(folder, report)


def write_report(folder: pathlib.Path, report: Mapping) -> None:
  """Writes report.json; numbers that are not finite become null."""
  checkpoint.write_json(folder / REPORT, finite(report), sort_keys=False)


def finite(value: Any) -> Any:
  """JSON-like without NaN and infinities, and without NumPy's types."""
  if isinstance(value, Mapping):
    return {str(k): finite(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [finite(v) for v in value]
  if isinstance(value, np.ndarray | np.generic):
    return finite(value.tolist())
  if isinstance(value, float) and not np.isfinite(value):
    return None
  return value


def _json(path: pathlib.Path) -> Any:
  try:
    return json.loads(path.read_text())
  except (ValueError, RecursionError) as error:
    raise errors.DamagedError(f'{path} is damaged: {error}') from error


def _mapping(path: pathlib.Path) -> dict:
  """A JSON object; {} without the file."""
  value = _json(path) if path.exists() else {}
  if not isinstance(value, dict):
    raise errors.DamagedError(f'{path} is damaged: it is not a JSON object')
  return value


def _text(path: pathlib.Path) -> str:
  if not path.exists():
    return ''
  return path.read_text(errors='replace').strip()
