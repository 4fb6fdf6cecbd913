"""What slow networks are made of: operations as XLA has them, as ours, PyTorch.

python -m experiments.benchmarks.operations [--write] [--quick] [--repeats N]
"""

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from experiments import pages
from experiments.benchmarks import sides, timing

MODULE = 'experiments.benchmarks.operations'
POOL = 'pool'


class Operation(NamedTuple):
  """A convolution without bias, or a pooling, on images of equal sides.

  Attributes:
    side, channels, batch: of the input.
    features: of the output.
    size: side of the kernel; stride; groups of channels.
    kind: 'conv' or POOL (2x2).
  """

  side: int
  channels: int
  features: int
  size: int = 3
  stride: int = 1
  groups: int = 1
  batch: int = 64
  kind: str = 'conv'


OPERATIONS = {
  '3x3, 28x28x1 to 16, batch 128': Operation(28, 1, 16, batch=128),
  '3x3, 32x32x3 to 32': Operation(32, 3, 32),
  '3x3, 32x32x16 to 16': Operation(32, 16, 16),
  '3x3, 32x32x32 to 32': Operation(32, 32, 32),
  '3x3, 16x16x64 to 64': Operation(16, 64, 64),
  '3x3, 16x16x64 to 128, stride 2': Operation(16, 64, 128, stride=2),
  '3x3, 8x8x256 to 256': Operation(8, 256, 256),
  '3x3 per channel, 16x16x116': Operation(16, 116, 116, groups=116),
  '1x1 in 3 groups, 16x16x240': Operation(16, 240, 240, 1, groups=3),
  'max pool 2x2, 32x32x64': Operation(32, 64, 64, 2, 2, kind=POOL),
}
# One channel in a third way of ours; the others in two.
SHIFTED = '3x3, 28x28x1 to 16, batch 128'
WAYS = ('xla', 'ours', 'shifted', 'torch')
DIRECTIONS = ('forward', 'gradient')


def ways_of(name: str) -> tuple[str, ...]:
  """The ways in which an operation is measured."""
  return tuple(w for w in WAYS if w != 'shifted' or name == SHIFTED)


def arrays(of: Operation) -> tuple[np.ndarray, np.ndarray]:
  """The input [B, H, W, C] and the kernel [h, w, C / groups, features]."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=(of.batch, of.side, of.side, of.channels))
  kernel = rng.normal(
    size=(of.size, of.size, of.channels // of.groups, of.features)
  )
  return x.astype(np.float32), kernel.astype(np.float32)


def ours() -> dict[str, Callable]:
  """{'WAY DIRECTION NAME': () -> Task} of JAX."""
  import jax
  from flax import linen as nn

  from kd_jax.models import convolution, layers

  def function(of, way):
    if of.kind == POOL:
      pool = {
        'xla': lambda x: nn.max_pool(x, (2, 2), (2, 2)),
        'ours': layers.max_pool,
      }[way]
      return lambda x, kernel: pool(x)
    pad = of.size // 2
    pads = (pad, pad), (pad, pad)
    if way == 'shifted':
      return lambda x, kernel: convolution.shifted_adds(
        x, kernel, of.stride, pads
      )
    convolve = {
      'xla': jax.lax.conv_general_dilated,
      'ours': convolution.convolve,
    }[way]
    return lambda x, kernel: convolve(
      x,
      kernel,
      (of.stride, of.stride),
      pads,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=of.groups,
    )

  def make(of, way, direction):
    forward = function(of, way)
    if direction == 'gradient':
      run = jax.jit(jax.grad(lambda x, k: (forward(x, k) ** 2).sum(), (0, 1)))
    else:
      run = jax.jit(forward)
    given = jax.device_put(arrays(of))

    def repeat(count):
      for _ in range(count):
        found = run(*given)
      jax.block_until_ready(found)

    return sides.Task(repeat)

  return every(WAYS[:3], make)


def theirs() -> dict[str, Callable]:
  """{'torch DIRECTION NAME': () -> Task} of PyTorch, channels_last."""
  import torch
  from torch.nn import functional

  torch.set_num_threads(sides.THREADS)

  def make(of, way, direction):
    x, kernel = (torch.from_numpy(a.copy()) for a in arrays(of))
    last = torch.channels_last
    x = x.permute(0, 3, 1, 2).contiguous(memory_format=last)
    kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=last)
    learns = direction == 'gradient'

    def once():
      leaves = [a.detach().requires_grad_(learns) for a in (x, kernel)]
      if of.kind == POOL:
        y = functional.max_pool2d(leaves[0], 2)
      else:
        y = functional.conv2d(
          *leaves, stride=of.stride, padding=of.size // 2, groups=of.groups
        )
      if learns:
        (y**2).sum().backward()

    def repeat(count):
      for _ in range(count):
        once()

    return sides.Task(repeat)

  return every(WAYS[3:], make)


def every(ways: Sequence[str], make: Callable) -> dict[str, Callable]:
  """{'WAY DIRECTION NAME': () -> make(operation, way, direction)}."""
  return {
    f'{way} {direction} {name}': lambda of=of, w=way, d=direction: make(
      of, w, d
    )
    for name, of in OPERATIONS.items()
    for way in ways_of(name)
    if way in ways
    for direction in DIRECTIONS
  }


def measure(
  names: Sequence[str], repeats: int, seconds: float
) -> list[list[str]]:
  """A row of milliseconds for each operation."""
  rows = []
  with (
    sides.start('kd_jax', f'{MODULE}:ours') as jax_side,
    sides.start('PyTorch', f'{MODULE}:theirs') as torch_side,
  ):
    for name in names:
      row = [name]
      for direction in DIRECTIONS:
        entries = {
          way: (
            torch_side if way == 'torch' else jax_side,
            f'{way} {direction} {name}',
          )
          for way in ways_of(name)
        }
        times, _ = sides.race(list(entries.values()), repeats, seconds)
        found = dict(zip(entries, map(timing.spread, times)))
        row += [
          f'{1e3 * found[way].median:.1f}' if way in found else ''
          for way in WAYS
        ]
      rows.append(row)
  return rows


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0 done, 2 a user's mistake."""
  parser = timing.make_parser(MODULE, __doc__)
  parser.add_argument('--repeats', type=int, help='timings of each (9)')
  options = parser.parse_args(argv)
  if timing.missing_torch():
    print(f'error: {timing.missing_torch()}', file=sys.stderr)
    return 2
  if options.quick:
    sides.compile_quickly()
  about = timing.machine(('jax', 'jaxlib', 'torch'))
  names = list(OPERATIONS)[: 1 if options.quick else None]
  repeats = options.repeats or (2 if options.quick else 9)
  rows = measure(names, repeats, 0.01 if options.quick else 0.1)
  header = [
    'ms',
    *(
      f'{way}, {direction}'
      for direction in ('forward', 'with gradient')
      for way in ('XLA', 'kd_jax', 'shifted adds', 'PyTorch')
    ),
  ]
  text = '\n\n'.join(
    [
      f'{timing.command(MODULE, argv)}: median of up to {repeats} repeats. '
      f'{about}',
      pages.table(header, rows),
    ]
  )
  timing.publish('operations', text, options.write)
  return 0


if __name__ == '__main__':
  sys.exit(main())
