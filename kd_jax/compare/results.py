"""Reads and writes the results of a run: numbers, predictions, curves.

Pages are made from these alone: no data set, no network, no pickle.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kd_jax import checkpoint, errors, metrics
from kd_jax.compare import schema, statistics

REPORT, PREDICTIONS = 'report.json', 'predictions.npz'


class Run(NamedTuple):
  """One run of one seed.

  Attributes:
    folder: where it is.
    report: from `compare.compare`.
    labels: of the test examples, i64 [N].
    logits: {row: f32 [N, K]}.
    images: {test example: uint8 [H, W, C]}, a handful.
    rows: of metrics.jsonl.
  """

  folder: pathlib.Path
  report: Mapping[str, Any]
  labels: np.ndarray
  logits: Mapping[str, np.ndarray]
  images: Mapping[int, np.ndarray]
  rows: list[dict]


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
  """Adds the intervals of accuracies that a report of version 0.1 lacks."""
  for network in report['networks'].values():
    if network.get('interval') is None:
      accuracy = network['accuracy']
      several = isinstance(accuracy, Mapping)
      values = accuracy['values'] if several else [accuracy]
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
    images = dict(zip(arrays['shown'].tolist(), arrays['images']))
    logits = {
      name.removeprefix('logits/'): array
      for name, array in arrays.items()
      if name.startswith('logits/')
    }
    labels = arrays['labels']
    _match(report, labels, logits)
  except Exception as error:  # a damaged file can raise anything
    reason = ' '.join(str(error).split())
    raise errors.DamagedError(
      f'{path} is missing or damaged: {reason}'
    ) from error
  return Run(folder, report, labels, logits, images, curves(folder))


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
