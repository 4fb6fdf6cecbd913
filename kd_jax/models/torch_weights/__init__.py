"""PyTorch weights that load here, and go back, under their own names.

Names are those of mdistiller and RepDistiller for CIFAR, of torchvision,
mdistiller (`mobilenet_v1`) and timm (`vit_*`) for ImageNet. The command
`python -m kd_jax.models.torch_weights SRC --model NAME --out DIR` writes a
network folder that any config loads as a teacher.
"""

import os
import pathlib
import re
import warnings
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
  entries = _table(name, classes, inputs, options)
  _check(state, entries, name)
  flat = {
    entry.path: entry.from_torch(_numpy(state[key]))
    for key, entry in entries.items()
  }
  return traverse_util.unflatten_dict(flat)


def count_classes(
  state: Mapping[str, Any], name: str, inputs: Sequence[int], **options: Any
) -> int:
  """Counts the classes of a state dict.

  The entry that has length 1 in a network of one class is the last bias.
  """
  state = {key.removeprefix('module.'): x for key, x in state.items()}
  for key, entry in _table(name, 1, inputs, options).items():
    if entry.shape == (1,) and key in state:
      return int(state[key].shape[0])
  return 1


def state_dict(variables: Variables, name: str) -> dict[str, np.ndarray]:
  """The weights under PyTorch's names and in its layouts.

  `num_batches_tracked`, which is not kept here, is 0: PyTorch's
  `load_state_dict` asks for it and, with its usual momentum, never reads it.
  """
  entries = names.table(name, variables)
  flat = traverse_util.flatten_dict(dict(variables))
  state = {
    key: np.ascontiguousarray(entry.to_torch(np.asarray(flat[entry.path])))
    for key, entry in entries.items()
  }
  counters = names.counters(entries)
  return state | {key: np.zeros((), np.int64) for key in counters}


def check_plain(build: Mapping[str, Any]) -> None:
  """Refuses a network that PyTorch's code does not have.

  Args:
    build: of its network.json.

  Raises:
    ValueError: naming the option.
  """
  for option in ('reuses', 'quantize', 'exits', 'branches'):
    if build.get(option):
      raise ValueError(
        f"'{build['name']}' with '{option}' has no names in PyTorch"
      )


def save(path: str | os.PathLike, variables: Variables, name: str) -> None:
  """Writes `state_dict(variables, name)` to a .safetensors file.

  The file is written beside its place and renamed into it.

  Raises:
    OSError: it cannot be written; what was there is as it was.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f'.{path.name}.{os.getpid()}')
  try:
    # The library's save_file makes files that their owner alone may read.
    part.write_bytes(safetensors.save(state_dict(variables, name)))
    part.replace(path)
  finally:
    part.unlink(missing_ok=True)


def read(path: str | os.PathLike) -> dict[str, Any]:
  """Reads the state dict in a file; nothing is unpickled but tensors.

  Raises:
    ValueError: one line, where the file is missing or damaged, or holds
      anything but tensors and numbers.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise ValueError(f'no weights at {path}')
  if path.suffix == '.safetensors':
    try:
      return safetensors.load_file(path)
    except SafetensorError as error:
      raise ValueError(f'{path} is not a safetensors file: {error}') from error
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
    with (
      torch.serialization.safe_globals(_numbers()),
      warnings.catch_warnings(action='ignore'),
    ):
      return torch.load(path, map_location='cpu', weights_only=True)
  except Exception as error:  # pickle, zip and torch raise many kinds
    raise ValueError(
      f'{path} does not load with weights_only=True, and nothing else is '
      f'tried ({_reason(error)}); save the state_dict alone, best as '
      '.safetensors'
    ) from error


def _reason(error: Exception) -> str:
  """Why PyTorch refuses a file, without its advice to trust the file."""
  text = str(error)
  code = re.search(r'GLOBAL (\S+)', text)
  if code:
    return f'it holds {code[1]}, which is not a tensor'
  if 'weights_only' in text:
    return 'it is not a checkpoint of tensors alone'
  first = text.split('\n')[0].split('. ')[0][:120]
  return first or type(error).__name__


def _numbers():
  """The classes of NumPy's scalars: checkpoints hold an accuracy as one."""
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


def _check(state, entries, name):
  """Raises a one-line ValueError for entries that do not fit."""
  expected = {key: entry.shape for key, entry in entries.items()}
  given = {
    key: tuple(x.shape)
    for key, x in state.items()
    if not key.endswith(_COUNTER)
  }
  both = expected.keys() & given.keys()
  wrong = {
    'missing': expected.keys() - given.keys(),
    'unexpected': given.keys() - expected.keys(),
    'misshapen': [
      f'{k} {list(given[k])} for {list(expected[k])}'
      for k in both
      if expected[k] != given[k]
    ],
  }
  if any(wrong.values()):
    parts = [f'{kind}: {_first(keys)}' for kind, keys in wrong.items() if keys]
    raise ValueError(f"weights do not fit '{name}': {'; '.join(parts)}")


def _first(entries, most=20):
  """The first entries, and how many there are when there are more."""
  entries = sorted(entries)
  rest = f', ... ({len(entries)} in all)' if len(entries) > most else ''
  return ', '.join(entries[:most]) + rest
