"""The interface between an export and its file formats."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from kd_jax import types
from kd_jax.models import base


class Job(NamedTuple):
  """One network to be written.

  Attributes:
    network: whose logits are written, and nothing else.
    variables: of it.
    shape: of one image, [H, W, C].
    build: how the network is built.
    quantize: '', 'int8' or 'bf16'.
    names: 'jax' or 'torch', for formats that name the weights.
    images: () -> prepared training images f32 [N, H, W, C], to calibrate on.
    ranges: (low, high) of the input of each layer, in the order they run, if
      the network was trained with them; else ().
  """

  network: base.Network
  variables: types.Variables
  shape: tuple[int, ...]
  build: Mapping[str, Any]
  quantize: str
  names: str
  images: Callable[[], np.ndarray]
  ranges: tuple[tuple[float, float], ...] = ()


class Format(NamedTuple):
  """A file format and the runtime that reads it.

  Attributes:
    file: the name of the file.
    write: (job, path) writes it.
    make_run: (job, path) -> run(images) -> logits, computed from the file.
    quantize: the types other than f32 that it can hold.
    runtime: the package that runs the file.
    needs: packages that must be installed.
  """

  file: str
  write: Callable
  make_run: Callable
  quantize: tuple[str, ...]
  runtime: str
  needs: tuple[str, ...] = ()


@contextlib.contextmanager
def any_batch(shape):
  """The shape of a batch of any size, to trace a network with.

  Args:
    shape: of one image, [H, W, C].

  Raises:
    ValueError: one line, where the traced code branches on the batch size.
  """
  sides = ', '.join(['batch', *map(str, shape)])
  symbolic = jax_export.symbolic_shape(sides)
  try:
    yield jax.ShapeDtypeStruct(symbolic, jnp.float32)
  except (
    jax.errors.InconclusiveDimensionOperation,
    jax.errors.JAXTypeError,
  ) as error:
    line = ' '.join(str(error).split())[:200]
    raise ValueError(
      f'the network does not trace for a batch of any size: {line}'
    ) from error
