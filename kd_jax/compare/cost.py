"""Measures the cost of a network: parameters, bytes, FLOP, time, memory."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import device, types
from kd_jax.models import base

BATCHES = (1, 128)


def cost(
  network: base.Network,
  variables: types.Variables,
  shape: Sequence[int] | Mapping[str, Sequence[int]],
  batches: Sequence[int] = BATCHES,
  seconds: float = 0.3,
) -> dict[str, Any]:
  """Measures a forward pass of a network on this machine.

  Args:
    network: only its logits are computed.
    variables: of the network.
    shape: of one example, [H, W, C], or {name: [L]} of text.
    batches: the batch sizes that are timed.
    seconds: spent on timing each.

  Returns:
    'parameters'; 'bytes' of all variables; 'flops' of one example (None if
    XLA does not count); 'latency': {batch size as text: see `timed`};
    'memory': bytes that the compiled program takes at the largest batch (None
    if the backend does not count).
  """
  forward = jax.jit(base.make_forward(network))
  variables = jax.device_put(jax.device_get(variables), jax.local_devices()[0])
  latency, memory = {}, None
  for size in sorted(batches):
    inputs = example(shape, size)
    compiled = forward.lower(variables, inputs).compile()
    memory = peak(compiled)

    def once(compiled=compiled, inputs=inputs):
      jax.block_until_ready(compiled(variables, inputs))

    latency[str(size)] = timed(once, seconds)
  return {
    'parameters': base.num_params(variables),
    'bytes': size_of(variables),
    'flops': device.flops(forward, variables, example(shape, 1)),
    'latency': latency,
    'memory': memory,
  }


def example(shape, size: int) -> types.PyTree:
  """A batch of black images, or of sequences without padding.

  Args:
    shape: as in `cost`.
    size: B.
  """
  if isinstance(shape, Mapping):
    return {name: jnp.ones((size, *x), jnp.int32) for name, x in shape.items()}
  return jnp.zeros((size, *shape), jnp.float32)


def size_of(variables: types.Variables) -> int:
  """Bytes of all arrays of a network: parameters and statistics."""
  return sum(int(x.nbytes) for x in jax.tree.leaves(variables))


def peak(compiled) -> int | None:
  """Bytes that a compiled program holds: arguments, results, temporaries.

  None where the device does not count its memory (a CPU): there XLA's plan
  leaves out what its libraries allocate.
  """
  plan = compiled.memory_analysis()
  if plan is None or not jax.local_devices()[0].memory_stats():
    return None
  return int(
    plan.argument_size_in_bytes
    + plan.output_size_in_bytes
    + plan.temp_size_in_bytes
    - plan.alias_size_in_bytes
  )


def timed(
  function: Callable[[], Any],
  seconds: float = 0.3,
  least: int = 5,
  most: int = 300,
) -> dict[str, float]:
  """Times a call, after three calls that do not count.

  Args:
    function: blocks until its work is done.
    seconds: how long to repeat, within `least` and `most` calls.
    least, most: of calls.

  Returns:
    'median', 'low' and 'high' (the quartiles) in milliseconds; 'repeats'.
  """
  times = clocked(function, seconds, least, most)
  low, median, high = (1e3 * np.quantile(times, (0.25, 0.5, 0.75))).tolist()
  return {'median': median, 'low': low, 'high': high, 'repeats': len(times)}


def clocked(function, seconds: float, least: int, most: int) -> list[float]:
  """Seconds of each call; arguments as in `timed`."""
  for _ in range(3):
    function()
  times, begun = [], time.perf_counter()
  while len(times) < least or (
    len(times) < most and time.perf_counter() - begun < seconds
  ):
    start = time.perf_counter()
    function()
    times.append(time.perf_counter() - start)
  return times


def frames(
  run: Callable[[np.ndarray], Any], shape: Sequence[int], seconds: float = 1.0
) -> dict[str, float]:
  """How many images a second a function takes, one after the other.

  Args:
    run: images f32 [1, H, W, C] -> logits; blocks until they are there.
    shape: [H, W, C].
    seconds: spent on timing.

  Returns:
    'median' and 'slow' images a second: of the median time of an image, and
    of its 95th percentile; 'repeats'.
  """
  image = np.zeros((1, *shape), np.float32)
  times = clocked(lambda: run(image), seconds, 20, 1000)
  median, slow = np.quantile(times, (0.5, 0.95)).tolist()
  return {'median': 1 / median, 'slow': 1 / slow, 'repeats': len(times)}


def together(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """The cost of networks whose mean is taken; times are not measured."""

  def total(key):
    values = [c[key] for c in costs]
    return None if None in values else sum(values)

  keys = ('parameters', 'bytes', 'flops')
  return {**{k: total(k) for k in keys}, 'latency': {}, 'memory': None}
