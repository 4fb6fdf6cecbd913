"""What was timed, as numbers and text: medians, ratios, tables, the machine."""

import argparse
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from experiments import pages
from experiments.benchmarks import devices, sides

README = pathlib.Path(__file__).with_name('README.md')


def make_parser(module: str, doc: str) -> argparse.ArgumentParser:
  """The options that every benchmark has."""
  parser = argparse.ArgumentParser(
    prog=f'python -m {module}', description=doc.split('\n')[0]
  )
  parser.add_argument('--quick', action='store_true', help='the least work')
  parser.add_argument(
    '--write', action='store_true', help='into the README beside this file'
  )
  return parser


class Spread(NamedTuple):
  """The median of repeats and their quartiles."""

  median: float
  low: float
  high: float


def spread(values: Sequence[float]) -> Spread:
  """Median and quartiles."""
  if len(values) == 1:
    return Spread(*values * 3)
  low, median, high = statistics.quantiles(values, n=4, method='inclusive')
  return Spread(median, low, high)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
  """The spread of ours / theirs, repeat by repeat."""
  return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def shown(found: Spread, digits: int = 2, scale: float = 1.0) -> str:
  """'median (low..high)'."""
  median, low, high = (f'{x * scale:.{digits}f}' for x in found)
  return f'{median} ({low}..{high})'


def megabytes(count: float) -> str:
  """Bytes as MB (10^6)."""
  return f'{count / 1e6:.1f}' if count < 1e7 else f'{count / 1e6:.0f}'


TF32 = ("Products of f32 are TF32 on both sides: PyTorch's allow_tf32, "
        "JAX's default precision.")  # fmt: skip
CUDA = ('jax-cuda12-plugin', 'jax-cuda13-plugin', 'nvidia-cudnn-cu12',
        'nvidia-cudnn-cu13')  # fmt: skip


def machine(packages: Sequence[str], device: str = 'cpu') -> str:
  """The processor, its cores, the load before, and the versions, in a line.

  Args:
    packages: whose versions are named, where they are installed.
    device: 'gpu': the GPU, its driver and CUDA's packages are named too.
  """
  model = platform.processor() or platform.machine()
  info = pathlib.Path('/proc/cpuinfo')
  if info.exists():
    names = [
      line.split(':', 1)[1].strip()
      for line in info.read_text().splitlines()
      if line.startswith('model name')
    ]
    model = names[0] if names else model
  load = f'{os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else 'unknown'
  versions = [f'Python {platform.python_version()}']
  gpu = device == 'gpu'
  for package in [*packages, *(CUDA if gpu else ())]:
    try:
      versions.append(f'{package} {importlib.metadata.version(package)}')
    except importlib.metadata.PackageNotFoundError:
      continue
  used = 'all' if gpu else sides.THREADS
  return (
    f'{devices.describe() + "; " if gpu else ""}'
    f'{model}, {os.cpu_count()} cores of which {used} are used, '
    f'{platform.system()}; load before the start {load}; '
    f'{time.strftime("%Y-%m-%d", time.gmtime())}; {", ".join(versions)}.'
    f'{" " + TF32 if gpu else ""}'
  )


def command(module: str, argv: Sequence[str] | None) -> str:
  """The command that was given, as markdown; None: that of this process."""
  argv = sys.argv[1:] if argv is None else argv
  return f'`{" ".join(["python -m", module, *argv])}`'


def publish(name: str, text: str, write: bool) -> None:
  """Prints a section of the README, and puts it there where asked to."""
  print(text)
  if write:
    pages.keep(README, name, text)


def run_on_cpu(
  module: str, doc: str, section: str, report: Callable, argv
) -> int:
  """A benchmark of kd_jax alone: measures, prints, and writes when asked.

  Args:
    module: that is run.
    doc: its docstring.
    section: of the README.
    report: (quick, argv) -> markdown.
    argv: the options; None: of the command line.
  """
  options = make_parser(module, doc).parse_args(argv)
  os.environ.setdefault('JAX_PLATFORMS', 'cpu')
  sides.settle()
  publish(section, report(options.quick, argv), options.write)
  return 0


def missing_torch() -> str:
  """One line for where PyTorch is not installed; empty where it is."""
  if importlib.util.find_spec('torch'):
    return ''
  return 'PyTorch is needed beside kd_jax: pip install torch==2.13.0'
