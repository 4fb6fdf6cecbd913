"""Draws scores over the keys that a sweep varied."""

from collections.abc import Mapping, Sequence

import numpy as np

from kd_jax import sweep, tasks
from kd_jax.compare import table as tables
from kd_jax.report import curves, pictures, svg

PANELS = 6  # heat maps beside each other


def varied(rows: Sequence[Mapping]) -> dict[str, list]:
  """{key: its values in order} of the keys that differ between the rows."""
  keys = {key: None for row in rows for key in row['values']}
  taken = {key: {value_of(row, key) for row in rows} for key in keys}
  return {
    key: sorted(values, key=lambda v: (isinstance(v, str), v))
    for key, values in taken.items()
    if len(values) > 1
  }


def value_of(row: Mapping, key: str) -> float | str:
  """A row's value of a key: a number, or text ('-' where it has none)."""
  value = row['values'].get(key, '-')
  return value if isinstance(value, (int, float)) else sweep.text_of(value)


def heats(
  rows: Sequence[Mapping], task: tasks.Task = tasks.CLASSIFICATION
) -> list[str]:
  """The score on validation over the first two keys, for each of the third.

  A cell is the mean over all other keys. [] with fewer than two keys.
  """
  keys = varied(rows)
  if len(keys) < 2:
    return []
  x, y, *rest = keys
  low, high = (f(r['validation'] for r in rows) for f in (min, max))
  parts = [('', rows)]
  if rest:
    third = rest[0]
    parts = [
      (
        f'{title(third)} = {text(v)}',
        [r for r in rows if value_of(r, third) == v],
      )
      for v in keys[third][:PANELS]
    ]
  return [
    heat(part, (x, keys[x]), (y, keys[y]), (low, high), f'heat{i}', head, task)
    for i, (head, part) in enumerate(parts)
  ]


def heat(rows, x, y, span, name: str, head: str, task: tasks.Task) -> str:
  """One heat map; darker cells are better within `span`."""
  (across, columns), (up, lines) = x, y
  cells = {}
  for row in rows:
    at = value_of(row, across), value_of(row, up)
    cells.setdefault(at, []).append(row['validation'])
  means = {at: float(np.mean(scores)) for at, scores in cells.items()}
  best = max(means, key=lambda at: task.better * means[at], default=None)

  def draw(axes):
    from matplotlib.patches import Rectangle

    for (a, b), value in means.items():
      i, j = columns.index(a), lines.index(b)
      share = _share(value, span, task)
      axes.add_patch(
        Rectangle(
          (i - 0.48, j - 0.48),
          0.96,
          0.96,
          color=svg.COLORS['student'],
          alpha=0.06 + 0.6 * share,
          linewidth=0,
        )
      )
      axes.text(
        i,
        j,
        tables.valued(task)(value),
        ha='center',
        va='center',
        size=8,
        weight='bold' if (a, b) == best else 'normal',
      )
    axes.set_xticks(range(len(columns)), map(text, columns))
    axes.set_yticks(range(len(lines)), map(text, lines))
    axes.set(
      xlim=(-0.5, len(columns) - 0.5),
      ylim=(-0.5, len(lines) - 0.5),
      xlabel=title(across),
      ylabel=title(up),
      title=head,
    )
    axes.grid(visible=False)

  label = f'{curves.on_validation(task)} over {across} and {up} {head}'
  width = max(2.2, 0.9 + 0.55 * len(columns))
  return svg.panel(draw, name, label, width, max(1.8, 0.9 + 0.36 * len(lines)))


def _share(value: float, span, task: tasks.Task) -> float:
  """Where a score lies between the worst (0) and the best (1) of a span."""
  low, high = sorted(task.better * end for end in span)
  return (task.better * value - low) / max(high - low, 1e-9)


def parallel(
  rows: Sequence[Mapping], task: tasks.Task = tasks.CLASSIFICATION
) -> str | None:
  """A line per setting through everything that was varied, to its score.

  None with fewer than three keys, which heat maps show better.
  """
  keys = varied(rows)
  if len(keys) < 3:
    return None
  scores = [row['validation'] for row in rows]
  low, high = min(scores), max(scores)

  def height(row, key):
    values = keys[key]
    return values.index(value_of(row, key)) / (len(values) - 1)

  def draw(axes):
    for row in sorted(rows, key=lambda r: task.better * r['validation']):
      share = _share(row['validation'], (low, high), task)
      axes.plot(
        range(len(keys) + 1),
        [*(height(row, k) for k in keys), share],
        color=svg.COLORS['student' if share > 0.9 else 'muted'],
        alpha=0.15 + 0.75 * share**2,
        lw=1 + share,
      )
    for i, values in enumerate(keys.values()):
      shown = values if len(values) <= 6 else [values[0], values[-1]]
      for value in shown:
        at = values.index(value) / (len(values) - 1)
        axes.annotate(
          text(value), (i, at), (4, 2), size=8, textcoords='offset points'
        )
    for value, at in zip((low, high)[:: task.better], (0, 1)):
      axes.annotate(
        tasks.shown(value, task.unit),
        (len(keys), at),
        (4, 2),
        size=8,
        textcoords='offset points',
      )
    axes.set_xticks(range(len(keys) + 1), [*map(title, keys), 'validation'])
    axes.set_yticks([])
    axes.spines['left'].set_visible(False)
    axes.margins(x=0.08)

  label = f'Every setting through all that was varied, to its {task.title}'
  return svg.panel(draw, 'parallel', label, 2 + 1.5 * len(keys), 3.4)


def title(key: str) -> str:
  """The last parts of a dotted key."""
  return '.'.join(key.split('.')[-2:])


def text(value) -> str:
  """A value on an axis."""
  return pictures.short(value) if isinstance(value, float) else str(value)
