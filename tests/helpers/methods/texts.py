"""The same sequences laid out in batches of text, and methods that read them.

What a network says of a sequence is drawn once; a layout puts the sequences
into rows, with anything at padding, so that a method that keeps the laws gives
one loss and one gradient for all layouts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tests.helpers.methods import harness

LENGTHS = (3, 5, 2, 4)
CLASSES, HEADS = 7, 2
IGNORED = -100
# name -> its last axes: 'v' a vector for each token, 's' scores of pairs, 'h' a
# vector for each head and token.
PARTS = {
  'logits': ('v', CLASSES, CLASSES),
  'states': ('v', 6, 6),
  'layer0': ('v', 4, 6),
  'layer1': ('v', 4, 6),
  'layer1_scores': ('s', 0, 0),
  'layer1_query': ('h', 4, 6),
  'layer1_key': ('h', 4, 6),
  'layer1_value': ('h', 4, 6),
}
_STATES = {'layers': [('states', 'states')]}
_LAYER = {'layers': [('layer1', 'layer1')]}
_SCORES = {'layers': [('layer1_scores', 'layer1_scores')]}

# Methods that compare text token by token: name -> options.
BY_TOKEN: Mapping[str, Mapping[str, Any]] = {
  'cross_entropy': {},
  'kd': {},
  'dkd': {},
  'nkd': {},
  'dist': {},
  'lskd': {},
  'ctkd': {},
  'ttm': {},
  'wsld': {},
  'logit_mse': {},
  'forward_kl': {},
  'reverse_kl': {},
  'generalized_jsd': {},
  'skew_kl': {},
  'skew_reverse_kl': {},
  'symmetric_kl': {},
  'js': {},
  'tv': {},
  'ofa': {},
  'topk_kd': {'k': 3},
  'topk_jsd': {'k': 3},
  'fitnet': {**_LAYER, 'variant': 'paper'},
  'ab': _STATES,
  'vid': _LAYER,
  'feature_mse': _LAYER,
  'feature_cosine': _LAYER,
  'attention_mse': _SCORES,
  'attention_kl': _SCORES,
  'value_relation': {'layers': [('layer1_value', 'layer1_value')]},
  'tinybert': {
    'layers': [('layer#', 'layer#')],
    'scores': [('layer#_scores', 'layer#_scores')],
  },
  'minilm': _LAYER,
  'minilm_v2': {**_LAYER, 'relation_heads': 4},
  'mobilebert': _LAYER,
  'squared_error': {},
  'binary_cross_entropy': {},
  'binary_kd': {},
}
# Methods that compare whole rows: padding counts nowhere, rows are not packed.
# Not 'kdsvd', whose singular vectors are not known where a sequence has fewer
# tokens than there are components; nor 'cc' and 'info_nce', which embed a row.
BY_ROW = {
  'at': _LAYER,
  'nst': _LAYER,
  'fsp': {'layers': [('layer0', 'layer0'), ('layer1', 'layer1')]},
  'rkd': _LAYER,
  'rkd_distance': _LAYER,
  'rkd_angle': _LAYER,
  'sp': _LAYER,
  'pkt': _LAYER,
  'ickd': _LAYER,
  'pkd': _STATES,
}
# Layouts: the sequences in each row, and the length of the rows.
PLAIN = ((0,), (1,), (2,), (3,)), 5
PADDED = ((0,), (1,), (2,), (3,), ()), 9
PACKED = ((2, 1), (0, 3)), 8


class Text(NamedTuple):
  """A batch in a layout.

  Attributes:
    student, teacher: outputs [B, L, ...].
    batch: 'inputs', 'labels' and 'mask'.
    places: (row, start) of each sequence.
  """

  student: Mapping[str, np.ndarray]
  teacher: Mapping[str, np.ndarray]
  batch: Mapping[str, Any]
  places: Sequence[tuple[int, int]]


def _drawn(sequence: int, side: int) -> dict[str, np.ndarray]:
  """What a network says of a sequence."""
  rng = np.random.default_rng([sequence, side])
  n, outputs = LENGTHS[sequence], {}
  for name, (kind, *widths) in PARTS.items():
    shape = {
      'v': (n, widths[side]),
      's': (n, HEADS, n),
      'h': (n, HEADS, widths[side]),
    }[kind]
    outputs[name] = rng.normal(size=shape).astype(np.float32)
  return outputs


def lay_out(layout, packed: bool = False) -> Text:
  """The batch of a layout; 'packed' ones say so by segments."""
  rows, length = layout
  shape = len(rows), length
  inputs = {'attention_mask': np.zeros(shape, np.int32)}
  if packed:
    inputs = {'segment_ids': np.zeros(shape, np.int32)}
  labels = np.full(shape, IGNORED, np.int32)
  sides = [_noise(shape, side) for side in range(2)]
  places: list = [None] * len(LENGTHS)
  for row, sequences in enumerate(rows):
    start = 0
    for number, sequence in enumerate(sequences):
      stop = start + LENGTHS[sequence]
      here = np.s_[row, start:stop]
      next(iter(inputs.values()))[here] = number + 1 if packed else 1
      # The last token has no successor, and the second is of a prompt.
      labels[here] = np.arange(LENGTHS[sequence]) * 3 % CLASSES
      labels[row, stop - 1] = labels[row, start + 1] = IGNORED
      for side, outputs in enumerate(sides):
        for name, x in _drawn(sequence, side).items():
          if PARTS[name][0] == 's':
            outputs[name][row, start:stop, :, start:stop] = x
          else:
            outputs[name][here] = x
      places[sequence] = row, start
      start = stop
  batch = {
    'inputs': inputs,
    'labels': labels,
    'mask': np.float32(labels != IGNORED),
  }
  return Text(*map(_by_head, sides), batch, places)


def _noise(shape, side) -> dict[str, np.ndarray]:
  rng = np.random.default_rng([*shape, side])
  last = {
    name: {'v': w[side : side + 1], 's': (HEADS, shape[1])}.get(
      kind, (HEADS, w[side])
    )
    for name, (kind, *w) in PARTS.items()
  }
  return {
    name: rng.normal(size=(*shape, *axes), scale=9).astype(np.float32)
    for name, axes in last.items()
  }


def _by_head(outputs) -> dict[str, np.ndarray]:
  """[B, L, heads, ..] as [B, heads, L, ..], as networks give them."""
  return {
    name: x if PARTS[name][0] == 'v' else x.swapaxes(1, 2)
    for name, x in outputs.items()
  }


def of_sequences(text: Text, outputs: Mapping) -> dict[str, list]:
  """The parts of outputs [B, ...] that are of each sequence."""
  parts = {}
  for name, x in outputs.items():
    kind, x = PARTS[name][0], np.asarray(x)
    x = x if kind == 'v' else x.swapaxes(1, 2)
    parts[name] = []
    for (row, start), n in zip(text.places, LENGTHS):
      part = x[row, start : start + n]
      part = part[..., start : start + n] if kind == 's' else part
      parts[name].append(part)
  return parts


def shapes(text: Text):
  """The shapes of both sides, for a method's init."""
  return tuple(map(harness.signals.shapes_of, (text.student, text.teacher)))
