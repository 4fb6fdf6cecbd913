"""What a process sets for speed and for bits that repeat, and where."""

import os
import subprocess
import sys

import jax
import pytest

from kd_jax import cli, errors, machine
from tests.helpers import quick

PAGES = 64 * 2**20 // 4096
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
    [sys.executable, '-c', CODE.format(call=call)],
    capture_output=True,
    text=True,
    check=True,
  )
  return int(done.stdout)


@pytest.mark.skipif(sys.platform != 'linux', reason='this system has no glibc')
def test_freed_memory_is_not_asked_for_again():
  kept = faults('assert machine.keep_freed()')
  assert kept < PAGES / 10
  assert faults('') > kept


def test_another_c_library_is_left_alone(monkeypatch):
  monkeypatch.setattr(machine.ctypes, 'CDLL', lambda name: object())
  assert not machine.keep_freed()


SETTLED = """
import jax, jax.numpy as jnp
before = jax.config.jax_compilation_cache_dir
import kd_jax
from tests import test_machine
jnp.ones(3).sum()  # something is compiled without a cache
assert jax.config.jax_compilation_cache_dir == before
{do}
print(jax.config.jax_compilation_cache_dir)
print(len(test_machine.entries(jax.config.jax_compilation_cache_dir)))
"""
ALONE = """
import numpy as np
from flax import linen as nn
class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(3)(x.reshape(len(x), -1))
x, y = np.ones((16, 2, 2, 1), 'f4'), np.arange(16) % 3
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
machine = __import__('kd_jax.machine').machine
machine._SECONDS = 0.0
kd_jax.train_alone(Net(), ((x, y), (x, y)), epochs=1, batch_size=8)
"""


def entries(folder) -> list[str]:
  return os.listdir(folder) if folder and os.path.isdir(folder) else []


def settled(tmp_path, do: str, **env) -> list[str]:
  """The cache's folder and the number of its entries in a new process."""
  clean = {k: v for k, v in os.environ.items() if 'COMPILATION_CACHE' not in k}
  done = subprocess.run(
    [sys.executable, '-c', SETTLED.format(do=do)],
    capture_output=True,
    text=True,
    check=False,
    env={**clean, 'HOME': str(tmp_path), **env},
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.split()[-2:]


def test_python_has_what_the_launcher_has(tmp_path):
  """A cache that is read too: even after something was compiled without."""
  place, count = settled(tmp_path, ALONE)
  assert place == str(tmp_path / '.cache/kd_jax') and int(count) > 0


@pytest.mark.slow
def test_importing_sets_nothing_and_a_users_cache_is_kept(tmp_path):
  assert settled(tmp_path, '')[0] == 'None'
  kept = {'JAX_COMPILATION_CACHE_DIR': str(tmp_path / 'own')}
  assert settled(tmp_path, ALONE, **kept)[0] == str(tmp_path / 'own')


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
def test_only_a_process_that_computes_on_cpu_keeps_memory(backend, monkeypatch):
  called = []
  monkeypatch.setattr(machine, 'keep_freed', lambda: called.append(1))
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  machine.settle.__wrapped__()
  assert called == [1] * (backend == 'cpu')


FLAG = '--xla_gpu_deterministic_ops'


@pytest.mark.parametrize(
  'before, after',
  [
    ('', f'{FLAG}=true'),
    ('--a=1', f'--a=1 {FLAG}=true'),
    (f'{FLAG}=true', f'{FLAG}=true'),
    (FLAG, FLAG),
    (f'{FLAG}=false', f'{FLAG}=false {FLAG}=true'),
    (f'{FLAG}_of_another=true', f'{FLAG}_of_another=true {FLAG}=true'),
  ],
)
def test_the_flag_is_added_where_it_is_not(before, after, monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', before)
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  if before != after:
    with pytest.raises(ValueError, match=f'{FLAG}=true.*the launcher sets it'):
      machine.need_deterministic()
  machine.make_deterministic()
  assert os.environ['XLA_FLAGS'] == after
  machine.need_deterministic()


def test_a_cpu_needs_no_flag(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '')
  machine.need_deterministic()


ASKS = """
import os, sys
from kd_jax import cli
assert cli.main(sys.argv[1:]) == 0
print(os.environ.get('XLA_FLAGS', ''))
"""


@pytest.mark.parametrize(
  'asked', [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_the_launcher_sets_it_before_jax_starts(asked):
  """XLA ends a process that names a flag that it does not know."""
  flags = f'--config.deterministic={asked}'
  done = subprocess.run(
    [
      sys.executable,
      '-c',
      ASKS,
      '--config',
      quick.__file__,
      '--dry_run',
      flags,
    ],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, 'XLA_FLAGS': ''},
  )
  assert done.returncode == 0, done.stderr
  assert (FLAG in done.stdout) == asked


def test_a_process_cannot_have_both(capsys):
  code = cli.main(
    [
      '--config',
      quick.__file__,
      '--sweep',
      'deterministic=True,False',
      '--list',
    ]
  )
  assert code == errors.USER
  said = capsys.readouterr().err
  assert 'of a whole process' in said and said.count('\n') == 1
