"""Draws what networks get wrong, and how confident they are."""

from collections.abc import Mapping, Sequence

import numpy as np

from kd_jax.compare import statistics
from kd_jax.report import svg

DRAWN = 50  # classes that a confusion matrix is drawn of
BARS = 24  # classes that a change is drawn of


def confusion(
  matrix: np.ndarray, names: Sequence[str], name: str, title: str
) -> str:
  """Mistakes as red cells, darker for a larger share of the class."""
  share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
  wrong = share - np.diag(np.diag(share))
  paint = np.sqrt(wrong / max(wrong.max(), 1e-9))

  def draw(axes):
    for i, j in np.argwhere(matrix):
      color, alpha = ('muted', 0.18) if i == j else ('bad', 0.85 * paint[i, j])
      _cell(axes, i, j, color, alpha)
      if len(names) <= 12:
        axes.text(
          j,
          i,
          f'{matrix[i, j]}',
          ha='center',
          va='center',
          size=7.5,
          color=svg.COLORS['muted' if i == j else 'ink'],
        )
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
        axes.text(
          j, i, f'{matrix[i, j]:+d}', size=7.5, ha='center', va='center'
        )
    _grid(axes, names, title)

  label = f'{title}: difference of two confusion matrices'
  return svg.panel(draw, name, label, 3.6, 3.7)


def _cell(axes, i, j, color, alpha) -> None:
  from matplotlib.patches import Rectangle

  axes.add_artist(
    Rectangle(
      (j - 0.46, i - 0.46),
      0.92,
      0.92,
      facecolor=svg.COLORS[color],
      alpha=float(alpha),
      linewidth=0,
    )
  )


def _grid(axes, names, title) -> None:
  size = len(names)
  every = range(0, size, -(-size // 20))
  shown = [names[k][:9] for k in every]
  long = max(map(len, shown)) > 2
  axes.set_xticks(every, shown, rotation=90 if long else 0)
  axes.set_yticks(every, shown)
  axes.set(
    xlim=(-0.5, size - 0.5),
    ylim=(size - 0.5, -0.5),
    aspect='equal',
    title=title,
    xlabel='taken for',
    ylabel='is',
  )
  axes.grid(visible=False)
  for side in ('left', 'bottom'):
    axes.spines[side].set_visible(False)


def reliability(
  bins: Mapping[str, Sequence],
  color: str,
  name: str,
  title: str,
  seeds: int = 1,
  intervals: bool = True,
) -> str:
  """Accuracy against confidence: on the line a network is well calibrated.

  Args:
    bins: from `fidelity.reliability`, of all seeds together.
    color: CSS variable.
    name: of the picture.
    title: of the network.
    seeds: how often each image is in the bins; the intervals are over images.
    intervals: whether predictions are independent, so that bins have some.
  """
  full = [b for b, n in enumerate(bins['count']) if n]
  sure, right, count = (
    np.array([bins[key][b] for b in full])
    for key in ('confidence', 'accuracy', 'count')
  )

  def draw(axes):
    paint = svg.COLORS[color]
    axes.plot([0, 1], [0, 1], color=svg.COLORS['muted'], lw=1, ls='--')
    counts = np.maximum(np.rint(count / seeds), 1) if intervals else ()
    for x, y, n in zip(sure, right, counts):
      axes.plot(
        [x, x],
        statistics.wilson(round(y * n), n),
        color=paint,
        lw=2.5,
        alpha=0.3,
        solid_capstyle='round',
      )
    axes.plot(sure, right, color=paint, lw=1.2, alpha=0.6)
    axes.scatter(
      sure, right, s=14 + 160 * count / count.sum(), color=paint, linewidth=0
    )
    axes.set(
      xlim=(0, 1.04),
      ylim=(-0.02, 1.04),
      title=title,
      aspect='equal',
      xlabel='confidence',
      ylabel='accuracy',
    )

  return svg.panel(draw, name, f'{title}: reliability diagram', 3.4, 3.4)


def bars(
  names: Sequence[str],
  values: Sequence[float],
  name: str,
  title: str,
  unit: str,
) -> str:
  """The largest changes as bars from zero: green up, red down."""
  order = sorted(np.argsort(-np.abs(values), kind='stable')[:BARS])
  if len(values) > BARS:
    title = f'{title}, the {BARS} largest changes'

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
