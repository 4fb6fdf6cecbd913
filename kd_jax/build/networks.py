"""Who plays: the networks and the terms that a config names."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from kd_jax import checkpoint, methods, models, schemes, views
from kd_jax.build import terms as build_terms
from kd_jax.methods import reused_head
from kd_jax.models import base as networks_base


def make_networks(c, data) -> tuple[dict, dict, dict]:
  """{name: Network}, {name: spec}, {name: variables} of those loaded."""
  networks, specs, loaded = {}, {}, {}
  if not c.networks:
    raise ValueError('no networks in the config: networks.student = dict(..)')
  for name, spec in c.networks.items():
    spec = spec.to_dict()
    folder = spec.pop('load', None)
    found = None
    if folder:
      found, stored = checkpoint.load_network(folder)
      spec = _same_network(name, folder, spec, stored)
    spec = {'classes': data.classes, **spec}
    if spec['classes'] != data.classes:
      raise ValueError(
        f"network '{name}' has {spec['classes']} classes and the data set "
        f"'{data.name}' {data.classes}"
      )
    networks[name] = make_network(spec)
    specs[name] = {**spec, 'inputs': list(data.train.inputs.shape[1:])}
    if found is not None:
      wanted = networks_base.variable_shapes(
        networks[name], example_inputs(data)
      )
      checkpoint.check_shapes(reused_head.split(found)[0], wanted, folder)
      loaded[name] = found
  return networks, specs, loaded


def make_cast(c, data, loaded, outputs) -> schemes.Cast:
  """What the scheme has to work with."""
  recipe, teacher = (
    build_terms.make_recipe(c[name].to_dict(), name, seed, data, c.data.seed)
    for name, seed in (('train', c.seed), ('teacher', c.teacher.seed))
  )
  made = {
    name: build_terms.make_term(name, spec.to_dict(), recipe, data)
    for name, spec in c.terms.items()
  }
  seen = {
    name: views.make_view(**spec.to_dict()) for name, spec in c.views.items()
  }
  return schemes.Cast(
    tuple(outputs),
    tuple(loaded),
    made,
    recipe,
    teacher,
    seen,
    c.baseline,
    data.classes,
    outputs,
    data.train.labels.shape[0] // c.train.batch_size,
  )


def make_network(spec: Mapping) -> networks_base.Network:
  """The network that a spec describes ('build' of a finished network)."""
  spec = {k: v for k, v in spec.items() if k != 'inputs'}
  reuses = spec.pop('reuses', None)
  network = models.make_network(**spec)
  if reuses is None:
    return network
  return reused_head.wrap(network, methods.make_method(**reuses))


def _same_network(name, folder, spec, stored) -> dict:
  """The stored network's spec; the config may not contradict it."""
  keys = stored['build']
  for key, value in spec.items():
    if keys.get(key, value) != value:
      raise ValueError(
        f'networks.{name}.{key} is {value!r} but the network in {folder} has '
        f'{keys[key]!r}'
      )
  return {k: v for k, v in {**keys, **spec}.items() if k != 'inputs'}


def output_names(networks, data) -> dict[str, tuple[str, ...]]:
  """{network: the names of its outputs}."""
  inputs = example_inputs(data)
  return {
    name: tuple(networks_base.output_shapes(network, inputs))
    for name, network in networks.items()
  }


def example_inputs(data) -> jax.ShapeDtypeStruct:
  """The shape of one prepared example."""
  return jax.ShapeDtypeStruct((1, *data.train.inputs.shape[1:]), jnp.float32)


def number_keys(c, data) -> set[str]:
  """The keys of a config that are numbers of the state, or seeds of it.

  Configs that differ in these alone are lanes of one grid.
  """
  keys = {'temperature', 'alpha', 'beta', 'seed', 'seeds', 'teacher.seed'}
  for part in ('train', 'teacher'):
    keys |= {f'{part}.optimizer.{k}' for k in ('learning_rate', 'weight_decay')}
  for name, spec in c.terms.items():
    method = build_terms.make_method(name, spec.to_dict(), data)
    keys |= {f'terms.{name}.{k}' for k in ('weight', *method.hparams)}
  return keys
