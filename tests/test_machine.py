"""What is freed is kept: the next step meets no fresh pages."""

import subprocess
import sys

import pytest

PAGES = 96 * 2**20 // 4096  # more than a thread's own arena holds
CODE = """
import concurrent.futures
import resource
from kd_jax import machine
fill = lambda: len(b'1' * (96 * 2**20))
in_a_thread = lambda: thread.submit(fill).result()
{call}
thread = concurrent.futures.ThreadPoolExecutor(1)
faults = []
for _ in range(4):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  {where}()
  faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


def faults(call: str, where: str) -> int:
  """Of the fourth block of 96 MB that a process fills and frees."""
  done = subprocess.run(
    [sys.executable, '-c', CODE.format(call=call, where=where)],
    capture_output=True, text=True, check=True,
  )
  return int(done.stdout)


@pytest.mark.skipif(sys.platform != 'linux', reason='of glibc')
@pytest.mark.parametrize('where', ['fill', 'in_a_thread'])
def test_freed_memory_is_not_asked_for_again(where):
  kept = faults('assert machine.keep_freed()', where)
  assert kept < PAGES / 10
  assert faults('', where) > kept


def test_another_c_library_is_left_alone(monkeypatch):
  from kd_jax import machine

  monkeypatch.setattr(machine.ctypes, 'CDLL', lambda name: object())
  assert not machine.keep_freed()
