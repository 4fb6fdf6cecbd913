"""The device of a benchmark: found, refused where a side lacks it, described.

A benchmark never compares a GPU with a CPU: every side runs on the device that
`resolve` returns, or nothing runs.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

CPU, GPU = 'cpu', 'gpu'
DEVICES = (CPU, GPU)
LIBRARIES = {'jax': 'JAX', 'torch': 'PyTorch'}
# In processes of their own: who looks for a GPU keeps memory of it.
_PROBES = {
  'jax': 'import jax; print(jax.default_backend())',
  'torch': (
    'import torch; print("gpu" if torch.cuda.is_available() else "cpu")'
  ),
}


def add_option(parser: argparse.ArgumentParser) -> None:
  """--device cpu|gpu."""
  parser.add_argument(
    '--device', choices=DEVICES, help='of all sides; without it what JAX finds'
  )


def resolve(device: str | None, libraries: Sequence[str]) -> str:
  """The device that all sides run on.

  Args:
    device: 'cpu' or 'gpu'; None is what JAX finds.
    libraries: of the sides, 'jax' and 'torch'.

  Raises:
    ValueError: a library has no GPU, or JAX finds another kind of device.
  """
  if device == CPU:
    return CPU
  asked = libraries if device == GPU else {'jax', *libraries}
  kinds = probe(sorted(asked), {} if device is None else environment(GPU))
  kind = device or kinds['jax']
  if kind not in DEVICES:
    raise ValueError(
      f"JAX finds '{kind}'; legal: {', '.join(DEVICES)}: use --device cpu"
    )
  lacking = [LIBRARIES[name] for name in libraries if kinds[name] != kind]
  if kind == GPU and lacking:
    raise ValueError(
      f'--device gpu, which {" and ".join(lacking)} cannot use here; all sides '
      'run on the same device: install the CUDA build, or use --device cpu'
    )
  return kind


def probe(libraries: Sequence[str], changes: dict[str, str]) -> dict[str, str]:
  """{library: 'cpu', 'gpu', ..; '' where it does not import}.

  Args:
    libraries: keys of `LIBRARIES`; they are asked at the same time.
    changes: of the environment.
  """
  started = {
    name: subprocess.Popen(
      [sys.executable, '-c', _PROBES[name]],
      env={**os.environ, **changes},
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    for name in libraries
  }
  found = {name: each.communicate()[0] for name, each in started.items()}
  return {name: (text.split() or [''])[-1] for name, text in found.items()}


def environment(device: str) -> dict[str, str]:
  """What the environment of every side says of the device."""
  if device == CPU:
    return {'JAX_PLATFORMS': 'cpu'}
  # Named, so that JAX does not fall back to the CPU. Two sides share the GPU:
  # JAX does not take three quarters of it.
  return {'JAX_PLATFORMS': 'cuda,cpu', 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}


def use(device: str | None, libraries: Sequence[str]) -> str:
  """`resolve`, and the environment of it for this process and its children."""
  device = resolve(device, libraries)
  os.environ.update(environment(device))
  return device


def describe() -> str:
  """Name and driver of the GPU, as nvidia-smi says."""
  query = ['nvidia-smi', '--query-gpu=name,driver_version', '--format=csv']
  try:
    done = subprocess.run(
      [*query, '-i', '0'], capture_output=True, text=True, check=True
    )
    name, driver = done.stdout.strip().splitlines()[-1].split(', ')
  except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
    return 'a GPU that nvidia-smi does not name'
  return f'{name}, driver {driver}'
