"""Adds classifiers to a network's features: exits and gated branches."""

from collections.abc import Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds, types
from kd_jax.models import base

WIDTH = 64  # of the hidden layer of a head


class Head(nn.Module):
  """Mean over space, a hidden layer, logits f32 [B, K]."""

  classes: int

  @nn.compact
  def __call__(self, x):
    x = x.mean(range(1, x.ndim - 1)) if x.ndim > 2 else x
    x = nn.relu(nn.Dense(WIDTH, name='hidden')(x))
    return nn.Dense(self.classes, name='logits')(x).astype(jnp.float32)


def with_exits(
  network: base.Network, layers: Sequence[str], classes: int
) -> base.Network:
  """`network` with a classifier on each of `layers`.

  Outputs gain 'logits_exit0', 'logits_exit1', .. in the order of `layers`; the
  network's 'logits' are the deepest exit. Parameters of exits are in 'heads'.

  Raises:
    ValueError: from `init`, for a layer that is not among the outputs.
  """
  return _with_heads(network, [*layers], 'exit', classes, lambda o, g: o)


def with_branches(
  network: base.Network,
  layer: str,
  count: Annotated[int, kinds.at_least(2)],
  classes: int,
) -> base.Network:
  """`network` with `count` branches, of which `count` - 1 are added.

  'logits_branch0' is the network's classifier, the others are heads on the
  feature `layer`. 'logits' is their mixture sum_i g_i logits_i; the gate g is a
  head on `layer` with a softmax over the branches.

  Source: Lan, Zhu, Gong 2018, https://arxiv.org/abs/1806.04606, equation 5.
    Their branches repeat the network's last stage; ours are `Head`s.

  Raises:
    ValueError: for fewer than two branches.
  """
  if count < 2:
    raise ValueError(f'branches must be at least 2, not {count}')

  def mixed(outputs, gate):
    parts = [outputs.pop('logits')]
    parts += [outputs[f'logits_branch{i}'] for i in range(1, count)]
    weights = jax.nn.softmax(gate, -1)
    logits = sum(weights[:, i : i + 1] * p for i, p in enumerate(parts))
    return {**outputs, 'logits_branch0': parts[0], 'logits': logits}

  return _with_heads(
    network, [layer] * (count - 1), 'branch', classes, mixed, gates=count
  )


def _with_heads(network, layers, kind, classes, combine, gates=0):
  """`network` with heads on `layers`; outputs are combine(outputs, gate)."""
  first = 1 if gates else 0
  names = [f'{kind}{i + first}' for i in range(len(layers))]
  head = Head(classes)

  def init(key, inputs):
    variables = network.init(key, inputs)
    outputs, _ = jax.eval_shape(network.apply, variables, inputs)
    params = {}
    for i, (name, layer) in enumerate(zip(names, layers)):
      if layer not in outputs:
        raise types.unknown('layer', layer, outputs)
      zeros = jnp.zeros(outputs[layer].shape, jnp.float32)
      params[name] = head.init(jax.random.fold_in(key, i), zeros)['params']
    if gates:
      zeros = jnp.zeros(outputs[layers[0]].shape, jnp.float32)
      gate = Head(gates).init(jax.random.fold_in(key, len(names)), zeros)
      params['gate'] = gate['params']
    params = {'own': variables['params'], 'heads': params}
    return {**variables, 'params': params}

  def apply(variables, inputs, *, train=False, rng=None, axis_name=None):
    params = variables['params']
    outputs, state = network.apply(
      {**variables, 'params': params['own']},
      inputs,
      train=train,
      rng=rng,
      axis_name=axis_name,
    )
    outputs = dict(outputs)
    for name, layer in zip(names, layers):
      learned = {'params': params['heads'][name]}
      outputs[f'logits_{name}'] = head.apply(learned, outputs[layer])
    gate = None
    if gates:
      learned = {'params': params['heads']['gate']}
      gate = Head(gates).apply(learned, outputs[layers[0]])
    return combine(outputs, gate), state

  return base.Network(init, apply)
