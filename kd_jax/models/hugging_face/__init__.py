"""Folders of Hugging Face's `transformers`: config.json and safetensors.

They are read and written without `transformers` and without unpickling.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from kd_jax import models, types
from kd_jax.models import base, text
from kd_jax.models.hugging_face import configs, names

CONFIG, WEIGHTS = 'config.json', 'model.safetensors'
INDEX = f'{WEIGHTS}.index.json'
DTYPES = ('float32', 'bfloat16', 'float16')


def is_folder(folder: str | os.PathLike) -> bool:
  """Whether the config.json in a folder is one of `transformers`."""
  path = pathlib.Path(folder) / CONFIG
  try:
    config = json.loads(path.read_text())
  except (OSError, ValueError):
    return False
  return isinstance(config, dict) and 'model_type' in config


def read(
  folder: str | os.PathLike, dtype: str = ''
) -> tuple[types.Variables, dict[str, Any]]:
  """Variables and build ('name', 'classes', options) of a folder.

  Args:
    folder: with config.json and model.safetensors, or several such files and
      their index.
    dtype: that arrays get, one of DTYPES; '' keeps that of the files.

  Returns:
    ({'params': ...} as NumPy arrays, build).

  Raises:
    ValueError: one line, for an unknown architecture and for the first tensor
      that is missing, left over, or of another shape.
  """
  folder = pathlib.Path(folder)
  if dtype and dtype not in DTYPES:
    raise types.unknown('dtype', dtype, DTYPES)
  try:
    config = json.loads((folder / CONFIG).read_text())
    files = _files(folder)
    build = configs.to_build(config)
    build = _untied(build, files)
    variables = _variables(build, files)
  except (ValueError, SafetensorError) as error:
    raise ValueError(f'{folder}: {error}') from error
  if dtype:
    variables = jax.tree.map(lambda x: x.astype(jnp.dtype(dtype)), variables)
  return variables, build


def _files(folder) -> dict[str, pathlib.Path]:
  """{tensor: its file}."""
  if (folder / WEIGHTS).exists():
    with safe_open(folder / WEIGHTS, 'np') as file:
      return dict.fromkeys(file.keys(), folder / WEIGHTS)
  if not (folder / INDEX).exists():
    raise ValueError(f'no {WEIGHTS} and no {INDEX}')
  index = json.loads((folder / INDEX).read_text()).get('weight_map')
  if not isinstance(index, dict):
    raise ValueError(f"{INDEX} lacks 'weight_map'")
  for name in sorted(set(index.values())):
    # A name such as ../x would lead out of the folder.
    if pathlib.Path(name).name != name or not (folder / name).is_file():
      raise ValueError(f'{INDEX} names {name}, which is no file here')
  return {key: folder / name for key, name in index.items()}


def _get(files, key) -> np.ndarray:
  with safe_open(files[key], 'np') as file:
    return file.get_tensor(key)


def _untied(build, files) -> dict[str, Any]:
  """The build; a T5 whose file has a head of its own is not tied.

  Transformers 5 calls every T5 tied, the files of v1.1 are not.
  """
  if build['name'] == 't5' and 'lm_head.weight' in files:
    head, table = _get(files, 'lm_head.weight'), _get(files, 'shared.weight')
    if not np.array_equal(head, table):
      return {**build, 'tied': False}
  return build


def _variables(build, files):
  """The variables of a network from its files."""
  entries = _entries(build)
  prefix = names.PREFIXES.get(build['name'], names.PREFIX)
  bare = not any(key.startswith(prefix) for key in files)
  stored = {key: key.removeprefix(prefix) if bare else key for key in entries}
  if build.get('head') == 'none' and not bare:
    stored = {key: prefix + key for key in entries}
  missing = sorted(set(stored.values()) - files.keys())
  if missing:
    raise ValueError(
      f"the weights lack '{missing[0]}' ({len(missing)} tensors are missing)"
    )
  flat = {}
  for key, entry in entries.items():
    x = _get(files, stored[key])
    if x.shape != entry.shape:
      raise ValueError(
        f"'{stored[key]}' is {list(x.shape)}; the network that {CONFIG} "
        f'describes has {list(entry.shape)}'
      )
    flat |= entry.from_file(x)
  _check_rest(files, set(stored.values()), flat)
  return traverse_util.unflatten_dict(flat)


def _entries(build) -> dict[str, names.Entry]:
  network = models.make_network(**build)
  shapes = base.variable_shapes(network, text.example_inputs(build['name']))
  return _table(build, shapes)


def _table(build, variables) -> dict[str, names.Entry]:
  """{tensor: Entry} of a network's arrays, or of their shapes."""
  head = configs.whole(build).get('head', '')
  return names.table(build['name'], head, variables)


def _check_rest(files, read, flat) -> None:
  """Refuses tensors that the network has no place for."""
  for key in sorted(files.keys() - read):
    for ours, pattern in names.TIED.items():
      if pattern.search(key):
        leaf = ('embedding',) if ours == 'embed/tokens' else ()
        twin = flat.get(('params', *ours.split('/'), *leaf))
        if twin is None or not np.array_equal(_get(files, key), twin):
          raise ValueError(
            f"'{key}' is tied by {CONFIG}, and differs from the table of words"
          )
        break
    else:
      if not names.UNREAD.search(key):
        raise ValueError(
          f"the weights hold '{key}', which the network that {CONFIG} "
          'describes does not have'
        )


def state_dict(
  variables: types.Variables, build: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """The weights under the names and in the layouts of `transformers`.

  Tied tensors appear once.
  """
  entries = _table(build, variables)
  flat = traverse_util.flatten_dict(dict(variables))
  return {key: entry.to_file(flat) for key, entry in entries.items()}


def write(
  folder: str | os.PathLike, variables: types.Variables, build: Mapping
) -> None:
  """Writes config.json and model.safetensors into a folder that exists.

  Args:
    folder: that is written to.
    variables: of the network.
    build: its name in `text.NETWORKS`, classes and options.

  Raises:
    ValueError: one line, for a network that `transformers` does not have.
    OSError: it cannot be written.
  """
  folder = pathlib.Path(folder)
  variables = jax.device_get({'params': variables['params']})
  dtype = jax.tree.leaves(variables)[0].dtype.name
  config = configs.from_build(build, dtype)
  state = state_dict(variables, build)
  data = safetensors.save(state, {'format': 'pt'})
  (folder / WEIGHTS).write_bytes(data)
  (folder / CONFIG).write_text(json.dumps(config, indent=2) + '\n')
