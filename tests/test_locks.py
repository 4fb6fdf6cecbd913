"""A lock is held by those who live, and by one at a time."""

import subprocess
import sys
import time

from kd_jax import locks

HOLD = """
import pathlib, sys, time
from kd_jax import locks
file = locks.attempt(pathlib.Path(sys.argv[1]))
print('held', flush=True)
time.sleep(600)
"""


def test_one_at_a_time(tmp_path):
  path = tmp_path / 'new' / 'x.lock'
  assert not locks.is_held(path)
  first = locks.attempt(path)
  assert locks.is_held(path)
  assert locks.attempt(path, patience=0.05) is None
  first.close()
  assert not locks.is_held(path)


def test_sigkill_frees_it(tmp_path, capfd):
  path = tmp_path / 'teacher.lock'
  holder = subprocess.Popen(
    [sys.executable, '-c', HOLD, str(path)], stdout=subprocess.PIPE
  )
  assert holder.stdout.readline() == b'held\n'
  asked = []

  def stop():
    asked.append(1)
    return len(asked) == 3

  with locks.held(path, stop, every=0.01) as mine:
    assert not mine
  assert "waiting for 'teacher'" in capfd.readouterr().err
  holder.kill()
  holder.communicate()
  with locks.held(path) as mine:
    assert mine
    assert locks.is_held(path)
  assert not locks.is_held(path)


def test_a_child_that_was_given_it_holds_it_too(tmp_path):
  path = tmp_path / 'x.lock'
  file = locks.attempt(path)
  child = subprocess.Popen(
    [sys.executable, '-S', '-c', 'import sys; sys.stdin.read()'],
    stdin=subprocess.PIPE,
    pass_fds=(file.fileno(),),
  )
  file.close()
  assert locks.is_held(path)
  child.communicate()
  assert not locks.is_held(path)


def test_waiting_ends_with_the_holder(tmp_path):
  path = tmp_path / 'x.lock'
  file = locks.attempt(path)
  child = subprocess.Popen(
    [sys.executable, '-S', '-c', 'import time; time.sleep(0.3)'],
    pass_fds=(file.fileno(),),
  )
  file.close()
  begun = time.monotonic()
  with locks.held(path, every=0.01) as mine:
    assert mine
    assert child.wait(5) == 0
  assert time.monotonic() - begun < 5
