"""What a report page shows: results in, texts and pictures out."""

import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax.compare import fidelity, results
from kd_jax.compare import table as tables
from kd_jax.report import cards, curves, mistakes, pictures, svg

COSTS = (
  ('parameters', 'cost.parameters', 'parameters'),
  ('size', 'cost.bytes', 'bytes'),
  ('latency', 'cost.latency.1.median', 'milliseconds for one image'),
)


def context(result: results.Result) -> dict[str, Any]:
  """Everything that the template names, for one run or several seeds."""
  report = result.report
  names, colors = tables.titles(report), svg.palette(report)
  dots = points(report, names, colors)
  verdict, seeds = report['verdict'], report.get('runs', ())
  return {
    'title': title(result),
    'outcome': verdict['outcome'] if verdict else 'none',
    'headline': typeset(tables.headline(report)),
    'evidence': typeset(verdict['evidence']) if verdict else '',
    'closed': typeset(tables.closed(report)),
    'others': [typeset(text) for text in tables.others(report)],
    'tiles': tiles(report),
    'seeds': seed_lines(result),
    'accuracies': pictures.accuracies(dots, 1 + len(seeds)),
    'difference': verdict
    and pictures.difference(
      verdict['interval'],
      verdict['difference'],
      dict(zip(seeds, verdict.get('differences', ()))),
      len(dots),
    ),
    'columns': list(names.values()),
    'colors': list(colors.values()),
    'lines': tables.cells(report),
    'select': report['select'],
    'device': report['device']['kind'],
    'curves': curves.draw(result, names, colors),
    'costs': [
      pictures.tradeoff(
        [
          p._replace(x=_mean(tables.find(report['networks'][row], path)))
          for row, p in zip(report['networks'], dots)
        ],
        name,
        unit,
      )
      for name, path, unit in COSTS
    ],
    'classes': classes(report),
    'alike': alike(report, names),
    'reliability': reliabilities(result, names, colors),
    'confusions': confusions(result, names),
    'examples': report['examples'],
    'cards': cards.cards(result, names, colors, temperature(result.config)),
    'temperature': temperature(result.config),
    'command': result.command,
    'environment': dict(result.environment),
    'config': json.dumps(result.config, indent=2),
    'data': report['data'],
  }


def title(result: results.Result) -> str:
  """The page's name: the folder's."""
  return result.folder.resolve().name


def typeset(text: str) -> str:
  """Text with true minus signs, and numbers that keep their unit."""
  text = re.sub(r'(?<![\w.])-(?=\d)', '\N{MINUS SIGN}', text)
  return re.sub(r'(?<=\d) (?=%)', '\N{NO-BREAK SPACE}', text)


def _mean(x: Any) -> float | None:
  return x['mean'] if isinstance(x, Mapping) else x


def points(report, names, colors) -> list[pictures.Point]:
  """The networks with their accuracy, and its interval or its seeds."""
  made = []
  for row, own in report['networks'].items():
    found = own['accuracy']
    values = tuple(found['values']) if isinstance(found, Mapping) else ()
    low, high = own.get('interval') or (min(values), max(values))
    made.append(
      pictures.Point(names[row], colors[row], _mean(found), low, high, values)
    )
  return made


def tiles(report) -> list[tuple[str, str, str]]:
  """(number, what it is, color) of what one looks for first."""
  student, alone = next(iter(report['students'].items()))
  rows, teacher = report['networks'], report['teacher']
  wanted = (
    (teacher, 'teacher', 'teacher'),
    (alone, 'student alone', 'alone'),
    (student, 'student distilled' if alone else student, 'student'),
  )
  made = [
    (f'{100 * _mean(rows[row]["accuracy"]):.1f} %', text, color)
    for row, text, color in wanted
    if row
  ]
  if not teacher:
    return made
  made.append(
    (
      tables.number(tables.times)(rows[student]['ratio']),
      'fewer parameters',
      'ink',
    )
  )
  times = [
    tables.find(rows[row], 'cost.latency.1.median')
    for row in (teacher, student)
  ]
  if all(times):
    made.append(
      (tables.times(times[0] / times[1]), 'as fast, one image', 'ink')
    )
  return made


def seed_lines(result) -> list[dict]:
  """For each seed: its name, the page, its accuracies and the difference."""
  if result.report['kind'] != 'seeds':
    return []
  student, alone = next(iter(result.report['students'].items()))
  made = []
  for name, run in zip(result.report['runs'], result.runs):
    rows = run.report['networks']
    change = alone and rows[student]['accuracy'] - rows[alone]['accuracy']
    made.append(
      {
        'name': name,
        'page': f'{name}/report.html',
        'cells': [
          tables.percent(rows[row]['accuracy'])
          for row in result.report['networks']
        ],
        'change': typeset(f'{100 * change:+.1f}') if alone else '',
      }
    )
  return made


def classes(report) -> str:
  """How the accuracy on each class changed; '' without a baseline."""
  student, alone = next(iter(report['students'].items()))
  if not alone:
    return ''
  ours, theirs = (
    report['networks'][row]['per_class'] for row in (student, alone)
  )
  pairs = [
    (name, 100 * (a - b))
    for name, a, b in zip(report['data']['classes'], ours, theirs)
    if None not in (a, b)
  ]
  return mistakes.bars(
    *map(list, zip(*pairs)),
    'classes',
    'Accuracy by class: distilled minus alone',
    'points',
  )


def alike(report, names) -> dict[str, Any] | None:
  """The table of CKA: heads and rows of texts."""
  if not report['alike']:
    return None
  rows = list(report['alike'][0]['rows'])
  return {
    'heads': [names[row] for row in rows],
    'rows': [
      (
        pair['student'],
        pair['teacher'],
        [tables.number(tables.decimal)(pair['rows'][row]) for row in rows],
      )
      for pair in report['alike']
    ],
  }


def reliabilities(result, names, colors) -> list[str]:
  """The reliability diagram of each network, over all seeds."""
  made = []
  for k, row in enumerate(names):
    logits = np.concatenate([run.logits[row] for run in result.runs])
    labels = np.concatenate([run.labels for run in result.runs])
    bins = fidelity.reliability(logits, labels)
    made.append(
      mistakes.reliability(
        bins, colors[row], f'reliability{k}', names[row], len(result.runs)
      )
    )
  return made


def confusions(result, names) -> list[str]:
  """Confusion of each network, and where distilled and alone differ."""
  known = result.report['data']['classes']
  if len(known) > mistakes.DRAWN:
    return []
  matrices = {
    row: sum(
      fidelity.confusion(run.logits[row], run.labels) for run in result.runs
    )
    for row in names
  }
  made = [
    mistakes.confusion(matrices[row], known, f'confusion{k}', names[row])
    for k, row in enumerate(names)
  ]
  student, alone = next(iter(result.report['students'].items()))
  if alone:
    made.append(
      mistakes.changes(
        matrices[student] - matrices[alone],
        known,
        'changes',
        'distilled minus alone',
      )
    )
  return made


def temperature(config: Mapping[str, Any]) -> float | None:
  """The temperature of the first term that has one other than 1."""
  for term in config.get('terms', {}).values():
    if term.get('temperature', 1) != 1:
      return term['temperature']
  return None


def across(
  found: Sequence[results.Result], beside: pathlib.Path
) -> dict[str, Any]:
  """Everything that the template of several runs names.

  Args:
    found: the runs.
    beside: the folder of the page, from which it links to theirs.
  """
  lines, dots = [], []
  for k, result in enumerate(found):
    report, page = result.report, result.folder / 'report.html'
    names, colors = tables.titles(report), svg.palette(report)
    own = points(report, names, colors)
    verdict = report['verdict']
    lines.append(
      {
        'title': title(result),
        'page': os.path.relpath(page, beside),
        'outcome': verdict['outcome'] if verdict else 'none',
        'headline': typeset(tables.headline(report)),
        'rows': tables.overview_rows(report),
      }
    )
    dots += [
      p._replace(title=f'{title(result)}: {p.title}', color=f'other{k % 6}')
      for p in own
    ]
  costs = [
    tables.find(own, 'cost.parameters')
    for result in found
    for own in result.report['networks'].values()
  ]
  dots = [p._replace(x=x) for p, x in zip(dots, costs)]
  return {
    'title': f'{len(found)} runs',
    'runs': lines,
    'heads': tables.OVERVIEW,
    'accuracies': pictures.accuracies(dots),
    'cost': pictures.tradeoff(dots, 'across', 'parameters'),
  }
