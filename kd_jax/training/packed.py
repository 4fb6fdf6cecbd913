"""The metrics of a step in one array."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=['values'],
  meta_fields=['names'],
)
@dataclasses.dataclass(frozen=True)
class Row:
  """The metrics of a step in one array: a single copy brings them to the host.

  Attributes:
    names: M, sorted.
    values: f32 [M]; [K, M] of K lanes.
  """

  names: tuple[str, ...]
  values: Any

  def items(self) -> Iterator[tuple[str, Any]]:
    """(name, value) of each metric, as a dict gives them."""
    return ((n, self.values[..., i]) for i, n in enumerate(self.names))


def in_row(step: Callable) -> Callable:
  """The same step or update, with its metrics as a `Row`."""

  def stepped(*args, **options):
    state, metrics = step(*args, **options)
    # Behind the barrier XLA fuses the step as it does where metrics are apart.
    metrics = jax.lax.optimization_barrier(metrics)
    names = tuple(sorted(metrics))
    return state, Row(names, jnp.stack([metrics[name] for name in names]))

  return stepped
