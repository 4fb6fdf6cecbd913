"""What is freed is kept: the next step meets no fresh pages."""

import os
import pathlib
import subprocess
import sys

import pytest

from kd_jax import machine

linux = pytest.mark.skipif(sys.platform != 'linux', reason='of glibc')
PAGES = 64 * 2**20 // 4096
SIZES = pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled')
CODE = """
import resource
import numpy as np
from kd_jax import machine
{call}
faults = []
for _ in range(4):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  np.ones(64 * 2**20, np.uint8)
  faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


def faults(call: str) -> int:
  """Of the fourth array of 64 MB that a process fills and frees."""
  done = subprocess.run(
    [sys.executable, '-c', CODE.format(call=call)], capture_output=True,
    text=True, check=True,
  )
  return int(done.stdout)


@linux
def test_freed_memory_is_not_asked_for_again():
  kept = faults('assert machine.keep_freed()')
  assert kept < PAGES / 10
  assert faults('') > kept


def test_another_c_library_is_left_alone(monkeypatch):
  monkeypatch.setattr(machine.ctypes, 'CDLL', lambda name: object())
  assert not machine.keep_freed()


AGAIN = """
import os, sys
from kd_jax import machine
machine.restart_with_large_pages()
print(os.getpid(), *sys.argv[1:], os.environ['GLIBC_TUNABLES'])
"""


@linux
@pytest.mark.parametrize('given', [{}, {'GLIBC_TUNABLES': 'a.user.has=own'}])
def test_a_process_starts_again_as_it_was(given):
  plain = {k: v for k, v in os.environ.items() if k not in machine.LARGE_PAGES}
  child = subprocess.Popen(
    [sys.executable, '-c', AGAIN, 'an', 'argument'], env=plain | given,
    stdout=subprocess.PIPE, text=True,
  )
  said, _ = child.communicate()
  tunables, = (machine.LARGE_PAGES | given).values()
  assert said.split() == [str(child.pid), 'an', 'argument', tunables]


BLOCK = """
import concurrent.futures, resource
thread = concurrent.futures.ThreadPoolExecutor(1)
def fill():
  return len(b'1' * (96 * 2**20))
thread.submit(fill).result()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread.submit(fill).result()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@linux
@pytest.mark.skipif(
  not SIZES.exists() or '[never]' in SIZES.read_text(), reason='no large pages'
)
def test_a_large_block_of_a_thread_comes_in_large_pages():
  done = subprocess.run(
    [sys.executable, '-c', BLOCK], env=os.environ | machine.LARGE_PAGES,
    stdout=subprocess.PIPE, text=True, check=True,
  )
  assert int(done.stdout) < 96 * 2**20 / 4096 / 10
