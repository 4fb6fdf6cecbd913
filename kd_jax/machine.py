"""Sets what a process has for speed, and for bits that repeat on a GPU.

The launcher, `distill`, `train_alone`, reports and exports all do it, since
they all build an experiment or read a network; importing kd_jax sets nothing.
"""

import ctypes
import functools
import os
import pathlib

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h
_NEVER = 2**31 - 1
_SECONDS = 0.3  # programs that took longer to compile are kept
_DETERMINISTIC = '--xla_gpu_deterministic_ops'


@functools.cache
def settle() -> None:
  """Makes JAX fast in this process; no number changes.

  Where JAX computes on CPU, freed memory is kept (`keep_freed`). What took long
  to compile is kept in ~/.cache/kd_jax for the next process, unless JAX was
  given a folder for that (JAX_COMPILATION_CACHE_DIR; '' is none). Only the
  first call does anything. It starts JAX's backend.
  """
  import jax  # a PyTorch process of the benchmarks keeps memory without it
  from jax.experimental.compilation_cache import compilation_cache

  if jax.default_backend() == 'cpu':
    keep_freed()
  if jax.config.jax_compilation_cache_dir is None:
    place = pathlib.Path.home() / '.cache/kd_jax'
    jax.config.update('jax_compilation_cache_dir', str(place))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', _SECONDS)
    # JAX looks once, at the first compilation, and that may have been before.
    compilation_cache.reset_cache()


def keep_freed() -> bool:
  """Asks glibc to keep freed memory; other C libraries are left alone.

  XLA on CPU takes a step's temporaries from the C library and frees them after
  it. By default glibc returns large ones to the system, and each later step
  faults their pages in again: 13 of the 33 ms of a student's step on a virtual
  machine of two cores. The setting holds for the whole process, whose memory
  stays at its peak; so it is for processes that compute on CPU alone.

  Returns:
    Whether glibc took the setting.
  """
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):
    return False
  return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _NEVER))


def make_deterministic() -> None:
  """Has XLA give equal bits in equal runs on a GPU; on CPU they are anyway.

  It is for before JAX's backend starts, and for the processes that this one
  starts. XLA then leaves out kernels that add in any order, and the trials that
  choose between kernels: steps take longer.
  """
  flags = os.environ.get('XLA_FLAGS', '')
  if not _is_deterministic(flags):
    os.environ['XLA_FLAGS'] = f'{flags} {_DETERMINISTIC}=true'.strip()


def need_deterministic() -> None:
  """Refuses a GPU on which equal runs may differ.

  Raises:
    ValueError: with the remedy.
  """
  import jax

  flags = os.environ.get('XLA_FLAGS', '')
  if jax.default_backend() == 'gpu' and not _is_deterministic(flags):
    raise ValueError(
      f'deterministic=True on a GPU needs XLA_FLAGS={_DETERMINISTIC}=true in '
      'the environment before JAX starts; the launcher sets it'
    )


def _is_deterministic(flags: str) -> bool:
  """Whether XLA's flags ask for it; the last of them holds."""
  values = [x for x in flags.split() if x.split('=')[0] == _DETERMINISTIC]
  return bool(values) and values[-1].split('=')[-1] in (
    _DETERMINISTIC, 'true', '1',
  )  # fmt: skip
