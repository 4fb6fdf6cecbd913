"""The interface between an export and its file formats."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from kd_jax import types
from kd_jax.losses import spatial
from kd_jax.models import base

# Names of arrays and of sides of any length, in every format.
IMAGES, LOGITS, CLASSES = 'images', 'logits', 'classes'
BATCH, LENGTH = 'batch', 'length'
_USUAL = 32  # tokens


class Text(NamedTuple):
  """The inputs of a network for text, i32 [B, L] each.

  Attributes:
    names: of the inputs.
    length: L; 0 is any.
    most: the largest L that the network knows; 0: there is none.
  """

  names: tuple[str, ...]
  length: int = 0
  most: int = 0


def usual_length(shape: 'Text') -> int:
  """The length of sequences on which a file is compared and timed."""
  return shape.length or min(_USUAL, shape.most or _USUAL)


# Of one input: [H, W, C] (or [D]) of an image, or what text has.
Shape = tuple[int, ...] | Text


class Job(NamedTuple):
  """One network to be written.

  Attributes:
    network: whose logits are written, and nothing else.
    variables: of it.
    shape: of one input.
    build: how the network is built.
    quantize: '', 'int8' or 'bf16'.
    names: 'jax' or 'torch', for formats that name the weights.
    images: () -> prepared training images f32 [N, H, W, C], to calibrate on;
      not read of text.
    ranges: (low, high) of the input of each layer, in the order they run, if
      the network was trained with them; else ().
    output: LOGITS, or CLASSES of a segmenter: those of `classes`.
  """

  network: base.Network
  variables: types.Variables
  shape: Shape
  build: Mapping[str, Any]
  quantize: str
  names: str
  images: Callable[[], np.ndarray]
  ranges: tuple[tuple[float, float], ...] = ()
  output: str = LOGITS


class Format(NamedTuple):
  """A file format and the runtime that reads it.

  Attributes:
    file: the name of the file.
    write: (job, path) writes it.
    make_run: (job, path) -> run(inputs) -> the output, computed from the file.
    quantize: the types other than f32 that it can hold.
    runtime: the package that runs the file.
    needs: packages that must be installed.
    outputs: what it can give, of LOGITS and CLASSES.
  """

  file: str
  write: Callable
  make_run: Callable
  quantize: tuple[str, ...]
  runtime: str
  needs: tuple[str, ...] = ()
  outputs: tuple[str, ...] = (LOGITS,)


def input_names(shape: Shape) -> list[str]:
  """The names of the inputs, in the order in which JAX traces them."""
  return sorted(shape.names) if isinstance(shape, Text) else [IMAGES]


def classes(logits: jax.Array, size: tuple[int, int]) -> jax.Array:
  """The class of every pixel: i32 [B, H, W] of logits [B, h, w, K], resized."""
  return spatial.bilinear(logits, size).argmax(-1).astype(jnp.int32)


def make_forward(job: Job) -> Callable[[types.Variables, Any], jax.Array]:
  """Makes (variables, inputs) -> what the file gives: logits, or classes."""
  forward = base.make_forward(job.network)

  def call(variables, inputs):
    logits = forward(variables, inputs)
    if job.output == CLASSES:
      return classes(logits, job.shape[:2])
    return logits

  return call


def example(shape: Shape, batch: Any, length: Any = 0) -> Any:
  """The shape of a batch of inputs: an array's, or {input: its own} of text.

  Args:
    shape: of one input.
    batch: B, a number or a symbol.
    length: L of text whose length is not fixed, likewise.
  """
  if not isinstance(shape, Text):
    return jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
  sides = batch, shape.length or length
  return {
    name: jax.ShapeDtypeStruct(sides, jnp.int32) for name in sorted(shape.names)
  }


@contextlib.contextmanager
def any_size(shape: Shape):
  """The shape of a batch of any size, to trace a network with.

  Args:
    shape: of one input; the length of text is any too where it is not fixed.

  Raises:
    ValueError: one line, where the traced code branches on the sizes.
  """
  symbols, bounds = [BATCH], []
  if isinstance(shape, Text) and not shape.length:
    symbols.append(LENGTH)
    bounds = [f'{LENGTH} <= {shape.most}'] if shape.most else []
  sides = jax_export.symbolic_shape(', '.join(symbols), constraints=bounds)
  try:
    yield example(shape, *sides)
  except (
    jax.errors.InconclusiveDimensionOperation,
    jax.errors.JAXTypeError,
  ) as error:
    line = ' '.join(str(error).split())[:200]
    remedy = '; --length L fixes the length' if LENGTH in symbols else ''
    raise ValueError(
      f'the network does not trace for a {" and a ".join(symbols)} of any size'
      f'{remedy}: {line}'
    ) from error
