"""Runs an exported folder on an image, a folder of images, or a text.

  python -m kd_jax.export.predict FOLDER INPUT [--top N] [--out DIR]

Prints the names of classes with their probabilities. Of a segmenter a map of
each image is written to DIR, a PNG in the colors of the classes, and the share
of each class is printed.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import build, errors, tasks, types
from kd_jax.export import formats, inputs, job, meta, need
from kd_jax.losses import spatial

MAPS = 'maps'  # the folder that maps are written to


def predict(
  folder: str | os.PathLike,
  given: str,
  *,
  top: int = 5,
  out: str | os.PathLike = MAPS,
) -> list[dict[str, Any]]:
  """Runs an export; what can be wrong is found before anything is run.

  Args:
    folder: that `kd_jax.export` wrote.
    given: an image, a folder of images, or the text itself.
    top: how many classes are named.
    out: folder of the maps that a segmenter writes.

  Returns:
    Of each image, text or token, {'of': its name, 'classes': [(name, its
    probability, or of a segmenter its share of the pixels)], 'map': path or
    None, 'number': whether it is no probability but what was asked for}.

  Raises:
    ValueError: one line.
  """
  folder = pathlib.Path(folder)
  described = meta.read(folder)
  if top < 1:
    raise ValueError(f'--top {top}; legal: 1 or more')
  chosen = format_of(described)
  if described['predicts'] in meta.OF_IMAGES:
    return _images(
      folder, described, chosen, pathlib.Path(given), top, pathlib.Path(out)
    )
  return _text(folder, described, chosen, given, top)


def format_of(described: Mapping[str, Any]) -> formats.Format:
  """The format of an export, whose packages are installed.

  Raises:
    ValueError: one line, for one that is not known.
  """
  if described['format'] not in job.FORMATS:
    raise types.unknown('format', described['format'], job.FORMATS)
  chosen = job.FORMATS[described['format']]
  for package in chosen.needs:
    need.package(package)
  return chosen


def make_run(
  folder: pathlib.Path, described: Mapping[str, Any], chosen: formats.Format
) -> Callable[[Any], np.ndarray]:
  """Makes inputs -> outputs of the file in its runtime.

  Raises:
    ValueError: one line, for a damaged file.
  """
  path, spec = folder / described['file'], described['network']['build']
  shape = ()
  if described['predicts'] in meta.OF_IMAGES:
    shape = tuple(described['inputs'][0]['shape'][1:])
  try:
    # The others have the network in their file.
    alone = described['format'] in ('onnx', 'stablehlo')
    network = None if alone else build.make_network(spec)
    whole = formats.Job(
      network, {}, shape, spec, '', described['names'], lambda: np.zeros(0)
    )
    return chosen.make_run(whole, path)
  except Exception as error:  # a damaged file can raise anything
    line = str(error).strip().split('\n')[0][:200]
    raise ValueError(f'{path} is damaged: {line}') from error


def _images(folder, described, chosen, place, top, out) -> list[dict]:
  """The predictions of one image or of a folder's."""
  prepare, paths = described['prepare'], inputs.files(place)
  for path in paths:
    inputs.image(path, prepare)
  maps = dict.fromkeys(paths)
  if described['predicts'] == 'pixel':
    maps = {path: out / f'{path.stem}.png' for path in paths}
    _check_maps(maps, out)
  run = make_run(folder, described, chosen)
  rows = []
  for path in paths:
    pixels = inputs.image(path, prepare)
    answer = run(inputs.prepared(pixels, prepare))[0]
    row = {'of': str(path), 'map': maps[path], 'number': False}
    if maps[path] is None:
      row = _row(str(path), answer, described, top)
    else:
      places = class_map(answer, prepare['size'])
      write_map(maps[path], places, described['palette'])
      row['classes'] = shares(places, described['labels'])
    rows.append(row)
  return rows


def _check_maps(maps: Mapping[pathlib.Path, pathlib.Path], out) -> None:
  """Refuses maps that would overwrite something; makes their folder."""
  twice = len(maps) - len({*maps.values()})
  if twice:
    raise ValueError(
      f'{twice} images would have the map of another, of equal names but for '
      'their endings; rename them'
    )
  for path in maps.values():
    if path.exists():
      raise ValueError(f'{path} exists; remove it, or give another --out')
  try:
    out.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.unwritable(out, error) from error


def best(
  logits: np.ndarray, labels: Sequence[str], top: int, says: str = tasks.ONE
) -> list[tuple]:
  """[(class, its probability)] of the likeliest, from logits f32 [K].

  Where a row says yes or no to each class, a probability is that of yes; where
  it is a number, the number itself.
  """
  values = logits.astype(np.float64)
  if says == tasks.ONE:
    values = np.exp(values - values.max())
    values /= values.sum()
  elif says == tasks.EACH:
    values = 1 / (1 + np.exp(-values))
  order = np.argsort(-values, kind='stable')[:top]
  return [(labels[k], float(values[k])) for k in order]


def class_map(answer: np.ndarray, size: Sequence[int]) -> np.ndarray:
  """The class of every pixel, i [H, W].

  Args:
    answer: logits f32 [h, w, K], which are resized, or the classes.
    size: H and W.
  """
  if answer.ndim == 2:
    return answer
  logits = spatial.bilinear(answer[None], tuple(size))
  return np.asarray(logits.argmax(-1)[0])


def shares(places: np.ndarray, labels: Sequence[str]) -> list[tuple]:
  """[(class, its share of the pixels)] of those that occur, largest first."""
  counts = np.bincount(places.ravel(), minlength=len(labels))
  order = np.argsort(-counts, kind='stable')
  return [(labels[k], counts[k] / places.size) for k in order if counts[k]]


def write_map(path: pathlib.Path, places: np.ndarray, palette) -> None:
  """Writes a map of classes as a PNG in their colors.

  It is a picture with a palette where there are at most 256 classes: its
  numbers are the classes.

  Raises:
    ValueError, errors.FullError: one line, where it cannot be written.
  """
  from PIL import Image

  colors = np.array(palette, np.uint8)
  if len(colors) <= 256:
    picture = Image.fromarray(places.astype(np.uint8))
    picture.putpalette(colors.ravel().tolist())
  else:
    picture = Image.fromarray(colors[places])
  try:
    picture.save(path, 'png')
  except OSError as error:
    raise errors.unwritable(path, error) from error


def _text(folder, described, chosen, words, top) -> list[dict]:
  """The predictions of a text, of its tokens, or of what comes next."""
  kind = described['predicts']
  if kind == 'states':
    raise ValueError(
      f'{folder} gives hidden states and no classes; legal: a network with a '
      'head'
    )
  coder = inputs.tokenizer(folder, described)
  ids = inputs.tokens(coder, words, described)
  decodes = 'decoder_input_ids' in (x['name'] for x in described['inputs'])
  at = _places(coder, ids, kind, decodes)
  logits = make_run(folder, described, chosen)(inputs.batch(ids, described))[0]
  if kind == 'text':
    return [_row(words, logits, described, top)]
  labels = described['labels'] or [
    repr(name) for name in coder.spell(range(logits.shape[-1]))
  ]
  described = {**described, 'labels': labels}
  return [_row(name, logits[k], described, top) for k, name in at.items()]


def _row(name: str, logits: np.ndarray, described, top: int) -> dict[str, Any]:
  return {
    'of': name,
    'classes': best(logits, described['labels'], top, described['says']),
    'map': None,
    'number': described['says'] == tasks.NUMBER,
  }


def _places(coder, ids, kind: str, decoder: bool) -> dict[int, str]:
  """{row of the logits: its name}; of a decoder the first."""
  if kind == 'next token':
    return {0 if decoder else len(ids) - 1: 'next token'}
  names = dict(enumerate(coder.spell(ids)))
  if kind == 'masked token':
    mask = coder.special.get('mask')
    if mask not in ids:
      (name,) = coder.spell([mask]) if mask is not None else ('a mask',)
      raise ValueError(
        f'the text has no word to be guessed; put {name} in its place'
      )
    names = {k: names[k] for k, token in enumerate(ids) if token == mask}
  return names


def line(row: Mapping[str, Any]) -> str:
  """A prediction in one line."""
  shown = '{:.4g}'.format if row['number'] else lambda x: f'{100 * x:.1f} %'
  classes = ', '.join(f'{name} {shown(x)}' for name, x in row['classes'])
  place = f' -> {row["map"]}' if row['map'] else ''
  return f'{row["of"]}: {classes}{place}'


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m kd_jax.export.predict', description=__doc__.split('\n')[0]
  )
  parser.add_argument('folder', metavar='FOLDER')
  parser.add_argument(
    'given', metavar='INPUT', help='an image, a folder of images, or a text'
  )
  parser.add_argument(
    '--top', type=int, default=5, metavar='N', help='classes that are named'
  )
  parser.add_argument(
    '--out', default=MAPS, metavar='DIR', help='of the maps of a segmenter'
  )
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command.

  Returns:
    The exit code: 0; 1 where the disk is full; 2 for a user's mistake.
  """
  options = vars(_parser().parse_args(argv))
  try:
    rows = predict(options.pop('folder'), options.pop('given'), **options)
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    full = isinstance(error, errors.FullError)
    return errors.FAILED if full else errors.USER
  print('\n'.join(map(line, rows)))
  return errors.DONE


if __name__ == '__main__':
  sys.exit(main())
