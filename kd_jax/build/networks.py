"""Builds networks, and the arguments of a scheme, from a config."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import (
  checkpoint,
  kinds,
  methods,
  models,
  network_files,
  schemes,
  tasks,
  terms,
  types,
  views,
)
from kd_jax.build import compute, fingerprint, folders
from kd_jax.build import terms as build_terms
from kd_jax.methods import reused_head
from kd_jax.models import base as networks_base
from kd_jax.models import dense
from kd_jax.models.text import starts

# What a finished network's spec holds beside the options of its maker.
_STORED = {'inputs', 'reuses', 'given'}


class Given(NamedTuple):
  """A network from Python, which a config calls dict(given=True).

  Attributes:
    network: any.
    variables: of a finished network; None where it is to be trained.
  """

  network: networks_base.Network
  variables: types.Variables | None = None


def make_networks(
  c, data, given: Mapping[str, Given]
) -> tuple[dict, dict, dict]:
  """{name: Network}, {name: spec}, {name: variables} of those loaded.

  Args:
    c: the resolved config.
    data: the data set.
    given: see `Given`.

  Raises:
    ValueError: naming the network, for a spec, folder, classes or shapes that
      do not fit.
  """
  networks, specs, loaded, begun = {}, {}, {}, {}
  if not c.networks:
    raise ValueError('no networks in the config: networks.student = dict(..)')
  for name, spec in c.networks.items():
    spec = spec.to_dict()
    if 'init_from' in spec:
      begun[name] = spec.pop('init_from')
      if 'load' in spec:
        raise ValueError(
          f"networks.{name} has 'load' and 'init_from'; legal: one of them"
        )
    how = compute.take(name, spec, c.precision)
    if spec == {'given': True}:
      networks[name], specs[name] = _given(name, given, data)
      variables, source = given[name].variables, f"'{name}' given"
    else:
      source = spec.get('load', '')
      networks[name], specs[name], variables = _named(name, spec, data, how)
    specs[name] = {**specs[name], **how}
    networks[name] = compute.computed(name, networks[name], specs[name])
    if variables is not None:
      shapes = networks_base.variable_shapes(
        networks[name], example_inputs(data)
      )
      plain, _ = reused_head.split(variables)
      network_files.check_shapes(plain, shapes, source)
      loaded[name] = variables
  for name, start in begun.items():
    networks[name], specs[name]['init_from'] = _started(
      name, networks[name], start, loaded, data
    )
  return networks, specs, loaded


def _started(name, network, start: dict, loaded, data) -> tuple:
  """A network that starts from layers of a loaded one, and what its spec says.

  Args:
    name, network: of it.
    start: 'network', the name of a loaded one, and 'layers' of that.
    loaded: {name: variables}.
    data: the data set.
  """
  path = f'networks.{name}.init_from'
  kinds.options(path, _start, start)
  source, layers = start['network'], list(start.get('layers', ()))
  if source not in loaded:
    raise ValueError(
      f"{path}.network is '{source}'; legal: a network with 'load' "
      f'({", ".join(loaded) or "none here"})'
    )
  try:
    network = starts.with_layers(network, loaded[source], layers)
    networks_base.variable_shapes(network, example_inputs(data))
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None
  digest = checkpoint.content_hash(loaded[source])
  return network, {'network': source, 'layers': layers, 'hash': digest}


def _start(*, network: str, layers: Sequence[int] = ()):
  """The keys of `init_from`."""


def _named(name: str, spec: dict, data, how: Mapping) -> tuple:
  """Network, spec and variables (or None) of a name or a folder.

  `backbone`, the folder of a finished network for images, is where that part of
  a new network starts; its content hash stays in the spec.
  """
  for key in _STORED & spec.keys():
    raise types.lacks(f"network '{name}'", 'option', key, ())
  folder, variables = spec.pop('load', None), None
  backbone = spec.pop('backbone', None)
  if folder and backbone:
    raise ValueError(
      f"networks.{name} has 'load' and 'backbone'; legal: one of them, a "
      'finished network or where a new one starts'
    )
  if folder:
    dtype = spec.pop('dtype', '') if folders.is_foreign(folder) else ''
    variables, stored = folders.read(folder, dtype)
    spec = _same_network(name, folder, spec, stored, how)
  spec = {'classes': data.classes, **_tokens(spec, data), **spec}
  if spec['classes'] != data.classes:
    raise ValueError(
      f"network '{name}' has {spec['classes']} classes and the data set "
      f"'{data.name}' {data.classes}"
    )
  try:
    network = make_network(spec)
    if backbone:
      trained = network_files.load_network(backbone)[0]
      network = dense.with_backbone(network, trained)
      networks_base.variable_shapes(network, example_inputs(data))
      spec['backbone'] = checkpoint.content_hash(trained)
  except ValueError as error:
    raise ValueError(f'networks.{name}: {error}') from None
  return network, {**spec, **_input_shape(data)}, variables


def _tokens(spec: Mapping, data) -> dict[str, int]:
  """{'vocabulary'} of a network for text that does not predict tokens.

  Raises:
    ValueError: the network has fewer tokens than the data set.
  """
  if not data.vocabulary or 'name' not in spec:
    return {}
  maker = kinds.entry('network', models.MODELS, spec['name'])
  if 'vocabulary' not in kinds.of_options(maker):
    return {}
  given = spec.get('vocabulary', 0)
  if 0 < given < data.vocabulary:
    raise ValueError(
      f"network '{spec['name']}' has a vocabulary of {given} tokens and the "
      f"data set '{data.name}' {data.vocabulary}"
    )
  return {} if given else {'vocabulary': data.vocabulary}


def _given(name: str, given: Mapping[str, Given], data) -> tuple:
  """Network and spec of a network from Python: the hash of what it computes."""
  if name not in given:
    raise ValueError(
      f"network '{name}' is given=True: it exists in Python alone, and is "
      'passed to distill() or make_experiment(given=...)'
    )
  network, inputs = given[name].network, example_inputs(data)
  shape = networks_base.output_shapes(network, inputs)['logits'].shape
  if shape[-1] != data.classes:
    raise ValueError(
      f"network '{name}' has {shape[-1]} outputs and the data set "
      f"'{data.name}' {data.classes} classes"
    )
  spec = {
    'given': fingerprint.of_network(network, inputs),
    'classes': data.classes,
    **_input_shape(data),
  }
  return network, spec


def make_cast(c, data, loaded, outputs) -> schemes.Cast:
  """The arguments of a scheme."""
  recipe, teacher = (
    build_terms.make_recipe(c[name].to_dict(), name, seed, data, c.data.seed)
    for name, seed in (('train', c.seed), ('teacher', c.teacher.seed))
  )

  def summands(recipe, names):
    return {
      name: build_terms.make_term(name, c.terms[name].to_dict(), recipe, data)
      for name in names
    }

  def part(steps, names):
    spec = {**c.train.to_dict(), 'steps': steps}
    recipe = build_terms.make_recipe(spec, 'train', c.seed, data, c.data.seed)
    return recipe, summands(recipe, names)

  return schemes.Cast(
    tuple(outputs),
    tuple(loaded),
    summands(recipe, c.terms),
    recipe,
    teacher,
    {name: make_view(name, spec.to_dict()) for name, spec in c.views.items()},
    c.baseline,
    data.classes,
    outputs,
    data.train.labels.shape[0] // c.train.batch_size,
    tasks.make_task(data.task).hard,
    tuple(_input_shape(data).get('inputs', ())),
    tasks.make_task(data.task).single,
    part,
  )


def make_view(name: str, spec: Mapping) -> terms.View:
  """The view that `views.NAME` describes.

  Raises:
    ValueError: naming it, as `views.make_view`.
  """
  try:
    return views.make_view(**spec)
  except ValueError as error:
    raise ValueError(f'views.{name}: {error}') from None


def make_network(spec: Mapping) -> networks_base.Network:
  """The network that a spec describes ('build' of a finished network).

  How a run computed it is left out: see `build.compute`.
  """
  if 'given' in spec:
    raise ValueError(
      'this network was given in Python and cannot be built from its folder; '
      'pass the network itself, with the variables of kd_jax.load_network'
    )
  unbuilt = {'inputs', 'backbone', 'init_from', *compute.KEYS}
  spec = {k: v for k, v in spec.items() if k not in unbuilt}
  reuses = spec.pop('reuses', None)
  network = models.make_network(**spec)
  if reuses is None:
    return network
  return reused_head.wrap(network, methods.make_method(**reuses))


def _same_network(name, folder, spec, stored, how) -> dict:
  """The stored network's spec; the config may not contradict it.

  It may say otherwise how the network computes.
  """
  if 'build' not in stored:
    raise ValueError(
      f'networks.{name}.load: the network.json in {folder} does not say how '
      "the network is built (it lacks 'build')"
    )
  keys = {k: v for k, v in stored['build'].items() if k not in compute.KEYS}
  if how:
    keys.pop('dtype', None)
  for key, value in spec.items():
    if key != 'dtype' and keys.get(key, value) != value:
      raise ValueError(
        f'networks.{name}.{key} is {value!r} but the network in {folder} has '
        f'{keys[key]!r}'
      )
  return {k: v for k, v in {**keys, **spec}.items() if k != 'inputs'}


def output_names(networks, data) -> dict[str, tuple[str, ...]]:
  """{network: the names of its outputs}.

  Raises:
    ValueError: one line, for logits of other axes than the task's.
  """
  inputs, axes = example_inputs(data), tasks.make_task(data.task).axes
  names = {}
  for name, network in networks.items():
    outputs = networks_base.output_shapes(network, inputs)
    shape = getattr(outputs.get('logits'), 'shape', None)
    if shape is not None and len(shape) != len(axes):
      each = tasks.make_task(data.task).prediction
      each = 'sequence' if data.vocabulary and each == 'image' else each
      raise ValueError(
        f"network '{name}' gives logits {list(shape)} of one example, and the "
        f"task '{data.task}' of the data set '{data.name}' has one prediction "
        f'for each {each}; legal: '
        f'[{", ".join(axes)}]'
      )
    names[name] = tuple(outputs)
  return names


def example_inputs(data) -> types.PyTree:
  """The shape of a prepared batch of one example: an array's, or of a dict."""
  inputs = data.train.inputs
  if isinstance(inputs, Mapping):
    return {
      name: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
      for name, x in inputs.items()
    }
  return jax.ShapeDtypeStruct((1, *inputs.shape[1:]), jnp.float32)


def _input_shape(data) -> dict[str, list[int]]:
  """'inputs' of a spec, [H, W, C]; text may have any length."""
  inputs = data.train.inputs
  if isinstance(inputs, Mapping):
    return {}
  return {'inputs': list(inputs.shape[1:])}


def number_keys(c, data) -> set[str]:
  """The keys of a config that are numbers of the state, or seeds of it.

  Configs that differ in these alone are lanes that train together.
  """
  keys = {'temperature', 'alpha', 'beta', 'seed', 'seeds', 'teacher.seed'}
  for part in ('train', 'teacher'):
    keys |= {f'{part}.optimizer.{k}' for k in ('learning_rate', 'weight_decay')}
  for name, spec in c.terms.items():
    method = build_terms.make_method(name, spec.to_dict(), data)
    keys |= {f'terms.{name}.{k}' for k in ('weight', *method.hparams)}
  return keys
