"""Rotary positions, and how they are scaled for longer contexts."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import types


def rotate(x: jax.Array, positions: jax.Array, frequencies, factor=1.0):
  """Turns each half-pair of x by an angle that grows with its position.

  Args:
    x: queries or keys [B, L, H, d]; entry i pairs with i + d / 2.
    positions: i32 [B, L].
    frequencies: radians a place, [d / 2].
    factor: of the result; YaRN's.

  Returns:
    [B, L, H, d], of x's dtype; computed in f32.

  Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, equation 34, with
    Llama's order of the pairs.
  """
  places = positions.astype(jnp.float32)[:, :, None, None]
  angles = places * frequencies.reshape(1, 1, 1, -1)
  sin, cos = jnp.sin(angles) * factor, jnp.cos(angles) * factor
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  turned = [first * cos - second * sin, second * cos + first * sin]
  return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def frequencies(
  width: int, theta: float, scaling: Mapping[str, Any] | None = None
) -> tuple[np.ndarray, float]:
  """Radians a place, f32 [width / 2], and the factor of `rotate`.

  Args:
    width: d of a head, even.
    theta: the base.
    scaling: None, or 'kind', a key of SCALINGS, with its options.

  Raises:
    ValueError: an unknown kind or option, or one that is missing.
  """
  plain = theta ** -(np.arange(0, width, 2) / width)
  if not scaling:
    return plain.astype(np.float32), 1.0
  options = dict(scaling)
  kind = options.pop('kind', None)
  if kind not in SCALINGS:
    raise types.unknown('kind of rope_scaling', kind, SCALINGS)
  scale, known = SCALINGS[kind]
  for name in options.keys() - known.keys():
    raise types.lacks(f"rope_scaling '{kind}'", 'option', name, known)
  options = {**known, **options}
  for name, value in options.items():
    if value is None:
      raise ValueError(f"rope_scaling '{kind}' needs the option '{name}'")
  scaled, factor = scale(plain, width, theta, **options)
  return scaled.astype(np.float32), factor


def _linear(plain, width, theta, *, factor):
  """Positions over a factor (position interpolation)."""
  del width, theta
  return plain / factor, 1.0


def _llama3(plain, width, theta, *, factor, low, high, context):
  """Slow turns over a factor, fast ones as they are, a mixture in between."""
  del width, theta
  turns = context * plain / (2 * math.pi)  # within the old context
  share = np.clip((turns - low) / (high - low), 0, 1)
  return plain * (share + (1 - share) / factor), 1.0


def _yarn(plain, width, theta, *, factor, fast, slow, context, attention):
  """Peng et al. 2023, https://arxiv.org/abs/2309.00071, section 3.4."""

  def place(turns):  # of the frequency that turns so often in the old context
    return (
      width * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))
    )

  low = max(math.floor(place(fast)), 0)
  high = min(math.ceil(place(slow)), width - 1)
  ramp = (np.arange(width // 2) - low) / max(high - low, 1e-3)
  share = 1 - np.clip(ramp, 0, 1)
  usual = 1.0 if factor <= 1 else 0.1 * math.log(factor) + 1
  scaled = plain * (share + (1 - share) / factor)
  return scaled, float(attention or usual)


# kind -> (function, {option: default; None: needed}). 'context' is that of the
# training before the scaling; YaRN's 'attention' 0 is the paper's.
SCALINGS: dict[str, tuple[Callable, dict[str, Any]]] = {
  'linear': (_linear, {'factor': None}),
  'llama3': (
    _llama3,
    {'factor': None, 'low': 1.0, 'high': 4.0, 'context': None},
  ),
  'yarn': (
    _yarn,
    {
      'factor': None,
      'fast': 32.0,
      'slow': 1.0,
      'context': None,
      'attention': 0.0,
    },
  ),
}
