"""Prepares everything that a report page shows: texts and pictures."""

import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kd_jax import tasks
from kd_jax.compare import family, fidelity, results
from kd_jax.compare import table as tables
from kd_jax.report import cards, curves, mistakes, pictures, pixels, svg, text

COSTS = (
  ('parameters', 'cost.parameters', 'parameters'),
  ('size', 'cost.bytes', 'bytes'),
  ('latency', 'cost.latency.1', 'milliseconds for one {} (and quartiles)'),
)


def context(result: results.Result) -> dict[str, Any]:
  """Everything that the template names, for one run or several seeds."""
  report, task = result.report, tasks.task_of(result.report)
  names, colors = tables.titles(report), svg.palette(report)
  dots = points(report, names, colors)
  verdict, seeds = report['verdict'], report.get('runs') or ()
  panels = {name: PANELS[name](result, names, colors) for name in task.panels}
  return {
    'task': task,
    **dict.fromkeys(PANELS),
    **panels,
    'title': title(result),
    'outcome': verdict['outcome'] if verdict else 'none',
    'headline': typeset(tables.headline(report)),
    'basis': tables.basis(report),
    'evidence': typeset(verdict['evidence']) if verdict else '',
    'closed': typeset(tables.closed(report)),
    'others': [typeset(text) for text in tables.others(report)],
    'tiles': tiles(report, colors),
    'costs_less': cost_tiles(report),
    'seeds': seed_lines(result),
    'scores': dots
    and pictures.scores(list(dots.values()), task, 1 + len(seeds)),
    'difference': verdict
    and verdict['interval']
    and pictures.difference(
      verdict['interval'],
      verdict['difference'],
      dict(zip(seeds, verdict.get('differences') or ())),
      task,
      len(dots),
    ),
    'columns': list(names.values()),
    'colors': list(colors.values()),
    'lines': tables.cells(report),
    'select': report['select'],
    'device': report['device']['kind'],
    'curves': curves.draw(result, names, colors),
    'curveless': curveless(result),
    'costs': [
      pictures.tradeoff(
        [
          priced(dots[row], tables.find(network, path))
          for row, network in report['networks'].items()
          if row in dots
        ],
        name,
        unit.format(tables.example(report)),
        task,
      )
      for name, path, unit in COSTS
      if dots
    ],
    'changes': classes(report),
    'alike': alike(report, names),
    'reliability': reliabilities(result, names, colors),
    'shared': [names[row] for row in names if is_shared(result, row)],
    'examples': report['examples'],
    'temperature': temperature(result.config),
    'command': result.command,
    'environment': dict(result.environment),
    'config': json.dumps(result.config, indent=2),
    'data': report['data'],
    'example_is': tables.example(report),
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


def points(report, names, colors) -> dict[str, pictures.Point]:
  """{row: the score of a network, its interval and its seeds}.

  A network without a score, or an interval, has none.
  """
  dots, task = {}, tasks.task_of(report)
  for row, network in report['networks'].items():
    score = network[task.score]
    if score is None or network['interval'] is None:
      continue
    values = tuple(score['values']) if isinstance(score, Mapping) else ()
    low, high = network['interval']
    dots[row] = pictures.Point(
      names[row], colors[row], _mean(score), low, high, values
    )
  return dots


def priced(point: pictures.Point, cost: Any) -> pictures.Point:
  """A point at its cost: a number, or a time with its quartiles."""
  if isinstance(cost, Mapping):
    around = cost['low'], cost['high']
    return point._replace(x=cost['median'], around=around)
  return point._replace(x=cost)


class Tile(NamedTuple):
  """A number that one looks for first.

  Attributes:
    text: the number.
    what: what it is.
    color: CSS variable.
    note: its interval, or ''.
  """

  text: str
  what: str
  color: str
  note: str = ''


def tiles(report, colors) -> list[Tile]:
  """The test scores that matter, with their intervals."""
  task = tasks.task_of(report)
  unit = f' {task.unit}' if task.unit else ''
  return [
    Tile(tables.NONE, score.title, colors[score.row], 'not defined')
    if score.value is None
    else Tile(
      f'{tables.valued(task)(score.value)}{unit}',
      score.title,
      colors[score.row],
      tables.interval(task)(score.interval),
    )
    for score in tables.scores(report)
  ]


def cost_tiles(report) -> list[Tile]:
  """How much smaller and faster than its teacher the student is."""
  teacher, student = report['teacher'], next(iter(report['students']))
  rows = report['networks']
  if not teacher:
    return []
  ratio = tables.number(tables.times)(rows[student]['ratio'])
  times = [
    tables.find(rows[row], 'cost.latency.1') for row in (teacher, student)
  ]
  smaller = Tile(ratio, 'fewer parameters than the teacher', 'ink')
  one = f'one {tables.example(report)}'
  return [smaller, *([faster(*times, one)] if all(times) else [])]


def faster(
  theirs: Mapping[str, float], ours: Mapping[str, float], one: str = 'one image'
) -> Tile:
  """The speed of a student beside its teacher's, if it is beyond noise.

  Args:
    theirs, ours: latency of teacher and student; between times whose
      quartiles overlap no ratio is given.
    one: what was timed.
  """
  if theirs['low'] <= ours['high'] and ours['low'] <= theirs['high']:
    return Tile(
      '≈', f'speed, {one}: not distinguishable from the teacher', 'ink'
    )
  ratio = theirs['median'] / ours['median']
  return Tile(tables.times(ratio), f'as fast as the teacher, {one}', 'ink')


def seed_lines(result) -> list[dict]:
  """For each seed: its name, page, scores and difference."""
  if result.report['kind'] != 'seeds':
    return []
  student, alone = next(iter(result.report['students'].items()))
  lines, task = [], tasks.task_of(result.report)
  show = tables.number(tables.valued(task))
  for name, run in zip(result.report['runs'], result.runs):
    scores = {r: x[task.score] for r, x in run.report['networks'].items()}
    change = ''
    if alone and None not in (scores[student], scores[alone]):
      change = tasks.changed(scores[student] - scores[alone], task.unit)
    lines.append(
      {
        'name': name,
        'page': f'{name}/report.html',
        'cells': [show(scores[row]) for row in result.report['networks']],
        'change': typeset(change),
      }
    )
  return lines


def classes(report) -> str:
  """How the score of each class changed; '' without a baseline."""
  student, alone = next(iter(report['students'].items()))
  if not (alone and report['data']['classes']):
    return ''
  ours, theirs = (
    report['networks'][row]['per_class'] for row in (student, alone)
  )
  pairs = [
    (name, 100 * (a - b))
    for name, a, b in zip(report['data']['classes'], ours, theirs)
    if None not in (a, b)
  ]
  title = tasks.task_of(report).class_title
  return mistakes.bars(
    *map(list, zip(*pairs)),
    'classes',
    f'{title[0].upper()}{title[1:]} by class: distilled minus alone',
    'points',
  )


def alike(report, names) -> dict[str, Any] | None:
  """The table of CKA: heads and rows of texts."""
  if not report.get('alike'):
    return None
  rows = list(report['alike'][0]['rows'])
  return {
    'heads': [names.get(row, row) for row in rows],
    'rows': [
      (
        pair['student'],
        pair['teacher'],
        [tables.number(tables.decimal)(pair['rows'].get(r)) for r in rows],
      )
      for pair in report['alike']
    ],
  }


def is_shared(result, row: str) -> bool:
  """Whether a row is the very same network in all of several seeds."""
  first, *rest = result.runs
  return bool(rest) and all(results.same(first, run, row) for run in rest)


def runs_of(result, row: str) -> list[results.Run]:
  """The runs that show a row: one where they share the network, else all."""
  return result.runs[:1] if is_shared(result, row) else list(result.runs)


def curveless(result) -> list[str]:
  """The stages that no run has learning curves of."""
  known = {row['stage'] for run in result.runs for row in run.rows}
  return [s for s in result.report.get('stages') or () if s not in known]


def reliabilities(result, names, colors) -> list[str]:
  """The reliability diagram of each network, over all seeds."""
  panels, single = [], tasks.task_of(result.report).single
  for k, row in enumerate(names):
    runs = runs_of(result, row)
    if single:
      bins = fidelity.reliability(
        np.concatenate([run.logits[row] for run in runs]),
        np.concatenate([run.labels for run in runs]),
      )
    else:
      bins = [run.report['networks'][row]['reliability'] for run in runs]
      if None in bins:  # numbers have no confidence
        continue
      bins = fidelity.joined(bins)
    panels.append(
      mistakes.reliability(
        bins, colors[row], f'reliability{k}', names[row], len(runs), single
      )
    )
  return panels


def confusions(result, names, colors) -> list[str]:
  """Confusion of each network, and where distilled and alone differ."""
  del colors
  known = result.report['data']['classes']
  if len(known) > mistakes.DRAWN:
    return []
  matrices = {
    row: sum(
      fidelity.confusion(run.logits[row], run.labels)
      for run in runs_of(result, row)
    )
    for row in names
  }
  panels = [
    mistakes.confusion(matrices[row], known, f'confusion{k}', names[row])
    for k, row in enumerate(names)
  ]
  student, alone = next(iter(result.report['students'].items()))
  # Of a network that seeds share there is one matrix and no sum of them.
  if alone and len(runs_of(result, student)) == len(runs_of(result, alone)):
    panels.append(
      mistakes.changes(
        matrices[student] - matrices[alone],
        known,
        'changes',
        'distilled minus alone',
      )
    )
  return panels


def temperature(config: Mapping[str, Any]) -> float | None:
  """The temperature of the first term that has one other than 1."""
  terms = config.get('terms')
  for term in terms.values() if isinstance(terms, Mapping) else ():
    number = term.get('temperature', 1) if isinstance(term, Mapping) else 1
    if isinstance(number, int | float) and number > 0 and number != 1:
      return number
  return None


def examples(result, names, colors) -> dict[str, Any]:
  """The cards of what was learned and lost."""
  return cards.cards(result, names, colors, temperature(result.config))


# What `Task.panels` names: (result, names, colors) -> what the template draws.
PANELS = {
  'confusions': confusions,
  'cards': examples,
  'maps': pixels.maps,
  'classes': pixels.classes,
  'shares': pixels.shares,
  'frames': pixels.frames,
  'tokens': text.tokens,
}


def across(
  runs: Sequence[results.Result], beside: pathlib.Path
) -> dict[str, Any]:
  """Everything that the template of several runs names.

  Args:
    runs: the runs.
    beside: the folder of the page, from which it links to theirs.
  """
  task = tables.shared(result.report for result in runs)
  corrected = family.correct(
    {str(result.folder): result.report['verdict'] for result in runs}
  )
  lines, dots = [], []
  for k, result in enumerate(runs):
    report, page = result.report, result.folder / 'report.html'
    names, colors = tables.titles(report), svg.palette(report)
    row = corrected[str(result.folder)]
    lines.append(
      {
        'title': title(result),
        'page': os.path.relpath(page, beside),
        'outcome': row['outcome'] or 'none',
        'p': family.shown_p(row),
        'headline': typeset(tables.headline(report)),
        'rows': tables.overview_rows(report),
      }
    )
    dots += [
      point._replace(
        title=f'{title(result)}: {point.title}',
        color=f'other{k % 6}',
        x=report['networks'][row]['cost']['parameters'],
      )
      for row, point in points(report, names, colors).items()
    ]
  return {
    'title': f'{len(runs)} runs',
    'family': typeset(family.sentence(corrected)),
    'runs': lines,
    'task': task,
    'heads': tables.heads(task, tables.example(runs[0].report)),
    'scores': pictures.scores(dots, task),
    'cost': pictures.tradeoff(dots, 'across', 'parameters', task),
  }
