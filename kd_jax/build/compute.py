"""Reads how a run computes its networks, which is apart from what they are."""

from collections.abc import Iterable, Mapping

from kd_jax import kinds, stages, types
from kd_jax.models import base, compute

# Of a network in a config: {key: kind}.
KEYS = {'precision': str, 'remat': bool, 'microbatches': kinds.Count}
_USUAL = {'remat': False, 'microbatches': 1}


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
  path, how = f'networks.{name}', {}
  for key in KEYS.keys() & spec.keys():
    kinds.check(f'{path}.{key}', spec[key], KEYS[key])
    how[key] = spec.pop(key)
  asked, dtype = how.get('precision'), spec.get('dtype')
  if asked is None:
    # A dtype of its own goes before the precision of the run.
    usual = precision == 'float32' or dtype not in (None, precision)
    how |= {} if usual else {'precision': precision}
  elif asked not in kinds.PRECISIONS:
    raise types.unknown(f'{path}.precision', asked, kinds.PRECISIONS)
  elif dtype not in (None, asked):
    raise ValueError(
      f'{path}.precision is {asked!r} and its dtype {dtype!r}; leave one out'
    )
  return {k: v for k, v in how.items() if v != _USUAL.get(k)}


def computed(name: str, network: base.Network, spec: Mapping) -> base.Network:
  """A network, computed as its spec says.

  Raises:
    ValueError: naming the network, where that cannot be.
  """
  precision = spec.get('precision')
  if precision == compute.LOW and spec.get('quantize'):
    raise ValueError(
      f'networks.{name}.precision is {compute.LOW!r} and its quantize '
      f'{spec["quantize"]!r}, which rounds in f32; set '
      f"networks.{name}.precision='float32'"
    )
  if precision:
    network = compute.with_precision(network, precision)
  if 'microbatches' in spec:
    network = compute.in_microbatches(network, spec['microbatches'])
  return compute.with_remat(network) if spec.get('remat') else network


def check(
  specs: Mapping[str, Mapping], trained: Iterable[stages.Stage], devices: int
) -> None:
  """Refuses parts that a batch does not have, and keys that do nothing.

  Args:
    specs: {network: how it is built and computed}.
    trained: the stages.
    devices: that share a batch.

  Raises:
    ValueError: naming the key.
  """
  learning, reading = set(), {}
  as_is = {k: v for stage in trained for k, v in stage.built_as.items()}
  for stage in trained:
    learning |= {as_is.get(name, name) for name in stage.students}
    for name in (*stage.frozen, *stage.copies.values()):
      reading.setdefault(as_is.get(name, name), []).append(stage)
  for name, spec in specs.items():
    key = f'networks.{name}.microbatches'
    parts = spec.get('microbatches', 1)
    if parts > 1 and name not in reading:
      raise ValueError(
        f'{key} is for a frozen network, and {name!r} only learns; for its '
        'training see train.optimizer.accumulate'
      )
    for stage in reading.get(name, ()):
      size = stage.recipe.batch_size // devices
      if size % parts:
        raise ValueError(
          f"{key} {parts} does not divide the batch of stage '{stage.name}', "
          f'{size} on a device'
        )
    if spec.get('remat') and name not in learning:
      raise ValueError(f'networks.{name}.remat: {name!r} does not learn here')


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
