"""The pictures of a report: numbers in, SVG text out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kd_jax import evidence, svg

DRAWN = 50  # classes that a confusion matrix is drawn of


class Point(NamedTuple):
  """A network in a picture.

  Attributes:
    title: what it is called.
    color: CSS variable.
    accuracy: in [0, 1].
    low, high: of its interval, or of its seeds.
    values: by seed.
    x: what it costs.
  """

  title: str
  color: str
  accuracy: float
  low: float
  high: float
  values: tuple[float, ...] = ()
  x: float | None = None


class Curve(NamedTuple):
  """A line: x and y, and the band between low and high."""

  title: str
  color: str
  x: Sequence[float]
  y: Sequence[float]
  low: Sequence[float]
  high: Sequence[float]
  style: str = '-'


def accuracies(points: Sequence[Point], name: str = 'accuracies') -> str:
  """Test accuracy of each network with its interval, one below the other."""

  def draw(axes):
    for y, point in enumerate(reversed(points)):
      color = svg.COLORS[point.color]
      axes.plot(
        [100 * point.low, 100 * point.high], [y, y], color=color, lw=5,
        alpha=0.35, solid_capstyle='round',
      )
      for value in point.values:
        axes.plot(100 * value, y, 'o', color=color, ms=4, alpha=0.6)
      axes.plot(100 * point.accuracy, y, 'o', color=color, ms=9)
      axes.annotate(
        f'{100 * point.accuracy:.1f}', (100 * point.accuracy, y), (0, 9),
        textcoords='offset points', ha='center', color=color, weight='bold',
      )
    _rows(axes, [p.title for p in points])
    axes.set_xlabel('test accuracy, %')

  text = ', '.join(f'{p.title} {100 * p.accuracy:.1f} %' for p in points)
  height = 0.8 + 0.45 * len(points)
  return svg.panel(draw, name, f'Test accuracy: {text}', 5.6, height)


def difference(
  interval: Sequence[float], mean: float, by_seed: Mapping[str, float],
  name: str = 'difference',
) -> str:
  """Distilled minus alone in points, with its interval, and seed by seed."""
  low, high = (100 * x for x in interval)
  color = 'good' if low > 0 else 'bad' if high < 0 else 'muted'
  rows = {'mean' if by_seed else 'this run': mean, **by_seed}

  def draw(axes):
    paint = svg.COLORS[color]
    axes.axvline(0, color=svg.COLORS['ink'], lw=1)
    for y, value in enumerate(reversed(rows.values())):
      top = y == len(rows) - 1
      if top:
        axes.plot([low, high], [y, y], color=paint, lw=5, alpha=0.4,
                  solid_capstyle='round')
      axes.plot(100 * value, y, 'o', color=paint, ms=9 if top else 5)
      axes.annotate(
        f'{100 * value:+.1f}', (100 * value, y), (0, 9 if top else 6),
        ha='center', textcoords='offset points', color=paint,
        weight='bold' if top else 'normal', size=9 if top else 8,
      )
    _rows(axes, list(rows))
    axes.set_xlabel('distilled minus alone, points')

  label = f'Difference {100 * mean:+.1f} points, {low:+.1f} to {high:+.1f}'
  return svg.panel(draw, name, label, 4.4, 0.8 + 0.45 * len(rows))


def _rows(axes, names: Sequence[str]) -> None:
  """An axis of names, the first on top."""
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
        line.x, line.y, line.style, color=color, label=line.title,
        marker='o' if len(line.x) == 1 else None,
      )
      axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.15,
                        linewidth=0)
    if log:
      _scale(axes.yaxis, [v for line in lines for v in (*line.low, *line.high)])
    axes.set(title=title, xlabel='epoch', ylabel=unit)
    axes.legend(loc='best')

  return svg.panel(draw, name, f'{title} over epochs')


def tradeoff(
  points: Sequence[Point], name: str, unit: str
) -> str:
  """Accuracy against a cost, with the line that no network is beyond."""
  points = [p for p in points if p.x]
  front = pareto([(p.x, p.accuracy) for p in points])

  def draw(axes):
    axes.plot(
      [points[i].x for i in front], [100 * points[i].accuracy for i in front],
      color=svg.COLORS['muted'], lw=1.2, ls='--', drawstyle='steps-post',
    )
    for point in points:
      color = svg.COLORS[point.color]
      axes.plot([point.x] * 2, [100 * point.low, 100 * point.high],
                color=color, lw=3.5, alpha=0.35, solid_capstyle='round')
      axes.plot(point.x, 100 * point.accuracy, 'o', color=color, ms=8)
    _scale(axes.xaxis, [p.x for p in points])
    axes.margins(x=0.12, y=0.1)
    axes.set(xlabel=unit, ylabel='test accuracy, %')
    _named(axes, points)

  label = f'Test accuracy against {unit}; dashed: the Pareto front'
  return svg.panel(draw, name, label)


def _scale(axis, values: Sequence[float], most: float = 10) -> None:
  """A logarithmic axis where the values differ more than `most` times."""
  from matplotlib import ticker

  if min(values, default=0) > 0 and max(values) > most * min(values):
    axis.axes.set(**{f'{axis.axis_name}scale': 'log'})
    wide = max(values) > 300 * min(values)
    axis.set_major_locator(ticker.LogLocator(subs=(1,) if wide else (1, 3)))
    axis.set_minor_locator(ticker.NullLocator())
  else:
    axis.set_major_locator(ticker.MaxNLocator(5))
  axis.set_major_formatter(ticker.EngFormatter(sep=''))


def _named(axes, points) -> None:
  """Names points where they are, away from the edge and from each other."""
  middle = axes.transAxes.transform((0.5, 0))[0]
  bottom, top = axes.get_ylim()
  for side in (True, False):
    mine = [
      p for p in points
      if (axes.transData.transform((p.x, 0))[0] < middle) == side
    ]
    heights = spread([100 * p.accuracy for p in mine], 0.08 * (top - bottom))
    for point, y in zip(mine, heights):
      axes.annotate(
        point.title, (point.x, y), (9 if side else -9, 0),
        textcoords='offset points', ha='left' if side else 'right',
        va='center', color=svg.COLORS[point.color], size=8.5,
      )


def spread(values: Sequence[float], gap: float) -> list[float]:
  """The values moved up as little as keeps them `gap` apart."""
  moved, last = list(values), -np.inf
  for i in np.argsort(values, kind='stable'):
    last = moved[i] = max(values[i], last + gap)
  return moved


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
  """The points that no other is both cheaper and better than, cheapest first.

  Args:
    points: (cost, accuracy).
  """
  cheapest = [(cost, -accuracy, i) for i, (cost, accuracy) in enumerate(points)]
  front, best = [], -np.inf
  for _, _, i in sorted(cheapest):
    if points[i][1] > best:
      front.append(i)
      best = points[i][1]
  return front


def confusion(
  matrix: np.ndarray, names: Sequence[str], name: str, title: str
) -> str:
  """Mistakes as red cells, the darker the more of the class they are."""
  share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
  wrong = share - np.diag(np.diag(share))
  paint = np.sqrt(wrong / max(wrong.max(), 1e-9))

  def draw(axes):
    for i, j in np.argwhere(matrix):
      color, alpha = ('muted', 0.18) if i == j else ('bad', 0.85 * paint[i, j])
      _cell(axes, i, j, color, alpha)
      if len(names) <= 12:
        axes.text(j, i, f'{matrix[i, j]}', ha='center', va='center', size=7.5,
                  color=svg.COLORS['muted' if i == j else 'ink'])
    _grid(axes, names, title)

  errors = int(matrix.sum() - np.trace(matrix))
  label = f'{title}: confusion matrix, {errors} mistakes'
  return svg.panel(draw, name, label, 3.6, 3.7)


def changes(
  matrix: np.ndarray, names: Sequence[str], name: str, title: str
) -> str:
  """Where two confusion matrices differ: green is better, red is worse."""
  better = np.where(np.eye(len(matrix), dtype=bool), matrix, -matrix)
  scale = max(np.abs(matrix).max(), 1e-9)

  def draw(axes):
    for i, j in np.argwhere(matrix):
      color = 'good' if better[i, j] > 0 else 'bad'
      alpha = 0.8 * np.sqrt(abs(matrix[i, j]) / scale)
      _cell(axes, i, j, color, alpha)
      if len(names) <= 12:
        axes.text(j, i, f'{matrix[i, j]:+d}', size=7.5, ha='center',
                  va='center')
    _grid(axes, names, title)

  label = f'{title}: difference of two confusion matrices'
  return svg.panel(draw, name, label, 3.6, 3.7)


def _cell(axes, i, j, color, alpha) -> None:
  from matplotlib.patches import Rectangle

  axes.add_patch(Rectangle(
    (j - 0.46, i - 0.46), 0.92, 0.92, facecolor=svg.COLORS[color],
    alpha=float(alpha), linewidth=0,
  ))


def _grid(axes, names, title) -> None:
  size = len(names)
  every = range(0, size, -(-size // 20))
  shown = [names[k][:9] for k in every]
  long = max(map(len, shown)) > 2
  axes.set_xticks(every, shown, rotation=90 if long else 0)
  axes.set_yticks(every, shown)
  axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect='equal',
           title=title, xlabel='taken for', ylabel='is')
  axes.grid(visible=False)
  for side in ('left', 'bottom'):
    axes.spines[side].set_visible(False)


def reliability(
  bins: Mapping[str, Sequence], color: str, name: str, title: str
) -> str:
  """Accuracy against confidence: on the line a network is as sure as right."""
  full = [b for b, n in enumerate(bins['count']) if n]
  sure, right, count = (
    np.array([bins[key][b] for b in full])
    for key in ('confidence', 'accuracy', 'count')
  )

  def draw(axes):
    paint = svg.COLORS[color]
    axes.plot([0, 1], [0, 1], color=svg.COLORS['muted'], lw=1, ls='--')
    for x, y, n in zip(sure, right, count):
      axes.plot([x, x], evidence.wilson(round(y * n), int(n)), color=paint,
                lw=2.5, alpha=0.3, solid_capstyle='round')
    axes.plot(sure, right, color=paint, lw=1.2, alpha=0.6)
    axes.scatter(sure, right, s=14 + 160 * count / count.sum(), color=paint,
                 linewidth=0)
    axes.set(xlim=(0, 1.04), ylim=(-0.02, 1.04), title=title, aspect='equal',
             xlabel='confidence', ylabel='share that is right')

  return svg.panel(draw, name, f'{title}: reliability diagram', 3.4, 3.4)


def bars(
  names: Sequence[str], values: Sequence[float], name: str, title: str,
  unit: str,
) -> str:
  """Changes as bars from zero: green up, red down; the largest 24."""
  order = np.argsort(-np.abs(values), kind='stable')[:24]
  order = sorted(order)

  def draw(axes):
    colors = [svg.COLORS['good' if values[k] >= 0 else 'bad'] for k in order]
    heights = [values[k] for k in order]
    axes.bar(range(len(order)), heights, color=colors, width=0.7, alpha=0.85)
    axes.axhline(0, color=svg.COLORS['muted'], lw=1)
    shown = [names[k][:12] for k in order]
    turn = 90 if max(map(len, shown)) > 3 else 0
    axes.set_xticks(range(len(order)), shown, rotation=turn)
    axes.grid(axis='x', visible=False)
    axes.set(title=title, ylabel=unit)

  return svg.panel(draw, name, title, 7.2, 3.5)
