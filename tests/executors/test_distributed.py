"""Two processes with jax.distributed train as one."""

import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import children, marks, processes

ROOT = pathlib.Path(__file__).resolve().parents[2]


def start(port, rank, way, devices, file):
  """One of two processes, with so many CPU devices."""
  command = [
    sys.executable,
    '-m',
    'tests.helpers.processes',
    port,
    2,
    rank,
    way,
    file,
  ]
  return subprocess.Popen(
    list(map(str, command)),
    cwd=ROOT,
    env=children.environment(devices),
    text=True,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
  )


@pytest.mark.parametrize(
  'way, devices',
  marks.slow_but([('mesh', 1), ('pmap', 1), ('pmap', 2)], [('pmap', 1)]),
)
def test_two_processes_train_as_one(way, devices, tmp_path):
  files = [tmp_path / f'{rank}.npz' for rank in range(2)]
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  started = [start(port, rank, way, devices, files[rank]) for rank in range(2)]
  try:
    errors = [p.communicate(timeout=600)[1] for p in started]
  finally:
    for process in started:
      process.kill()
  assert not any(p.returncode for p in started), errors[0][-2000:]
  want = processes.train('one')
  for file in files:
    with np.load(file) as found:
      for x, name in zip(want, found.files, strict=True):
        np.testing.assert_allclose(found[name], x, rtol=2e-4, atol=1e-5)
