"""What a run left on disk for its report: numbers, predictions, curves.

A report is made from these alone: no data set, no network, no pickle.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kd_jax import checkpoint, metrics

REPORT, PREDICTIONS = 'report.json', 'predictions.npz'


class Run(NamedTuple):
  """One run of one seed.

  Attributes:
    folder: where it is.
    report: what `compare.compare` found.
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
  """A run folder, or a folder of runs that differ in their seed alone.

  Attributes:
    folder: where it is.
    report: of the run, or over the seeds.
    runs: one, or one a seed.
    config: as JSON.
    command: that started it; '' where it is not known.
    environment: versions, devices, git hash; {} likewise.
  """

  folder: pathlib.Path
  report: Mapping[str, Any]
  runs: list[Run]
  config: Mapping[str, Any]
  command: str
  environment: Mapping[str, Any]


def read(folder: str | os.PathLike) -> Result:
  """All that is on disk of a finished run.

  Raises:
    ValueError: one line, where the folder is no run, or one that is not
      finished, or damaged.
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
    _json(near / 'config.json', {}),
    _text(near / 'command.txt'),
    _json(near / 'environment.json', {}),
  )


def read_report(folder: pathlib.Path) -> dict:
  """report.json of a run folder.

  Raises:
    ValueError: as `read`.
  """
  if (folder / REPORT).exists():
    return _ordered(_json(folder / REPORT))
  if not folder.is_dir():
    raise ValueError(f'no folder {folder}; {_known(folder.parent)}')
  if not (folder / 'config.json').exists():
    raise ValueError(
      f'no run in {folder} (config.json is missing); {_known(folder)}'
    )
  done = sorted(p.parent.name for p in folder.glob('networks/*/network.json'))
  raise ValueError(
    f'the run in {folder} is not finished ({REPORT} is missing; networks so '
    f'far: {", ".join(done) or "none"}); give its command again'
  )


def _ordered(report: dict) -> dict:
  """The report with its rows in their order, which sorted keys have lost."""
  found = dict(report)
  for key in ('networks', 'students', 'verdicts', 'gap_closed'):
    found[key] = {r: report[key][r] for r in report['rows'] if r in report[key]}
  return found


def _known(folder: pathlib.Path) -> str:
  """'runs there: ..' for a message."""
  known = sorted(str(p.parent) for p in folder.glob(f'*/{REPORT}'))
  return f'runs in {folder}: {", ".join(known[:10]) or "none"}'


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
  except Exception as error:  # a damaged file can raise anything
    raise ValueError(f'{path} is missing or damaged: {error}') from error
  return Run(folder, report, labels, logits, images, curves(folder))


def curves(folder: pathlib.Path) -> list[dict]:
  """The rows of a run; for a seed, after those of stages that all share."""
  rows = metrics.read_rows(folder)
  if not folder.resolve().name.startswith('seed_'):
    return rows
  own = {row['stage'] for row in rows}
  above = metrics.read_rows(folder.resolve().parent)
  return [row for row in above if row['stage'] not in own] + rows


def write(
  folder: pathlib.Path, report: Mapping, arrays: Mapping[str, np.ndarray]
) -> None:
  """Writes report.json and predictions.npz, each beside and renamed."""
  part = folder / f'.{PREDICTIONS}.{os.getpid()}'
  with open(part, 'wb') as file:
    np.savez_compressed(file, **arrays)
  part.replace(folder / PREDICTIONS)
  write_report(folder, report)


def write_report(folder: pathlib.Path, report: Mapping) -> None:
  """Writes report.json; what is not finite becomes null, as JSON wants."""
  checkpoint.write_json(folder / REPORT, finite(report))


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


def _json(path: pathlib.Path, default=None) -> Any:
  if default is not None and not path.exists():
    return default
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(f'{path} is damaged: {error}') from error


def _text(path: pathlib.Path) -> str:
  return path.read_text().strip() if path.exists() else ''
