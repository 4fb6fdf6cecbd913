"""Maps PyTorch entries to our arrays, names and layouts.

One rule covers the layers of the zoo: the path with dots, '_0' as '.0',
'kernel' and 'scale' as 'weight'. Only the plain CNNs, whose layers are named
by what they are, need a list.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from flax import traverse_util

from kd_jax.types import Variables

_LEAVES = {
  'kernel': 'weight',
  'scale': 'weight',
  'mean': 'running_mean',
  'var': 'running_var',
}

# PyTorch counts every layer of a Sequential, also ReLU, pool and dropout.
_SMALL = {
  'conv1': 'features.0',
  'conv2': 'features.3',
  'hidden1': 'classifier.0',
  'logits': 'classifier.2',
}
_LAYERS = {
  'cnn': _SMALL,
  'cnn_student': _SMALL,
  'cnn_teacher': {
    'conv1': 'features.0',
    'conv2': 'features.2',
    'conv3': 'features.5',
    'conv4': 'features.7',
    'hidden1': 'classifier.1',
    'hidden2': 'classifier.4',
    'logits': 'classifier.6',
  },
}


class Entry(NamedTuple):
  """One array: its path here, its shape in PyTorch, both conversions."""

  path: tuple[str, ...]
  shape: tuple[int, ...]
  to_torch: Callable[[np.ndarray], np.ndarray]
  from_torch: Callable[[np.ndarray], np.ndarray]


def table(name: str, variables: Variables) -> dict[str, Entry]:
  """{PyTorch name: Entry} of the arrays of a network.

  Args:
    name: of the network in MODELS.
    variables: its arrays, or ShapeDtypeStructs.
  """
  flat = traverse_util.flatten_dict(dict(variables))
  layers = _LAYERS.get(name, {})
  channels = _flattened_channels(flat) if layers else None
  entries = {}
  for path, array in flat.items():
    *layer, leaf = path[1:]
    torch_layer = layers.get('/'.join(layer)) or _dotted(layer)
    key = '.'.join([*filter(None, [torch_layer]), _LEAVES.get(leaf, leaf)])
    flatten = channels if layer == ['hidden1'] else None
    entries[key] = _entry(path, leaf, tuple(array.shape), flatten)
  return entries


def counters(entries: Mapping[str, Entry]) -> list[str]:
  """The names 'num_batches_tracked', one for each norm; not read here."""
  end = 'running_mean'
  return [
    f'{key.removesuffix(end)}num_batches_tracked'
    for key in entries
    if key.endswith(end)
  ]


def _dotted(layer):
  """['layer1_0', 'conv1'] -> 'layer1.0.conv1'."""
  return re.sub(r'_(\d+)(?=[._]|$)', r'.\1', '.'.join(layer))


def _entry(path, leaf, shape, channels):
  """Convolutions HWIO <-> OIHW, dense layers IO <-> OI, the rest as it is."""
  if leaf == 'kernel' and len(shape) == 4:
    h, w, i, o = shape
    return Entry(
      path,
      (o, i, h, w),
      lambda x: x.transpose(3, 2, 0, 1),
      lambda x: x.transpose(2, 3, 1, 0),
    )
  if leaf == 'kernel' and channels:
    return _after_flattening(path, shape, channels)
  if leaf == 'kernel':
    return Entry(path, shape[::-1], np.transpose, np.transpose)
  return Entry(path, shape, np.asarray, np.asarray)


def _after_flattening(path, shape, channels):
  """Rows run over (H, W, C) here and over (C, H, W) in PyTorch."""
  rows, columns = shape

  def to_torch(x):
    x = x.reshape(-1, channels, columns).transpose(2, 1, 0)
    return x.reshape(columns, rows)

  def from_torch(x):
    x = x.reshape(columns, channels, -1).transpose(2, 1, 0)
    return x.reshape(rows, columns)

  return Entry(path, (columns, rows), to_torch, from_torch)


def _flattened_channels(flat):
  """Channels of the last convolution: what a plain CNN flattens."""
  kernels = [(p, x.shape) for p, x in flat.items() if len(x.shape) == 4]
  return max(kernels)[1][-1]
