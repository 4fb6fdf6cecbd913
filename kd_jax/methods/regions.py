"""Scale decoupled distillation: logits of the regions of an image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import jax
import jax.numpy as jnp

from kd_jax import kinds
from kd_jax.losses import numerics
from kd_jax.losses import regions as losses
from kd_jax.methods import base, layer_names, pairs, teacher_head

SCALES = (1, 2, 4)


def on_regions(function: Callable) -> Callable:
  """Makes the maker of a method that compares logits of regions.

  A network's logits of a region are its own classifier's on the mean feature of
  the region, of a map of which the classifier reads the mean.

  Args:
    function: (student [B, N, K], teacher [B, N, K], labels, *, floats and
      static options) -> [B], from `kd_jax.losses.regions`.

  Returns:
    A maker (layers=[(student, teacher)], scales=(1, 2, 4), **options) -> Method
    for one pair of last maps ('final' of the networks of `models`).
  """
  hparams, name = base.hparams_of(function), function.__name__

  def make(*, layers=(), scales=SCALES, **options) -> base.Method:
    layers = layer_names.need(name, layers)
    numbers, options = base.divide(options, hparams)

    def compare(sides, labels, hparams):
      ours, theirs = (_logits(x, head, scales) for x, head in sides)
      return function(ours, theirs, labels, **options, **hparams)

    def init(key, student, teacher):
      del key
      pairs.check_logits(name, student, teacher)
      sides = _sides(name, layers, student, teacher)
      batch = jax.ShapeDtypeStruct(student['logits'].shape[:1], 'int32')
      base.check(name, compare, sides, batch, numbers)
      return base.NOTHING

    def loss(variables, student, teacher, batch, hparams):
      sides = _sides(name, layers, student, teacher)
      return compare(sides, batch['labels'], hparams), variables['state']

    return base.Method(init, loss, numbers)

  return base.documented(
    make,
    function,
    {
      'layers': layer_names.Layers,
      'scales': Annotated[Sequence[kinds.Count], kinds.NOT_EMPTY],
      'complementary': kinds.NonNegative,
    },
  )


def _sides(name, layers, student: Mapping, teacher: Mapping) -> list[tuple]:
  """[(map, classifier)] of either side.

  Raises:
    ValueError: several pairs, features that are no maps, or a classifier that
      is unknown or reads another width.
  """
  chosen = layer_names.single(name, layers, student, teacher)
  sides = []
  for outputs, layer, who in zip(
    (student, teacher), chosen, ('student', 'teacher')
  ):
    head, x = teacher_head.classifier(name, outputs, who), outputs[layer]
    width = head['kernel'].shape[0]
    if len(x.shape) != 4 or x.shape[-1] != width:
      raise ValueError(
        f"method '{name}' reads the map [B, H, W, {width}] of which the "
        f"{who}'s classifier reads the mean; '{layer}' is {x.shape}"
      )
    sides.append((x, dict(head)))
  return sides


def _logits(x, head, scales) -> jax.Array:
  """The classifier on the regions of a map: f32 [B, N, K]."""
  means = losses.pyramid(x, scales)
  kernel, bias = (numerics.f32(head[part]) for part in ('kernel', 'bias'))
  logits = jnp.matmul(means, kernel, precision='highest')
  return logits + bias[None, None]
