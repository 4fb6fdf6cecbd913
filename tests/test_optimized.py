"""Bit for bit with the optimizations that a user has; see tests/conftest.py.

The other tests compile in a hurry. XLA may well compute other bits when it
optimizes, so those that say "the same bits" of a training (marked `bits`) say
it here once more.
"""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Resumed runs and damaged checkpoints; lanes beside single runs.
FILES = ('tests/training/test_resume.py', 'tests/training/test_loop.py')
# By vmap a lane is its own run to rounding only.
COMMAND = (
  *(sys.executable, '-m', 'pytest', '-n', '0'),
  *('-m', 'bits', '-k', 'not vmap'),
)
# What conftest sets for the tests in a hurry, and what a worker has of its own.
HURRY = ('XLA_FLAGS', 'JAX_DISABLE_MOST_OPTIMIZATIONS', 'JAX_COMPILATION_CACHE')
WORKER = ('PYTEST_', 'JAX_PERSISTENT_CACHE', 'KD_JAX_PASSED')


@pytest.mark.slow
@pytest.mark.parametrize('file', FILES)
def test_the_same_bits_as_a_user_has_them(file):
  kept = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith((*HURRY, *WORKER))
  }
  done = subprocess.run(
    [*COMMAND, file],
    cwd=ROOT,
    env={**kept, 'KD_JAX_TESTS_OPTIMIZED': '1'},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
  assert ' passed' in done.stdout
