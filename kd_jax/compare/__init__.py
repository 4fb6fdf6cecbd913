"""Compares teacher, student alone and distilled student on the test set.

  python -m kd_jax.compare DIR [DIR ...]

prints the tables of finished runs.
"""

import argparse
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kd_jax import build, device, metrics, network_files, types
from kd_jax.compare import (
  fidelity,
  predict,
  results,
  roles,
  statistics,
  verdict,
)
from kd_jax.compare import table as tables
from kd_jax.data import pipeline

# Examples whose images are kept for the report.
SHOWN = {'learned': 24, 'lost': 8}


def compare(
  experiment: build.Experiment,
  variables: Mapping[str, types.Variables],
  others: Mapping[str, Mapping[str, types.Variables]] | None = None,
  memo: dict | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Measures every finished network on the test set, which is read here.

  Args:
    experiment: networks, data, stages.
    variables: {row: variables}, as `training.run` returns them.
    others: {'last' or 'best': {row: variables}}, the networks at other steps.
    memo: shared by runs on the same data (see `predict.make_outputs`).

  Returns:
    The report, JSON-like, and the arrays that it is drawn from.
  """
  line = roles.make_lineup(experiment, variables)
  split = experiment.data.test()
  if not memo:  # once for runs on the same data
    metrics.say(f'comparing on {len(split.labels)} test examples')
  calls = {
    name: predict.make_outputs(experiment, name, ('logits',), memo)
    for name in dict.fromkeys(line.networks.values())
  }

  def run_of(row, variables):
    return calls[line.networks[row]](variables, split)

  outputs = {row: run_of(row, variables[row]) for row in line.networks}
  labels = next(iter(outputs.values()))['labels']
  logits = with_means(line, {r: x['logits'] for r, x in outputs.items()})
  moments = {
    moment: {
      row: scored(fidelity.right(run_of(row, v)['logits'], labels))
      for row, v in rows.items()
      if row in line.networks
    }
    for moment, rows in (others or {}).items()
  }
  report = described(experiment, line, labels)
  costs = predict.costs(experiment, line, variables)
  report['networks'] = measured(line, logits, labels, costs)
  report['rows'] = list(report['networks'])
  for row, network in report['networks'].items():
    network |= {m: moments.get(m, {}).get(row) for m in ('last', 'best')}
    network[report['select']] = scored(fidelity.right(logits[row], labels))
  report |= judged(line, logits, labels)
  report['alike'] = predict.alike(experiment, line, variables, split, memo)
  return report, arrays(line, logits, labels, split)


def with_means(line, logits) -> dict[str, np.ndarray]:
  """Adds the logits of the means; those of the teachers come first."""
  means = {
    row: fidelity.mean_of([logits[r] for r in of]).astype(np.float32)
    for row, of in line.means.items()
  }
  first = {k: v for k, v in means.items() if k == line.teacher}
  return {**first, **logits, **means}


def described(experiment, line: roles.Lineup, labels) -> dict[str, Any]:
  """The part of a report on data, roles and device."""
  data, labels = experiment.data, fidelity.hard(labels)
  kind = jax.local_devices()[0].device_kind
  return {
    'kind': 'run',
    'data': {
      'name': data.name,
      'fingerprint': data.fingerprint,
      'test': len(labels),
      'classes': list(data.label_names or map(str, range(data.classes))),
      'counts': np.bincount(labels, minlength=data.classes).tolist(),
    },
    'select': experiment.options['select'],
    'teacher': line.teacher,
    'means': {row: list(of) for row, of in line.means.items()},
    'students': dict(line.students),
    'stages': [stage.name for stage in experiment.stages],
    'device': {'kind': kind, 'peak_bytes': device.peak_bytes()},
  }


def scored(right: np.ndarray) -> dict[str, Any]:
  """Accuracy and Wilson interval of a network that is right at bool [N]."""
  interval = statistics.wilson(int(right.sum()), right.size)
  return {'accuracy': float(right.mean()), 'interval': list(interval)}


def measured(
  line: roles.Lineup,
  logits: Mapping[str, np.ndarray],
  labels: np.ndarray,
  costs: Mapping[str, Mapping],
) -> dict[str, dict[str, Any]]:
  """{row: its numbers}."""
  rows, teacher = {}, line.teacher
  for row, outputs in logits.items():
    target = logits[teacher] if teacher not in (None, row) else None
    rows[row] = {
      'network': line.networks.get(row),
      **fidelity.measure(outputs, labels, target),
      **scored(fidelity.right(outputs, labels)),
      'kept': None,
      'ratio': None,
      'cost': costs[row],
    }
  if teacher is not None:
    best, size = rows[teacher]['accuracy'], costs[teacher]['parameters']
    for row, network in rows.items():
      network['kept'] = network['accuracy'] / best if best else None
      network['ratio'] = size / max(costs[row]['parameters'], 1)
  return rows


def judged(
  line: roles.Lineup, logits: Mapping[str, np.ndarray], labels: np.ndarray
) -> dict[str, Any]:
  """The verdict on every student, the gap it closed, what it learned."""
  right = {row: fidelity.right(x, labels) for row, x in logits.items()}
  verdicts, gaps = {}, {}
  for row, alone in line.students.items():
    verdicts[row] = verdict.of_run(right[row], right[alone]) if alone else None
    gaps[row] = (
      statistics.gap_closed(right[line.teacher], right[alone], right[row])
      if alone and line.teacher
      else None
    )
  main = next(iter(line.students))
  picked = picks(line, logits, labels)
  return {
    'verdicts': verdicts,
    'verdict': verdicts[main],
    'gap_closed': gaps,
    'examples': {k: len(v) for k, v in picked.items()},
  }


def picks(line, logits, labels) -> dict[str, list[int]]:
  """The test examples that were learned and lost; none without a baseline."""
  student, alone = next(iter(line.students.items()))
  if not (alone and line.teacher):
    return {'learned': [], 'lost': []}
  rows = line.teacher, alone, student
  return fidelity.examples(labels, *(logits[row] for row in rows))


def arrays(line, logits, labels, split) -> dict[str, np.ndarray]:
  """The arrays stored beside the report: logits, labels, a few images."""
  picked = picks(line, logits, labels)
  shown = np.array(
    [i for kind, n in SHOWN.items() for i in picked[kind][:n]], np.int64
  )
  images = np.zeros((0, 1, 1, 1), np.uint8)
  if shown.size:
    images = np.asarray(pipeline.take(split, shown)['inputs'])
  return {
    'labels': fidelity.hard(labels),
    'shown': shown,
    'images': pixels(images),
    **{f'logits/{row}': x for row, x in logits.items()},
  }


def pixels(images: np.ndarray) -> np.ndarray:
  """Images as uint8 [n, H, W, C]; floats are stretched to their range."""
  if images.dtype == np.uint8 or not images.size:
    return images.astype(np.uint8)
  low, high = images.min(), images.max()
  return np.round(255 * (images - low) / max(high - low, 1e-9)).astype(np.uint8)


def other_moments(
  experiment: build.Experiment, folder: pathlib.Path, rows: Sequence[str]
) -> dict[str, dict[str, types.Variables]]:
  """The last and best-on-validation variables that lie beside the networks."""
  moments = {'last': {}, 'best': {}}
  for row in rows:
    loaded = experiment.config.get('networks', {}).get(row, {}).get('load')
    place = pathlib.Path(loaded) if loaded else folder / 'networks' / row
    for moment, networks in moments.items():
      beside = place.with_name(f'{place.name}_{moment}')
      if beside.is_dir():
        networks[row], _ = network_files.load_network(beside)
  return moments


def run(
  experiment: build.Experiment,
  variables: Mapping[str, types.Variables],
  folder: pathlib.Path,
  memo: dict | None = None,
) -> dict[str, Any]:
  """Compares the networks of a run and writes its report in its folder.

  Args:
    experiment: that was trained.
    variables: {row: variables}, as `training.run` returns them.
    folder: of the run; report.json and predictions.npz are
      written there, by the first process.
    memo: as in `compare`.

  Returns:
    The report.
  """
  others = other_moments(experiment, folder, variables)
  report, kept = compare(experiment, variables, others, memo)
  if jax.process_index() == 0:
    results.write(folder, report, kept)
  return results.finite(report)


def main(argv: Sequence[str] | None = None) -> int:
  """Prints the tables; 0, or 2 for a folder without a readable report."""
  parser = argparse.ArgumentParser(
    prog='python -m kd_jax.compare', description=__doc__.split('\n')[0]
  )
  parser.add_argument('folders', nargs='+', metavar='DIR', type=pathlib.Path)
  folders = parser.parse_args(argv).folders
  try:
    reports = {str(folder): results.read_report(folder) for folder in folders}
  except (ValueError, OSError) as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return 2
  if len(reports) == 1:
    print(tables.table(*reports.values()))
    return 0
  print(tables.overview(reports))
  print('\nEach run by itself, not corrected for their number:')
  for name, report in reports.items():
    print(f'\n{name}\n{tables.headline(report)}')
  return 0
