"""Jobs that stand in for a training: a few lines of Python each."""

import pathlib
import sys

from kd_jax.executors import jobs

# What a training does, without one: says so, listens, works, reports.
WORK = """
import json, os, pathlib, signal, sys, time
folder, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
caught = []
signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
keys = 'CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS'
told = {k: os.environ.get(k) for k in keys}
cores = sorted(os.sched_getaffinity(0))
(folder / 'config.json').write_text(json.dumps({**told, 'cores': cores}))
with open(folder / 'begun', 'a') as file:
  file.write('x')
end = time.time() + seconds
while time.time() < end and not caught:
  time.sleep(0.01)
if caught:
  (folder / 'saved').touch()
  sys.exit(130)
(folder / 'report.json').write_text('{"networks": {}}')
"""
FAIL = "import sys; print('step 1'); sys.exit('error: no such thing')"
RAISE = "print('step 1'); raise ValueError('a number')"
KILLED = 'import os; print("ValueError: old"); os.kill(os.getpid(), 9)'
NOTHING = 'pass'


def job(workdir: pathlib.Path, name: str, code=WORK, seconds=0.0) -> jobs.Job:
  """A job that runs some code."""
  folder = workdir / name
  command = sys.executable, '-S', '-c', code, str(folder), str(seconds)
  return jobs.Job(name, command, folder)


def begun(made: jobs.Job) -> int:
  """How often it began."""
  path = made.folder / 'begun'
  return len(path.read_text()) if path.exists() else 0
