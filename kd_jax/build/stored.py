"""Builds a finished network from its folder, and checks that both agree."""

import os
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from kd_jax import machine, network_files, types
from kd_jax.build import folders, networks
from kd_jax.methods import reused_head
from kd_jax.models import base, text


def load(
  folder: str | os.PathLike,
) -> tuple[base.Network, types.Variables, dict]:
  """Reads a finished network, and builds it as its network.json says.

  Returns:
    (network, variables, spec).

  Raises:
    ValueError: one line that names the folder, where it holds no network, or
      a network that its network.json does not describe.
  """
  machine.settle()
  folder = pathlib.Path(folder)
  variables, spec = folders.read(folder)
  if 'build' not in spec:
    raise ValueError(f'{folder} does not say how its network is built')
  try:
    network = networks.make_network(spec['build'])
  except (TypeError, ValueError) as error:
    raise ValueError(f'{_spec_of(folder)} builds nothing: {error}') from error
  shape = spec['build'].get('inputs')
  if shape is not None:
    check(folder, network, variables, shape)
  elif spec['build'].get('name') in text.NETWORKS:
    inputs = text.example_inputs(spec['build']['name'])
    _check(folder, network, variables, inputs, 'text')
  return network, variables, spec


def check(
  folder: pathlib.Path,
  network: base.Network,
  variables: types.Variables,
  shape: Sequence[int],
) -> None:
  """Refuses variables that do not fit the network.

  Args:
    folder: where the variables were read.
    network: built as the folder says.
    variables: read there.
    shape: of one example, [H, W, C].

  Raises:
    ValueError: one line that names the folder and the first difference.
  """
  images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  _check(folder, network, variables, images, shape)


def _check(folder, network, variables, inputs, words) -> None:
  """Likewise, for the shapes of a batch and what they are in words."""
  try:
    shapes = base.variable_shapes(network, inputs)
  except Exception as error:  # a network may raise anything for other images
    line = str(error).strip().split('\n')[0][:200]
    raise ValueError(
      f'{_spec_of(folder)} describes no network for inputs {words}: {line}'
    ) from error
  plain, _ = reused_head.split(variables)
  network_files.check_shapes(
    plain,
    shapes,
    folder,
    f'the network that its {network_files.SPEC} describes',
  )


def _spec_of(folder: pathlib.Path) -> str:
  return f'the {network_files.SPEC} in {folder}'
