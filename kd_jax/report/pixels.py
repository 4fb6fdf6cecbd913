"""Draws what networks say of every pixel: maps, classes, frames a second."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import tasks
from kd_jax.compare import results
from kd_jax.compare import table as tables
from kd_jax.data import maps as data_maps
from kd_jax.report import cards, mistakes, pictures, svg

LARGEST = 480  # pixels of a side of a picture in the page; larger ones shrink
SMALL = 200  # pixels below which a picture shows its pixels
VOID = (0, 0, 0)
RIGHT, TAUGHT, NEITHER = (26, 150, 85), (214, 60, 48), (120, 120, 120)


def maps(result: results.Result, names, colors) -> dict[str, Any] | None:
  """The maps of a handful of test images, of the first run.

  Args:
    result: of a run or of several seeds.
    names: {row: title}.
    colors: {row: CSS variable}.

  Returns:
    'legend', [(class, color)]; 'heads', [(title, CSS variable or '')]; 'rows',
    [{'index', 'cells': [{'image', 'what', 'note'}]}]; 'order', in words;
    'difference', whether teacher and student are compared; 'small', whether
    pixels are to be seen. None without images.
  """
  run, report = result.runs[0], result.report
  if not run.images:
    return None
  student, alone = next(iter(report['students'].items()))
  teacher = report['teacher']
  rows = [row for row in (teacher, alone, student) if row]
  taught = [teacher] if teacher else []
  paint = palette(report['data'])
  void = any((truth == tasks.VOID).any() for truth in run.truth.values())
  shades = [*paint, VOID] if void else paint
  lines = [
    {
      'index': index,
      'cells': [
        _cell(_photo(image), 'image'),
        _cell(_map(run.truth[index], paint), 'truth'),
        *(
          _cell(
            _map(answer(run, row, index), paint),
            names[row],
            _note(report, run.sums[row], index),
          )
          for row in rows
        ),
        *(_difference(run, index, image, row, student) for row in taught),
      ],
    }
    for index, image in run.images.items()
  ]
  shape = next(iter(run.images.values())).shape
  return {
    'legend': [
      (name, '#{:02x}{:02x}{:02x}'.format(*color))
      for name, color in zip([*report['data']['classes'], 'void'], shades)
    ],
    'heads': [
      ('image', ''),
      ('truth', ''),
      *((names[row], colors[row]) for row in rows),
      *([('where they differ', '')] if teacher else ()),
    ],
    'rows': lines,
    'order': _order(alone),
    'difference': bool(teacher),
    'small': shape[1] < SMALL,
  }


def _order(alone: str | None) -> str:
  if alone is None:
    return 'From the image that the student does best on to its worst.'
  return (
    'From the test image that distillation improved most to the one that it '
    'harmed most, at equal distances in that order.'
  )


def answer(run: results.Run, row: str, index: int) -> np.ndarray:
  """The classes that a network names, i16; void where the truth is."""
  void = run.truth[index] == tasks.VOID
  return np.where(void, tasks.VOID, run.answers[row][index].astype(np.int16))


def palette(data: Mapping[str, Any]) -> list[tuple[int, int, int]]:
  """A color of each class: those of the data set, or hues far apart."""
  return data_maps.colors(data.get('palette', ()), len(data['classes']))


def _cell(image: str, what: str, note: str = '') -> dict[str, str]:
  return {'image': image, 'what': what, 'note': note}


def _note(report, sums, index: int) -> str:
  """The score of one image."""
  task = tasks.task_of(report)
  scores = task.scores({name: values[index] for name, values in sums.items()})
  return tasks.shown(scores[task.score], task.unit)


def _step(shape: Sequence[int]) -> int:
  """Every which pixel of an image is shown."""
  return -(-max(shape[:2]) // LARGEST)


def _photo(image: np.ndarray) -> str:
  """An image as a link that holds it, shrunk by means over squares."""
  step = _step(image.shape)
  height, width = (side // step * step for side in image.shape[:2])
  squares = image[:height, :width].reshape(
    height // step, step, width // step, step, -1
  )
  return cards.data_uri(squares.mean((1, 3)).round().astype(np.uint8))


def _map(classes: np.ndarray, paint) -> str:
  """A map of classes as a link that holds it; every color is one class's."""
  step = _step(classes.shape)
  # Void, -1, is the last color.
  return _painted(classes[::step, ::step], [*paint, VOID])


def _painted(places: np.ndarray, paint: Sequence) -> str:
  """Places i [H, W] in the colors of `paint`."""
  return cards.data_uri(np.array(paint, np.uint8)[places])


def _difference(run, index, image, teacher, student) -> dict[str, str]:
  """Where teacher and student name different classes, on a pale image."""
  step, truth = _step(image.shape), run.truth[index]
  ours, theirs = (answer(run, row, index) for row in (student, teacher))
  pale = (255 - (255 - image.mean(-1)) / 3).astype(np.uint8)
  shown = np.repeat(pale[..., None], 3, -1)
  differ = ours != theirs
  for where, color in (
    (differ, NEITHER),
    (differ & (ours == truth), RIGHT),
    (differ & (theirs == truth), TAUGHT),
    (truth == tasks.VOID, VOID),
  ):
    shown[where] = color
  counts = truth != tasks.VOID
  share = differ[counts].mean() if counts.any() else 0.0
  note = f'{tables.percent(share)} % differ'
  uri = cards.data_uri(shown[::step, ::step])
  return _cell(uri, 'where teacher and student differ', note)


def classes(result: results.Result, names, colors) -> str:
  """What each class is scored by, as bars of teacher, alone and distilled."""
  report = result.report
  student, alone = next(iter(report['students'].items()))
  rows = [row for row in (report['teacher'], alone, student) if row]
  known, task = report['data']['classes'], tasks.task_of(report)
  order = np.argsort(-np.array(report['data']['counts']), kind='stable')
  order = sorted(order[: mistakes.BARS])
  width = 0.8 / len(rows)

  def draw(axes):
    for i, row in enumerate(rows):
      values = report['networks'][row]['per_class']
      axes.bar(
        np.arange(len(order)) + (i - (len(rows) - 1) / 2) * width,
        [100 * (values[k] or 0) for k in order],
        width=0.9 * width,
        color=svg.COLORS[colors[row]],
        alpha=0.85,
        label=names[row],
      )
    shown = [known[k][:12] for k in order]
    turn = 90 if max(map(len, shown)) > 3 else 0
    axes.set_xticks(range(len(order)), shown, rotation=turn)
    axes.grid(axis='x', visible=False)
    axes.set(title=f'{task.class_title} of each class', ylabel='%')
    # Above the bars, whichever is the longest.
    axes.set_ylim(0, 1.18 * max(axes.get_ylim()[1], 1))
    axes.legend(loc='upper right', ncols=len(rows))

  label = f'{task.class_title} of each class, of {", ".join(names.values())}'
  return svg.panel(draw, 'perclass', label, 7.2, 3.5)


def shares(result: results.Result, names, colors) -> list[str]:
  """What the pixels of each class are taken for, in per cent of them."""
  del colors
  known = result.report['data']['classes']
  if len(known) > mistakes.DRAWN:
    return []
  matrices = {
    row: _share(
      sum(run.sums[row]['confusion'].sum(0, np.int64) for run in result.runs)
    )
    for row in names
  }
  panels = [
    mistakes.confusion(matrix, known, f'shares{k}', names[row])
    for k, (row, matrix) in enumerate(matrices.items())
  ]
  student, alone = next(iter(result.report['students'].items()))
  if alone:
    panels.append(
      mistakes.changes(
        matrices[student] - matrices[alone],
        known,
        'changes',
        'distilled minus alone',
      )
    )
  return panels


def _share(matrix: np.ndarray) -> np.ndarray:
  """Counts as whole per cent of their row."""
  whole = np.maximum(matrix.sum(-1, keepdims=True), 1)
  return np.rint(100 * matrix / whole).astype(int)


def frames(result: results.Result, names, colors) -> list[str]:
  """The score against frames a second, in JAX and in onnxruntime."""
  report, task = result.report, tasks.task_of(result.report)
  panels = []
  for runtime, title in (('jax', 'JAX'), ('onnxruntime', 'onnxruntime')):
    points = []
    for row, network in report['networks'].items():
      rate = tables.find(network, f'cost.frames.{runtime}')
      score = network[task.score]
      if None in (rate, score, network['interval']):
        continue
      size = tables.extent(network['cost']['frames']['size'])
      mean = score['mean'] if isinstance(score, Mapping) else score
      points.append(
        pictures.Point(
          names[row], colors[row], mean, *network['interval'],
          x=rate['median'], around=(rate['slow'], rate['median']),
        )
      )  # fmt: skip
    if points:
      unit = f'frames a second of {size} in {title}'
      name = f'frames-{runtime}'
      panels.append(pictures.tradeoff(points, name, unit, task, gain=True))
  return panels
