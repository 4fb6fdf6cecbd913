"""Stored teachers as a plan: what is kept of them, how, and told by what."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import checkpoint, stages, types
from kd_jax.cache import encoding
from kd_jax.models import base as models

# Augmentations whose result depends on the other examples of a batch.
COUPLED = ('mixup', 'cutmix')


class Plan(NamedTuple):
  """What is to be stored of each frozen teacher.

  Attributes:
    folder: of the caches; '' is the run's own.
    outputs: which; a teacher's cache has those of them that it has.
    dtype, top_k: how (see `quantize`).
    views: augmented images of each example.
    identity: all that a cache is told by, the teacher apart.
  """

  folder: str
  outputs: tuple[str, ...]
  dtype: str
  top_k: int
  views: int
  identity: Mapping[str, Any]


def make_plan(settings: Mapping[str, Any], data) -> Plan | None:
  """What a config (as JSON) wants stored; None where teachers are live.

  Raises:
    ValueError: for augmentation that cannot be replayed.
  """
  if settings['teacher_outputs'] == 'live':
    return None
  spec, train = settings['cache'], settings['train']
  names = [e if isinstance(e, str) else e['name'] for e in train['augment']]
  for name in names:
    if name in COUPLED:
      raise ValueError(
        f"teacher_outputs='cache' with '{name}', which mixes the examples of a "
        "batch; use teacher_outputs='live'"
      )
  if names and not train['views']:
    raise ValueError(
      "teacher_outputs='cache' with train.augment needs train.views, the "
      'augmented images of each example (such as 4), not 0'
    )
  identity = {
    'data_set': data.fingerprint,
    'augmentation': train['augment'],
    # Without augmentation all views and all seeds are one.
    'views': train['views'] if names else 1,
    'data_seed': settings['data']['seed'] if names else 0,
    'preprocessing': {'mean': data.mean, 'std': data.std},
    'top_k': spec['top_k'],
    'dtype': spec['dtype'],
  }
  return Plan(
    spec['folder'],
    tuple(spec['outputs']),
    spec['dtype'],
    spec['top_k'],
    identity['views'],
    identity,
  )


def layout_of(
  plan: Plan, outputs: Mapping[str, jax.ShapeDtypeStruct]
) -> encoding.Layout:
  """What a record of a teacher holds, from the shapes of its outputs.

  Raises:
    ValueError: it has none of the planned ones, or they cannot be stored so.
  """
  shapes = {n: outputs[n].shape[1:] for n in plan.outputs if n in outputs}
  if not shapes:
    raise types.unknown('cache.outputs', ', '.join(plan.outputs), outputs)
  return encoding.check(encoding.Layout(shapes, plan.dtype, plan.top_k))


def identity_of(
  plan: Plan,
  spec: Mapping[str, Any],
  layout: encoding.Layout,
  variables: types.Variables | None,
) -> dict[str, Any]:
  """What a teacher's cache is told by.

  Args:
    plan: of all teachers.
    spec: how the network is built.
    layout: of its records.
    variables: of the teacher; None leaves them open.
  """
  spec = {k: v for k, v in spec.items() if k != 'inputs'}
  known = {'network': spec, 'outputs': list(layout.shapes), **plan.identity}
  if variables is None:
    return known
  hashed = checkpoint.content_hash(jax.device_get(dict(variables)))
  return {'teacher': hashed, **known}


def shapes_of(
  plan: Plan | None,
  networks: Mapping[str, models.Network],
  stage: stages.Stage,
  inputs: jax.ShapeDtypeStruct,
) -> dict[str, dict]:
  """{'signals': shapes} of a batch with stored teachers; {} without.

  Raises:
    ValueError: for an output that no teacher of the stage has.
  """
  if plan is None or not stage.frozen:
    return {}
  known = {n: models.output_shapes(networks[n], inputs) for n in stage.frozen}
  legal = {output for outputs in known.values() for output in outputs}
  for output in plan.outputs:
    if output not in legal:
      raise types.unknown('output in cache.outputs', output, legal)
  size = stage.recipe.batch_size
  return {
    'signals': {
      name: {
        output: jax.ShapeDtypeStruct((size, *shape), jnp.float32)
        for output, shape in layout_of(plan, outputs).shapes.items()
      }
      for name, outputs in known.items()
    }
  }
