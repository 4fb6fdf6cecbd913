"""PyTorch weights that load here, and go back, under their own names.

Names are those of mdistiller and RepDistiller for CIFAR, of torchvision,
mdistiller (`mobilenet_v1`) and timm (`vit_*`) for ImageNet. The command
`python -m kd_jax.models.torch_weights SRC --model NAME --out DIR` writes a
network folder that any config loads as a teacher.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from kd_jax import models
from kd_jax.models import base
from kd_jax.models.torch_weights import names
from kd_jax.types import Variables

_COUNTER = 'num_batches_tracked'


def load(
  source: str | os.PathLike | Mapping[str, Any],
  name: str,
  *,
  classes: int | None = None,
  inputs: Sequence[int] | None = None,
  **options: Any,
) -> Variables:
  """Variables of the network `name` from PyTorch weights.

  Args:
    source: a .safetensors file; a .pth or .pt file (read with
      `torch.load(weights_only=True)`, so torch must be installed), bare or as
      one of the entries 'model', 'state_dict', ... of a checkpoint; or a
      mapping of names to arrays or tensors.
    name: in MODELS.
    classes: read off the weights where not given.
    inputs: [H, W, C] of the images, where the weights depend on them;
      `models.example_inputs(name)` where not given.
    **options: of the network, such as patch=4.

  Returns:
    {'params': ..., 'batch_stats': ...} as numpy f32.

  Raises:
    ValueError: one line that lists missing, unexpected and misshapen entries.
  """
  state = source if isinstance(source, Mapping) else read(source)
  state = {key.removeprefix('module.'): x for key, x in state.items()}
  inputs = tuple(inputs or models.example_inputs(name))
  if classes is None:
    classes = count_classes(state, name, inputs, **options)
  found = _table(name, classes, inputs, options)
  _check(state, found, name)
  flat = {
    entry.path: entry.from_torch(_numpy(state[key]))
    for key, entry in found.items()
  }
  return traverse_util.unflatten_dict(flat)


def count_classes(
  state: Mapping[str, Any], name: str, inputs: Sequence[int], **options: Any
) -> int:
  """Classes of a state dict: how long that is which is 1 for one class."""
  state = {key.removeprefix('module.'): x for key, x in state.items()}
  for key, entry in _table(name, 1, inputs, options).items():
    if entry.shape == (1,) and key in state:
      return int(state[key].shape[0])
  return 1


def state_dict(variables: Variables, name: str) -> dict[str, np.ndarray]:
  """The weights as PyTorch names and turns them.

  `num_batches_tracked`, which is not kept here, is 0: PyTorch's
  `load_state_dict` asks for it and, with its usual momentum, never reads it.
  """
  found = names.table(name, variables)
  flat = traverse_util.flatten_dict(dict(variables))
  state = {
    key: np.ascontiguousarray(entry.to_torch(np.asarray(flat[entry.path])))
    for key, entry in found.items()
  }
  return state | {key: np.zeros((), np.int64) for key in names.counters(found)}


def save(path: str | os.PathLike, variables: Variables, name: str) -> None:
  """Writes `state_dict(variables, name)` to a .safetensors file."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  safetensors.save_file(state_dict(variables, name), path)


def read(path: str | os.PathLike) -> dict[str, Any]:
  """The state dict in a file; nothing is unpickled but tensors.

  Raises:
    ValueError: one line, where it is missing, no such file, or holds more.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise ValueError(f'no weights at {path}')
  if path.suffix == '.safetensors':
    try:
      return safetensors.load_file(path)
    except SafetensorError as error:
      raise ValueError(f'{path} is no safetensors file: {error}') from error
  return _state_in(_torch_load(path), path)


def _torch_load(path):
  try:
    import torch
  except ImportError as error:
    raise ValueError(
      f'{path} needs PyTorch to be read: pip install torch==2.13.0 (or save '
      'it as .safetensors)'
    ) from error
  try:
    with torch.serialization.safe_globals(_numbers()):
      return torch.load(path, map_location='cpu', weights_only=True)
  except Exception as error:  # pickle, zip and torch raise many kinds
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise ValueError(
      f'{path} does not load with weights_only=True, and nothing else is '
      f'tried; save the state_dict alone: {reason}'
    ) from error


def _numbers():
  """Names of numpy scalars: checkpoints hold an accuracy as one."""
  scalar = np.float64(0).__reduce__()[0]
  kinds = [type(np.dtype(t)) for t in ('f4', 'f8', 'i8')]
  return [(scalar, 'numpy.core.multiarray.scalar'), scalar, np.dtype, *kinds]


def _state_in(content, path):
  """The state dict of a checkpoint: the mapping of names to tensors."""
  for key in (None, 'state_dict', 'model', 'net', 'model_state_dict'):
    inner = content if key is None else content.get(key)
    if (
      isinstance(inner, Mapping)
      and inner
      and all(hasattr(x, 'shape') for x in inner.values())
    ):
      return dict(inner)
    if not isinstance(content, Mapping):
      break
  keys = ', '.join(map(str, content)) if isinstance(content, Mapping) else ''
  raise ValueError(
    f'{path} holds no state dict; found '
    f'{type(content).__name__} {keys}'.rstrip()
  )


def _numpy(x):
  """f32 array of an array or of a tensor of any device and dtype."""
  if hasattr(x, 'detach'):
    x = x.detach().cpu().float().numpy()
  return np.asarray(x).astype(np.float32)


def _table(name, classes, inputs, options):
  network = models.make_network(name, classes, **options)
  images = jax.ShapeDtypeStruct((1, *inputs), jnp.float32)
  return names.table(name, base.variable_shapes(network, images))


def _check(state, found, name):
  """Raises a one-line ValueError for entries that do not fit."""
  ours = {key: entry.shape for key, entry in found.items()}
  theirs = {
    key: tuple(x.shape)
    for key, x in state.items()
    if not key.endswith(_COUNTER)
  }
  both = ours.keys() & theirs.keys()
  wrong = {
    'missing': ours.keys() - theirs.keys(),
    'unexpected': theirs.keys() - ours.keys(),
    'misshapen': [
      f'{k} {list(theirs[k])} for {list(ours[k])}'
      for k in both
      if ours[k] != theirs[k]
    ],
  }
  if any(wrong.values()):
    parts = [f'{what}: {_some(w)}' for what, w in wrong.items() if w]
    raise ValueError(f"weights do not fit '{name}': {'; '.join(parts)}")


def _some(entries, most=20):
  """The first entries, and how many there are when there are more."""
  entries = sorted(entries)
  rest = f', ... ({len(entries)} in all)' if len(entries) > most else ''
  return ', '.join(entries[:most]) + rest
