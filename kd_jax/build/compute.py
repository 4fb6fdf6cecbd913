"""Reads how a run computes its networks, which is apart from what they are."""

from collections.abc import Mapping

from kd_jax import kinds, types
from kd_jax.models import base, compute

KEYS = ('precision',)  # of a network in a config


def take(name: str, spec: dict, precision: str) -> dict:
  """Takes `KEYS` out of a network's part of a config.

  Args:
    name: of the network.
    spec: its part; loses the keys.
    precision: of the run, which a network has that says nothing else.

  Returns:
    {key: value}, without those that are as usual.

  Raises:
    ValueError: naming the key, for a value that is none, and for a dtype that
      contradicts it.
  """
  own, dtype = spec.pop('precision', None), spec.get('dtype')
  key = f'networks.{name}.precision'
  if own is not None and own not in kinds.PRECISIONS:
    raise types.unknown(key, own, kinds.PRECISIONS)
  if own is not None and dtype not in (None, own):
    raise ValueError(f'{key} is {own!r} and its dtype {dtype!r}; leave one out')
  if own is not None:
    return {'precision': own}
  # A dtype of its own goes before the precision of the run.
  usual = precision == 'float32' or dtype not in (None, precision)
  return {} if usual else {'precision': precision}


def computed(name: str, network: base.Network, spec: Mapping) -> base.Network:
  """A network, computed as its spec says.

  Raises:
    ValueError: naming the network, where that cannot be.
  """
  if 'precision' not in spec:
    return network
  if spec['precision'] == compute.LOW and spec.get('quantize'):
    raise ValueError(
      f'networks.{name}.precision is {compute.LOW!r} and its quantize '
      f'{spec["quantize"]!r}, which rounds in f32; set '
      f"networks.{name}.precision='float32'"
    )
  return compute.with_precision(network, spec['precision'])


def lowered(
  frozen: Mapping[str, types.Variables], specs: Mapping[str, Mapping]
) -> dict[str, types.Variables]:
  """Frozen {network: variables}, in bf16 where the network computes in it."""
  return {
    name: compute.lower(variables)
    if specs[name].get('precision') == compute.LOW
    else variables
    for name, variables in frozen.items()
  }
