"""ADAPTERS: maps from a student's feature to the shape of a teacher's."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from flax import linen as nn

from kd_jax import types
from kd_jax.losses import numerics, spatial
from kd_jax.models import convolution, lazy

Shape = Sequence[int]  # [B, ...]

# By BatchNorm an example's value depends on the other examples.
_COUPLING = ('3x3',)


class Adapter(NamedTuple):
  """A map from one feature to another's shape, learned or not.

  Attributes:
    init: key -> variables: {} or {'params'} or {'params', 'batch_stats'}.
    apply: (variables, x [B, ...]) -> (y f32 [B, ...], new statistics
      {'batch_stats': ...} or {}).
  """

  init: Callable[[jax.Array], types.Variables]
  apply: Callable[..., tuple[jax.Array, types.PyTree]]


def make_adapter(name: str, student: Shape, teacher: Shape) -> Adapter:
  """The adapter `name` from a student's feature to a teacher's shape.

    'none'        no change; the shapes are equal
    'pool'        averages over places, to a smaller map, or to a vector
    'resize'      averages or repeats places (nearest neighbor)
    'bilinear'    bilinear to the teacher's places (half-pixel centres); a 1x1
                  convolution where the channels differ
    '1x1'         a 1x1 convolution; of maps, after 'resize' where that shrinks
                  and before it where it enlarges
    '3x3'         'resize', then a 3x3 convolution and batch normalization
    'transposed'  a transposed convolution to a map larger by integer factors r:
                  stride r, kernel 2r
    'linear'      a dense layer on the last axis; where the other axes differ,
                  from the whole feature to the whole feature
    'auto'        see `choose`

  Args:
    name: one of those above.
    student: [B, ...], shape of the input.
    teacher: [B, ...], shape of the output, except B.

  Raises:
    ValueError: an unknown name, or shapes that the adapter cannot connect.
  """
  student, teacher = tuple(student), tuple(teacher)
  if name == 'auto':
    name = choose(student, teacher)
  if name not in ADAPTERS:
    raise types.unknown('adapter', name, ['auto', *ADAPTERS])
  adapter = ADAPTERS[name](student, teacher)
  if adapter is None:
    raise refusal(name, student, teacher)
  return adapter


def choose(student: Shape, teacher: Shape) -> str:
  """The simplest adapter that connects two shapes.

  'none' for equal shapes; 'linear' for vectors of different widths; for maps
  'transposed' where the teacher's is larger by integer factors, 'pool' where
  only places differ, and otherwise '1x1', as for tokens; 'pool' from a map to a
  vector of its channels. It never couples examples.

  Raises:
    ValueError: no adapter fits.
  """
  student, teacher = tuple(student), tuple(teacher)
  names = {2: ('none', 'pool', 'linear'), 3: ('none', '1x1')}
  names = names.get(len(teacher), ('none', 'transposed', 'pool', '1x1'))
  for name in names:
    possible = len(student) == len(teacher) or name == 'pool'
    if possible and ADAPTERS[name](student, teacher) is not None:
      return name
  raise refusal('auto', student, teacher)


def couples(name: str) -> bool:
  """Whether an adapter couples the examples of a batch ('auto' never does)."""
  return name in _COUPLING


def shown(shape: Shape) -> str:
  """A shape without its batch axis, as text: '8x8x16'."""
  return 'x'.join(map(str, shape[1:]))


def size(shape: Shape) -> int:
  """The numbers that a feature [B, ...] has of one example."""
  return math.prod(shape[1:])


def refusal(name: str, student: Shape, teacher: Shape) -> ValueError:
  """The error for two shapes that an adapter cannot connect."""
  return ValueError(
    f"adapter '{name}' cannot bring {shown(student)} of the student to "
    f'{shown(teacher)} of the teacher'
  )


def from_module(module: nn.Module, *shapes: Shape) -> Adapter:
  """The adapter of a Linen module, for inputs of these shapes [B, ...]."""

  def init(key):
    inputs = [jax.ShapeDtypeStruct((1, *s[1:]), 'float32') for s in shapes]
    return dict(lazy.init(module, key, *inputs))

  def apply(variables, *inputs):
    inputs = [numerics.f32(x) for x in inputs]
    return module.apply(variables, *inputs, mutable=['batch_stats'])

  return Adapter(init, apply)


def from_function(function: Callable[[jax.Array], jax.Array]) -> Adapter:
  """The adapter of a function, which learns nothing."""
  return Adapter(
    lambda key: {}, lambda variables, x: (function(numerics.f32(x)), {})
  )


def norm() -> nn.BatchNorm:
  """Batch normalization by the batch's own statistics."""
  return nn.BatchNorm(use_running_average=False, momentum=0.9)


class Pointwise(nn.Module):
  """A 1x1 convolution, and a resize to `size` where it is given."""

  features: int
  size: tuple[int, int] | None = None
  bias: bool = True
  resize: Callable = spatial.resize

  @nn.compact
  def __call__(self, x):
    # The two commute; the convolution runs where there are fewer places.
    if self.size and math.prod(self.size) < math.prod(x.shape[1:3]):
      x = self.resize(x, self.size)
    x = nn.Dense(self.features, use_bias=self.bias)(x)
    return self.resize(x, self.size) if self.size else x


class Convolution(nn.Module):
  """A resize to `size`, a 3x3 convolution, batch normalization."""

  features: int
  size: tuple[int, int]

  @nn.compact
  def __call__(self, x):
    x = spatial.resize(x, self.size)
    x = convolution.conv(self.features, (3, 3), use_bias=False)(x)
    return norm()(x)


class Flat(nn.Module):
  """A dense layer between whole features, to [B, *shape]."""

  shape: tuple[int, ...]

  @nn.compact
  def __call__(self, x):
    x = nn.Dense(math.prod(self.shape))(x.reshape(x.shape[0], -1))
    return x.reshape(x.shape[0], *self.shape)


def _none(student, teacher):
  if student[1:] == teacher[1:]:
    return from_function(lambda x: x)
  return None


def _pool(student, teacher):
  if student[-1] != teacher[-1] or len(student) != 4:
    return None
  if len(teacher) == 2:
    return from_function(lambda x: x.mean((1, 2)))
  if len(teacher) != 4 or any(s < t for s, t in zip(student, teacher)):
    return None
  return from_function(lambda x: spatial.pool(x, teacher[1:3]))


def _resize(student, teacher):
  if len(student) != 4 or len(teacher) != 4 or student[-1] != teacher[-1]:
    return None
  return from_function(lambda x: spatial.resize(x, teacher[1:3]))


def _bilinear(student, teacher):
  if len(student) != 4 or len(teacher) != 4:
    return None
  size = tuple(teacher[1:3])
  if student[-1] == teacher[-1]:
    return from_function(lambda x: spatial.bilinear(x, size))
  module = Pointwise(teacher[-1], size, resize=spatial.bilinear)
  return from_module(module, student)


def _pointwise(student, teacher):
  if len(student) == len(teacher) == 4:
    return from_module(Pointwise(teacher[-1], teacher[1:3]), student)
  if len(student) > 2 and student[1:-1] == teacher[1:-1]:
    return from_module(Pointwise(teacher[-1]), student)
  return None


def _convolution(student, teacher):
  if len(student) != 4 or len(teacher) != 4:
    return None
  return from_module(Convolution(teacher[-1], teacher[1:3]), student)


def _transposed(student, teacher):
  if len(student) != 4 or len(teacher) != 4 or student[1:3] == teacher[1:3]:
    return None
  if any(t % s for s, t in zip(student[1:3], teacher[1:3])):
    return None
  factors = tuple(t // s for s, t in zip(student[1:3], teacher[1:3]))
  kernel = tuple(2 * r if r > 1 else 1 for r in factors)
  return from_module(nn.ConvTranspose(teacher[-1], kernel, factors), student)


def _linear(student, teacher):
  if student[1:-1] == teacher[1:-1]:
    return from_module(nn.Dense(teacher[-1]), student)
  return from_module(Flat(teacher[1:]), student)


ADAPTERS = {
  'none': _none,
  'pool': _pool,
  'resize': _resize,
  'bilinear': _bilinear,
  '1x1': _pointwise,
  '3x3': _convolution,
  'transposed': _transposed,
  'linear': _linear,
}
