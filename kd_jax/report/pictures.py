"""Draws the pictures of a report: numbers in, SVG text out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kd_jax import tasks
from kd_jax.compare import table as tables
from kd_jax.report import svg

NAMED = 6  # points that are labelled in the picture; more have a legend


class Point(NamedTuple):
  """A network in a picture.

  Attributes:
    title: its name.
    color: CSS variable.
    score: on the test set.
    low, high: of its interval.
    values: by seed.
    x: what it costs.
    around: the quartiles of x, or ().
  """

  title: str
  color: str
  score: float
  low: float
  high: float
  values: tuple[float, ...] = ()
  x: float | None = None
  around: tuple[float, ...] = ()


class Curve(NamedTuple):
  """A line: x and y, and the band between low and high."""

  title: str
  color: str
  x: Sequence[float]
  y: Sequence[float]
  low: Sequence[float]
  high: Sequence[float]
  style: str = '-'


def scores(points: Sequence[Point], task: tasks.Task, rows: int = 0) -> str:
  """The test score of each network with its interval, one below the other.

  Args:
    points: the networks.
    task: of the labels.
    rows: how many rows the picture has room for at least.
  """

  factor, show = task.factor, tables.valued(task)

  def draw(axes):
    for y, point in enumerate(reversed(points)):
      color = svg.COLORS[point.color]
      axes.plot(
        [factor * point.low, factor * point.high],
        [y, y],
        color=color,
        lw=5,
        alpha=0.35,
        solid_capstyle='round',
      )
      for value in point.values:
        axes.plot(factor * value, y, 'o', color=color, ms=4, alpha=0.6)
      axes.plot(factor * point.score, y, 'o', color=color, ms=9)
      axes.annotate(
        show(point.score),
        (factor * point.score, y),
        (0, 9),
        textcoords='offset points',
        ha='center',
        color=color,
        weight='bold',
      )
    _rows(axes, [p.title for p in points])
    axes.set_xlabel(axis(task))

  unit = f' {task.unit}' if task.unit else ''
  text = ', '.join(f'{p.title} {show(p.score)}{unit}' for p in points)
  height = 0.8 + 0.45 * max(len(points), rows)
  label = f'Test {task.title}: {text}'
  return svg.panel(draw, 'scores', label, 4.8, height)


def axis(task: tasks.Task) -> str:
  """The label of an axis of test scores."""
  return f'test {task.title}, {task.unit}'.rstrip(', ')


def difference(
  interval: Sequence[float],
  mean: float,
  by_seed: Mapping[str, float],
  task: tasks.Task,
  rows: int = 0,
) -> str:
  """Distilled minus alone, with its interval, and seed by seed.

  Args:
    interval: of the difference of scores.
    mean: of the differences.
    by_seed: {seed: difference}; empty for one run.
    task: of the labels.
    rows: how many rows the picture has room for at least.
  """
  low, high = (task.factor * x for x in interval)
  worst, best = sorted((task.better * low, task.better * high))
  # One run is no evidence: it gets no color of a verdict.
  color = 'good' if worst > 0 else 'bad' if best < 0 else 'muted'
  color = color if by_seed else 'muted'
  shown = {'mean' if by_seed else 'this run': mean, **by_seed}

  def draw(axes):
    paint = svg.COLORS[color]
    axes.axvline(0, color=svg.COLORS['ink'], lw=1)
    for y, value in enumerate(reversed(shown.values())):
      top = y == len(shown) - 1
      if top:
        axes.plot(
          [low, high],
          [y, y],
          color=paint,
          lw=5,
          alpha=0.4,
          solid_capstyle='round',
        )
      axes.plot(task.factor * value, y, 'o', color=paint, ms=9 if top else 5)
      # Beside the plot: on it, small differences would lie on the zero line.
      axes.annotate(
        tasks.changed(value, task.unit).replace('-', '\N{MINUS SIGN}'),
        (1, y),
        (10, 0),
        xycoords=axes.get_yaxis_transform(),
        ha='left',
        va='center',
        textcoords='offset points',
        color=paint,
        weight='bold' if top else 'normal',
        size=9 if top else 8,
      )
    _rows(axes, list(shown))
    axes.set_xlabel(', '.join(['distilled minus alone', *points.split()]))

  points = ' points' if task.unit == '%' else ''
  ends = ' to '.join(tasks.changed(x, task.unit) for x in interval)
  label = f'Difference {tasks.changed(mean, task.unit)}{points}, {ends}'
  height = 0.8 + 0.45 * max(len(shown), rows)
  return svg.panel(draw, 'difference', label, 4.8, height)


def _rows(axes, names: Sequence[str]) -> None:
  """Makes the y axis one of names, the first on top."""
  axes.set_yticks(range(len(names)), names[::-1])
  axes.tick_params(axis='y', labelcolor=svg.COLORS['ink'], labelsize=9)
  axes.set_ylim(-0.6, len(names) - 0.25)
  axes.grid(axis='y', visible=False)
  axes.spines['left'].set_visible(False)
  axes.margins(x=0.1)


def curves(
  lines: Sequence[Curve], name: str, title: str, unit: str, log: bool = False
) -> str:
  """Lines over epochs, with their bands."""

  def draw(axes):
    for line in lines:
      color = svg.COLORS[line.color]
      axes.plot(
        line.x,
        line.y,
        line.style,
        color=color,
        label=line.title,
        marker='o' if len(line.x) == 1 else None,
      )
      axes.fill_between(
        line.x, line.low, line.high, color=color, alpha=0.15, linewidth=0
      )
    if log:
      _scale(axes.yaxis, [v for line in lines for v in (*line.low, *line.high)])
    axes.set(title=title, xlabel='epoch', ylabel=unit)
    axes.legend(loc='best')

  return svg.panel(draw, name, f'{title} over epochs')


def tradeoff(
  points: Sequence[Point],
  name: str,
  unit: str,
  task: tasks.Task,
  gain: bool = False,
) -> str:
  """Test scores against a cost, with the Pareto front.

  Args:
    points: the networks.
    name: of the picture.
    unit: of the cost.
    task: of the labels.
    gain: whether more of x is better.
  """
  points = [p for p in points if p.x]
  sign = -1 if gain else 1
  front = pareto([(sign * p.x, task.better * p.score) for p in points])
  factor = task.factor

  def draw(axes):
    axes.plot(
      [points[i].x for i in front],
      [factor * points[i].score for i in front],
      color=svg.COLORS['muted'],
      lw=1.2,
      ls='--',
      drawstyle='steps-post',
    )
    for point in points:
      color = svg.COLORS[point.color]
      axes.plot(
        [point.x] * 2,
        [factor * point.low, factor * point.high],
        color=color,
        lw=3.5,
        alpha=0.35,
        solid_capstyle='round',
      )
      axes.plot(
        point.around,
        [factor * point.score] * len(point.around),
        color=color,
        lw=3.5,
        alpha=0.35,
        solid_capstyle='round',
      )
      axes.plot(point.x, factor * point.score, 'o', color=color, ms=8)
    _scale(axes.xaxis, [p.x for p in points])
    axes.margins(x=0.12, y=0.1)
    axes.set(xlabel=unit, ylabel=axis(task))
    if len(points) <= NAMED:
      _named(axes, points, factor)
    else:
      _keyed(axes, points)

  label = f'Test {task.title} against {unit}; dashed: the Pareto front'
  return svg.panel(draw, name, label)


def _keyed(axes, points) -> None:
  """Adds a legend of the colors: the part of the titles before ': '."""
  keys = {p.title.split(': ')[0]: p.color for p in points}
  for text, color in keys.items():
    axes.plot([], [], 'o', color=svg.COLORS[color], label=text)
  axes.legend(loc='best')


def _scale(axis, values: Sequence[float], most: float = 10) -> None:
  """Makes an axis logarithmic if the values span more than `most` times."""
  from matplotlib import ticker

  if min(values, default=0) > 0 and max(values) > most * min(values):
    axis.axes.set(**{f'{axis.axis_name}scale': 'log'})
    wide = max(values) > 300 * min(values)
    axis.set_major_locator(ticker.LogLocator(subs=(1,) if wide else (1, 3)))
    axis.set_minor_locator(ticker.NullLocator())
  else:
    axis.set_major_locator(ticker.MaxNLocator(5))
  axis.set_major_formatter(lambda x, _: short(x))


def short(x: float) -> str:
  """A number on an axis: thousands as k, M, G."""
  for unit in ('', 'k', 'M'):
    if abs(x) < 1000:
      return f'{x:.4g}{unit}'
    x /= 1000
  return f'{x:.4g}G'


def _named(axes, points, factor: float) -> None:
  """Labels points beside them, apart from the edge and from each other."""
  middle = axes.transAxes.transform((0.5, 0))[0]
  bottom, top = axes.get_ylim()
  for side in (True, False):
    mine = [
      p
      for p in points
      if (axes.transData.transform((p.x, 0))[0] < middle) == side
    ]
    heights = spread([factor * p.score for p in mine], 0.08 * (top - bottom))
    for point, y in zip(mine, heights):
      axes.annotate(
        point.title,
        (point.x, y),
        (9 if side else -9, 0),
        textcoords='offset points',
        ha='left' if side else 'right',
        va='center',
        color=svg.COLORS[point.color],
        size=8.5,
        gid=f'halo-{point.color}',
      )


def spread(values: Sequence[float], gap: float) -> list[float]:
  """Moves values up, as little as keeps them `gap` apart."""
  moved, last = list(values), -np.inf
  for i in np.argsort(values, kind='stable'):
    last = moved[i] = max(values[i], last + gap)
  return moved


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
  """The points that no other is both cheaper and better than, cheapest first.

  Args:
    points: (cost, score), of which more is better.
  """
  cheapest = [(cost, -score, i) for i, (cost, score) in enumerate(points)]
  front, best = [], -np.inf
  for _, _, i in sorted(cheapest):
    if points[i][1] > best:
      front.append(i)
      best = points[i][1]
  return front
