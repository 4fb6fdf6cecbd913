"""Compares teacher, student alone and distilled student on the test set.

  python -m kd_jax.compare DIR [DIR ...]

prints the tables of finished runs.
"""

import argparse
import math
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kd_jax import build, device, metrics, network_files, tasks, types
from kd_jax.compare import by_logits, by_sums, predict, results, roles
from kd_jax.compare import table as tables


def compare(
  experiment: build.Experiment,
  variables: Mapping[str, types.Variables],
  others: Mapping[str, Mapping[str, types.Variables]] | None = None,
  memo: dict | None = None,
  exported: Callable | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Measures every finished network on the test set, which is read here.

  Args:
    experiment: networks, data, stages.
    variables: {row: variables}, as `training.run` returns them.
    others: {'last' or 'best': {row: variables}}, the networks at other steps.
    memo: shared by runs on the same data (see `predict.make_outputs`).
    exported: runs a network outside of JAX, to be timed (see `predict.costs`).

  Returns:
    The report, JSON-like, and the arrays that it is drawn from.
  """
  line = roles.make_lineup(experiment, variables)
  split = experiment.data.test()
  if not memo:  # once for runs on the same data
    metrics.say(f'comparing on {len(split.labels)} test examples')
  others = {
    moment: {row: v for row, v in rows.items() if row in line.networks}
    for moment, rows in (others or {}).items()
  }
  task = experiment.task
  measure = by_logits.measure if task.single else by_sums.measure
  measured = measure(experiment, line, variables, others, split, memo)
  report = described(experiment, line, len(split.labels), measured.counts)
  costs = predict.costs(experiment, line, variables, exported)
  report['networks'] = beside(line, measured.rows, costs, task)
  report['rows'] = list(report['networks'])
  for row, network in report['networks'].items():
    network |= {
      m: measured.moments.get(m, {}).get(row) for m in ('last', 'best')
    }
    network[report['select']] = {
      k: network[k] for k in (task.score, 'interval')
    }
  report |= measured.judged
  report['alike'] = predict.alike(experiment, line, variables, split, memo)
  return report, measured.arrays


def described(
  experiment, line: roles.Lineup, count: int, counts: list[int]
) -> dict[str, Any]:
  """The part of a report on data, roles and device.

  Args:
    experiment: that was trained.
    line: of its networks.
    count: test examples.
    counts: predictions of each class, or of all of them.
  """
  data, kind = experiment.data, jax.local_devices()[0].device_kind
  task = {'task': data.task}
  return {
    'kind': 'run',
    # A report that names none is of classification.
    **(task if data.task != tasks.CLASSIFICATION.name else {}),
    'data': {
      'name': data.name,
      'fingerprint': data.fingerprint,
      'test': count,
      'classes': named_classes(data),
      'counts': counts,
      **({'example': 'sequence'} if data.vocabulary else {}),
      **({'palette': data.palette} if data.palette else {}),
    },
    'select': experiment.options['select'],
    'teacher': line.teacher,
    'means': {row: list(of) for row, of in line.means.items()},
    'students': dict(line.students),
    'stages': [stage.name for stage in experiment.stages],
    'device': {'kind': kind, 'peak_bytes': device.peak_bytes()},
  }


def named_classes(data) -> list[str]:
  """The classes of a report; none where they are tokens or numbers."""
  if not tasks.make_task(data.task).class_title:
    return []
  return list(data.label_names or map(str, range(data.classes)))


def beside(
  line: roles.Lineup,
  numbers: Mapping[str, Mapping],
  costs: Mapping[str, Mapping],
  task: tasks.Task,
) -> dict[str, dict[str, Any]]:
  """{row: its numbers, its cost, and both beside the teacher's}."""
  rows, teacher = {}, line.teacher
  for row, measures in numbers.items():
    rows[row] = {
      'network': line.networks.get(row),
      **measures,
      'kept': None,
      'ratio': None,
      'cost': costs[row],
    }
  if teacher is not None:
    best, size = rows[teacher][task.score], costs[teacher]['parameters']
    for row, network in rows.items():
      whole = best and task.unit == '%'
      network['kept'] = network[task.score] / best if whole else None
      network['ratio'] = size / max(costs[row]['parameters'], 1)
  return rows


def other_moments(
  experiment: build.Experiment, folder: pathlib.Path, rows: Sequence[str]
) -> dict[str, dict[str, types.Variables]]:
  """The last and best-on-validation variables that lie beside the networks.

  Without a score on validation there is no best: it was not chosen.
  """
  moments = {'last': {}, 'best': {}}
  for row in rows:
    loaded = experiment.config.get('networks', {}).get(row, {}).get('load')
    place = pathlib.Path(loaded) if loaded else folder / 'networks' / row
    for moment, networks in moments.items():
      beside = place.with_name(f'{place.name}_{moment}')
      if beside.is_dir():
        variables, spec = network_files.load_network(beside)
        scores = spec.get('validation') or {}
        if moment == 'last' or math.isfinite(scores.get('best', 0)):
          networks[row] = variables
  return moments


def run(
  experiment: build.Experiment,
  variables: Mapping[str, types.Variables],
  folder: pathlib.Path,
  memo: dict | None = None,
  exported: Callable | None = None,
) -> dict[str, Any]:
  """Compares the networks of a run and writes its report in its folder.

  Args:
    experiment: that was trained.
    variables: {row: variables}, as `training.run` returns them.
    folder: of the run; report.json and predictions.npz are
      written there, by the first process.
    memo, exported: as in `compare`.

  Returns:
    The report.
  """
  others = other_moments(experiment, folder, variables)
  report, kept = compare(experiment, variables, others, memo, exported)
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
    tables.shared(reports.values())
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
