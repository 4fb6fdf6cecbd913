"""Prepares the examples of a report: images or texts, and the answers."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax.compare import fidelity, results

CARDS = {'learned': 12, 'lost': 4}
LETTERS = 400  # of a text
BARS, LINES = 10, 4  # classes that are drawn: upright, or with long names


def cards(
  result: results.Result,
  names: Mapping[str, str],
  colors: Mapping[str, str],
  temperature: float | None,
) -> dict[str, list[dict[str, Any]]]:
  """The examples that were learned from the teacher, and those lost.

  Over several seeds the mean of their probabilities decides.

  Returns:
    {'learned', 'lost': [{'image', 'text', 'truth', 'index', 'networks'}]}, with
    an image or a text; a network has its title, color, answer, whether it is
    right, and its bars: the same classes for all, or, where names are long, the
    likeliest of each.
  """
  student, alone = next(iter(result.report['students'].items()))
  rows = [result.report['teacher'], alone, student]
  if None in rows:
    return {kind: [] for kind in CARDS}
  labels = result.runs[0].labels
  logits = {
    row: fidelity.mean_of([run.logits[row] for run in result.runs])
    for row in rows
  }
  images = {k: v for run in result.runs for k, v in run.images.items()}
  pieces = {k: v for run in result.runs for k, v in run.pieces.items()}
  picked = fidelity.examples(labels, *(logits[row] for row in rows))
  classes = result.report['data']['classes']
  long = max(map(len, classes)) > 3

  def shown(index, row):
    if long:
      return likeliest(logits[row][index], labels[index], LINES)
    return classes_of([logits[r][index] for r in rows], labels[index])

  def card(index):
    return {
      'index': index,
      'truth': classes[labels[index]],
      'image': data_uri(images[index]) if index in images else '',
      'text': ''.join(pieces[index])[:LETTERS] if index in pieces else '',
      'long': long,
      'networks': [
        {
          'title': names[row],
          'color': colors[row],
          'answer': classes[logits[row][index].argmax()],
          'right': bool(logits[row][index].argmax() == labels[index]),
          'bars': bars(
            logits[row][index],
            shown(index, row),
            classes,
            temperature,
            labels[index],
          ),
        }
        for row in rows
      ],
    }

  return {
    kind: [card(i) for i in picked[kind] if i in {**images, **pieces}][:most]
    for kind, most in CARDS.items()
  }


def classes_of(logits: Sequence[np.ndarray], label: int) -> list[int]:
  """The classes to draw: all if few, else the label and the likeliest."""
  size = len(logits[0])
  if size <= BARS:
    return list(range(size))
  return sorted(
    likeliest(np.max(list(map(fidelity.log_softmax, logits)), 0), label, BARS)
  )


def likeliest(logits: np.ndarray, label: int, most: int) -> list[int]:
  """The `most` likeliest classes and the label, the likeliest first."""
  order = np.argsort(-logits, kind='stable').tolist()
  if label not in order[:most]:
    order = [*order[: most - 1], int(label)]
  return order[:most]


def bars(
  logits: np.ndarray,
  shown: Sequence[int],
  known: Sequence[str],
  temperature: float | None,
  label: int,
) -> list[dict[str, Any]]:
  """Probability of each class shown in per cent, plain and softened."""
  plain = 100 * np.exp(fidelity.log_softmax(logits))
  soft = 100 * np.exp(fidelity.log_softmax(logits / (temperature or 1)))
  return [
    {
      'name': known[k],
      'truth': k == label,
      'height': round(plain[k], 1),
      'soft': round(soft[k], 1),
    }
    for k in shown
  ]


def data_uri(image: np.ndarray) -> str:
  """Encodes uint8 [H, W, C] as a PNG inside the page."""
  from PIL import Image

  if image.shape[-1] not in (3, 4):
    image = image[..., 0]
  out = io.BytesIO()
  Image.fromarray(image).save(out, 'PNG')
  return 'data:image/png;base64,' + base64.b64encode(out.getvalue()).decode()
