"""What is freed is kept: the next step meets no fresh pages."""

import subprocess
import sys

import pytest

PAGES = 64 * 2**20 // 4096
CODE = """
import resource
import numpy as np
from kd_jax.executors import hardware
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
    [sys.executable, '-c', CODE.format(call=call)],
    capture_output=True,
    text=True,
    check=True,
  )
  return int(done.stdout)


@pytest.mark.skipif(sys.platform != 'linux', reason='this system has no glibc')
def test_freed_memory_is_not_asked_for_again():
  kept = faults('assert hardware.keep_freed()')
  assert kept < PAGES / 10
  assert faults('') > kept


def test_another_c_library_is_left_alone(monkeypatch):
  from kd_jax.executors import hardware

  monkeypatch.setattr(hardware.ctypes, 'CDLL', lambda name: object())
  assert not hardware.keep_freed()
