"""Students that start from layers of a trained network of the same width."""

import re
from collections.abc import Sequence

import jax.numpy as jnp
from flax import traverse_util

from kd_jax.models import base
from kd_jax.types import Variables

# Parts that follow the layers: a new task may have them anew.
LAST = ('transform', 'transform_norm', 'pooler', 'head')


def with_layers(
  network: base.Network, trained: Variables, layers: Sequence[int] = ()
) -> base.Network:
  """`network`, whose `init` copies what a trained one has.

  Its layer i is the trained layer layers[i]; embeddings and norms are copied
  as they are, and of LAST the parts that fit; the others are new. DistilBERT's
  choice of BERT's twelve is 0, 2, 4, 7, 9, 11; source: Sanh et al. 2019,
  https://arxiv.org/abs/1910.01108, section 3, and the authors' script.

  Args:
    network: for text.
    trained: variables of a network whose layers have the same names.
    layers: of the trained network, one for each of the student's; () takes
      them in order.

  Returns:
    Network whose `init` raises a one-line ValueError for layers that are not
    there, parts that the trained network lacks and shapes that differ.
  """

  def init(key, inputs):
    variables = network.init(key, inputs)
    filled = _filled(variables['params'], trained['params'], layers)
    return {**variables, 'params': filled}

  return network._replace(init=init)


def depth(params) -> int:
  """The number of layers of the deepest stack."""
  numbers = (re.fullmatch(r'[a-z]+_(\d+)', name) for name in params)
  return 1 + max((int(n[1]) for n in numbers if n), default=-1)


def _filled(params, trained, layers) -> dict:
  here, there = depth(params), depth(trained)
  layers = list(layers) or list(range(here))
  if len(layers) != here:
    raise ValueError(f'{len(layers)} layers are named for the {here} it has')
  for layer in layers:
    if not 0 <= layer < there:
      raise ValueError(f'layer {layer} is named, and there are {there}')
  filled = {}
  for name, part in params.items():
    numbered = re.fullmatch(r'([a-z]+)_(\d+)', name)
    source = f'{numbered[1]}_{layers[int(numbered[2])]}' if numbered else name
    filled[name] = _part(name, part, source, trained.get(source))
  return filled


def _part(name, part, source, given):
  """One part of the parameters, with the values of the trained part."""
  wanted = traverse_util.flatten_dict(dict(part))
  values = traverse_util.flatten_dict(dict(given or {}))
  fits = all(
    path in values and values[path].shape == x.shape
    for path, x in wanted.items()
  )
  if name in LAST and not fits:
    return part
  for path, x in wanted.items():
    leaf = '/'.join((source, *path))
    if path not in values:
      raise ValueError(f'the trained network lacks {leaf}')
    if values[path].shape != x.shape:
      raise ValueError(
        f'{leaf} of the trained network is {list(values[path].shape)}; legal: '
        f'{list(x.shape)}'
      )
  return traverse_util.unflatten_dict(
    {path: jnp.asarray(values[path], x.dtype) for path, x in wanted.items()}
  )
