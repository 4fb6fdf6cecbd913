"""Knows what a device can do: its memory, its peak, the FLOP of a program."""

import os
import pathlib
from collections.abc import Callable

import jax

from kd_jax import types

# TFLOP/s of dense products by the first words of JAX's device_kind and the
# key `precision`; without sparsity, accumulated in f32. float32 is TF32 on
# those NVIDIA GPUs that have it, and one pass in bf16 on a TPU.
# Sources: the data sheets of NVIDIA's H100, H200, A100, L4, L40S, V100 and T4
# (https://www.nvidia.com/en-us/data-center/), whose figures with sparsity are
# halved; NVIDIA Ada GPU architecture (2023), appendix A, for the RTX 4090;
# https://cloud.google.com/tpu/docs/system-architecture-tpu-vm for TPUs.
PEAKS = {
  'NVIDIA H200': {'bfloat16': 989, 'float32': 494, 'highest': 67},
  'NVIDIA H100 80GB HBM3': {'bfloat16': 989, 'float32': 494, 'highest': 67},
  'NVIDIA H100 PCIe': {'bfloat16': 756, 'float32': 378, 'highest': 51},
  'NVIDIA A100': {'bfloat16': 312, 'float32': 156, 'highest': 19.5},
  'NVIDIA L40S': {'bfloat16': 362, 'float32': 183, 'highest': 91.6},
  'NVIDIA L4': {'bfloat16': 121, 'float32': 60, 'highest': 30.3},
  'NVIDIA GeForce RTX 4090': {
    'bfloat16': 165, 'float32': 82.6, 'highest': 82.6,
  },
  'Tesla V100-SXM2': {'float32': 15.7, 'highest': 15.7},
  'Tesla T4': {'float32': 8.1, 'highest': 8.1},
  'TPU v4': {'bfloat16': 275, 'float32': 275},
  'TPU v5 lite': {'bfloat16': 197, 'float32': 197},
  'TPU v5p': {'bfloat16': 459, 'float32': 459},
  'TPU v6 lite': {'bfloat16': 918, 'float32': 918},
}  # fmt: skip


def peak_flops(precision: str, kind: str | None = None) -> float | None:
  """The most FLOP/s of a device; None where the table does not have it.

  Args:
    precision: 'float32', 'bfloat16' or 'highest'.
    kind: JAX's name of the device; None: of the first one of this process.
  """
  kind = kind or jax.local_devices()[0].device_kind
  known = [name for name in PEAKS if kind.startswith(name)]
  if not known:
    return None
  tera = PEAKS[max(known, key=len)].get(precision)
  return None if tera is None else 1e12 * tera


def flops(function: Callable, *args) -> float | None:
  """Floating-point operations of a jitted function, by XLA's cost analysis.

  The program before it is optimized is counted, since what a backend fuses
  or hands to its libraries is not counted after. A multiply and an add are two.

  Returns:
    The count; None if XLA does not give one.
  """
  analysis = function.lower(*args).cost_analysis()
  if isinstance(analysis, list):
    analysis = analysis[0] if analysis else None
  return float(analysis['flops']) if analysis and 'flops' in analysis else None


def peak_bytes() -> int | None:
  """The most bytes this process held on its device; None if not counted."""
  stats = jax.local_devices()[0].memory_stats() or {}
  peak = stats.get('peak_bytes_in_use')
  return None if peak is None else int(peak)


def nbytes(tree: types.PyTree) -> int:
  """Bytes of arrays, or of their shapes; a key counts as 16 bytes."""

  def size(x):
    is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return x.size * (16 if is_key else x.dtype.itemsize)

  return sum(size(x) for x in jax.tree.leaves(tree))


def free() -> int:
  """Free bytes on the first device of this process."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'bytes_limit' in stats:
    return stats['bytes_limit'] - stats['bytes_in_use']
  table = pathlib.Path('/proc/meminfo')
  if table.exists():
    lines = dict(x.split(':') for x in table.read_text().splitlines())
    return int(lines['MemAvailable'].split()[0]) * 1024
  return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
