"""Plans what a cache stores of each frozen teacher, and what identifies it."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import checkpoint, stages, types
from kd_jax.cache import distributions, encoding, forms
from kd_jax.models import base as models

# Augmentations after which a batch has no image of its own for each example.
COUPLED = {
  'mixup': 'mixes the examples of a batch',
  'cutmix': 'mixes the examples of a batch',
  'rotations': 'makes four images of one',
}


class Plan(NamedTuple):
  """What is stored of each frozen teacher.

  Attributes:
    folder: of the caches; '' is a folder in the run's own.
    outputs: names of outputs; a cache stores those that its teacher has.
    dtype, top_k: how they are stored (see `encoding`).
    distribution: what is stored in place of logits (see `forms`); {}: they are.
    views: augmented images of each example.
    identity: everything that identifies a cache, except the teacher.
  """

  folder: str
  outputs: tuple[str, ...]
  dtype: str
  top_k: int
  distribution: Mapping[str, Any]
  views: int
  identity: Mapping[str, Any]


def make_plan(settings: Mapping[str, Any], data) -> Plan | None:
  """The plan of a config (as JSON); None where teachers are live.

  Raises:
    ValueError: for a dtype that is none, a distribution that cannot be stored,
      a folder that cannot be one, or augmentation that cannot be replayed.
  """
  spec, train = settings['cache'], settings['train']
  if spec['dtype'] not in encoding.DTYPES:
    raise types.unknown('cache.dtype', spec['dtype'], encoding.DTYPES)
  distribution, outputs = forms.settle(spec, data)
  if settings['teacher_outputs'] == 'live':
    return None
  if spec['folder']:
    check_folder(spec['folder'])
  names = [
    entry if isinstance(entry, str) else entry['name']
    for entry in train['augment']
  ]
  for name in names:
    if name in COUPLED:
      raise ValueError(
        f"teacher_outputs='cache' with '{name}', which {COUPLED[name]}; use "
        "teacher_outputs='live'"
      )
  if names and not train['views']:
    raise ValueError(
      "teacher_outputs='cache' with train.augment needs train.views, the "
      'augmented images of each example (such as 4), not 0'
    )
  identity = {
    'data_set': data.fingerprint,
    'augmentation': train['augment'],
    # Without augmentation all views and all seeds show the same images.
    'views': train['views'] if names else 1,
    'data_seed': settings['data']['seed'] if names else 0,
    'preprocessing': {'mean': data.mean, 'std': data.std},
    'top_k': spec['top_k'],
    'dtype': spec['dtype'],
    # Left out where empty: it is part of no identity then.
    **({'distribution': distribution} if distribution else {}),
    **_of_tokens(data),
  }
  return Plan(
    spec['folder'],
    outputs,
    spec['dtype'],
    spec['top_k'],
    distribution,
    identity['views'],
    identity,
  )


def _of_tokens(data) -> Mapping[str, str]:
  """The tokenizer and the tokens of a data set of text; {} of another."""
  if not data.vocabulary:
    return {}
  return distributions.identity(data.tokenizer, data.train.inputs)


def check_folder(folder: str) -> None:
  """Refuses a folder that cannot be made or written.

  Raises:
    ValueError: naming the file that is in the way, or the folder above.
  """
  place = pathlib.Path(folder).absolute()
  while not (place.exists() or place.is_symlink()):
    place = place.parent
  if not place.is_dir():
    raise ValueError(f'cache.folder {folder} cannot be made: {place} is a file')
  if not os.access(place, os.W_OK):
    raise ValueError(
      f'cache.folder {folder} cannot be written: {place} is not yours to write'
    )


def layout_of(
  plan: Plan, outputs: Mapping[str, jax.ShapeDtypeStruct]
) -> encoding.Layout:
  """The layout of a teacher's records, from the shapes of its outputs.

  Raises:
    ValueError: the teacher has none of the planned outputs, or they cannot be
      stored with this dtype and top_k.
  """
  shapes = {
    name: outputs[name].shape[1:] for name in plan.outputs if name in outputs
  }
  if not shapes:
    raise types.unknown('cache.outputs', ', '.join(plan.outputs), outputs)
  return encoding.check(
    encoding.Layout(shapes, plan.dtype, plan.top_k, plan.distribution)
  )


def identity_of(
  plan: Plan,
  spec: Mapping[str, Any],
  layout: encoding.Layout,
  variables: types.Variables | None,
) -> dict[str, Any]:
  """The identity of a teacher's cache (see `store`).

  Args:
    plan: of all teachers.
    spec: how the network is built.
    layout: of its records.
    variables: of the teacher; None while they are not known, which leaves
      their hash out.
  """
  spec = {k: v for k, v in spec.items() if k != 'inputs'}
  names = encoding.names(layout)
  identity = {'network': spec, 'outputs': names, **plan.identity}
  if variables is None:
    return identity
  content = checkpoint.content_hash(jax.device_get(dict(variables)))
  return {'teacher': content, **identity}


def shapes_of(
  plan: Plan | None,
  networks: Mapping[str, models.Network],
  stage: stages.Stage,
  inputs: jax.ShapeDtypeStruct,
) -> dict[str, dict]:
  """{'signals': shapes} of a batch with cached teachers; {} without them.

  Raises:
    ValueError: for an output that no teacher of the stage has.
  """
  if plan is None or not stage.frozen:
    return {}
  shapes = {
    name: models.output_shapes(networks[name], inputs) for name in stage.frozen
  }
  legal = {output for outputs in shapes.values() for output in outputs}
  for output in plan.outputs:
    if output not in legal:
      raise types.unknown('output in cache.outputs', output, legal)
  size = stage.recipe.batch_size
  return {
    'signals': {
      name: _read_shapes(layout_of(plan, outputs), size)
      for name, outputs in shapes.items()
    }
  }


def _read_shapes(layout: encoding.Layout, size: int) -> dict:
  """The shapes of what is read for a batch of a teacher's records."""
  read = {}
  for name, shape in layout.shapes.items():
    batch = size, *shape
    if layout.distribution and name == encoding.LOGITS:
      read |= forms.shapes(layout.distribution, batch)
    else:
      read[name] = jax.ShapeDtypeStruct(batch, jnp.float32)
  return read
