"""All sides of a benchmark are on one device, or nothing runs."""

import os

import pytest

from experiments.benchmarks import (
  devices,
  loop,
  models,
  rows,
  sides,
  step,
  sweep,
  timing,
)

BOTH = ('jax', 'torch')


def finds(monkeypatch, **kinds):
  monkeypatch.setattr(
    devices,
    'probe',
    lambda libraries, changes: {n: kinds[n] for n in libraries},
  )


def test_a_cpu_is_not_looked_for(monkeypatch):
  finds(monkeypatch)
  assert devices.resolve('cpu', BOTH) == 'cpu'


def test_without_a_name_it_is_what_jax_finds(monkeypatch):
  finds(monkeypatch, jax='cpu', torch='gpu')
  assert devices.resolve(None, BOTH) == 'cpu'
  finds(monkeypatch, jax='gpu', torch='gpu')
  assert devices.resolve(None, BOTH) == 'gpu'
  finds(monkeypatch, jax='gpu')
  assert devices.resolve(None, ['jax']) == 'gpu'


def test_a_gpu_is_never_compared_with_a_cpu(monkeypatch):
  finds(monkeypatch, jax='gpu', torch='cpu')
  for name in (None, 'gpu'):
    with pytest.raises(ValueError, match='PyTorch cannot use here'):
      devices.resolve(name, BOTH)
  finds(monkeypatch, jax='', torch='gpu')
  with pytest.raises(ValueError, match='which JAX cannot'):
    devices.resolve('gpu', BOTH)


def test_another_kind_of_device_is_refused(monkeypatch):
  finds(monkeypatch, jax='tpu', torch='cpu')
  with pytest.raises(ValueError, match="'tpu'; legal: cpu, gpu"):
    devices.resolve(None, BOTH)


@pytest.mark.parametrize('benchmark', [loop, models, rows, step, sweep])
def test_a_missing_gpu_is_one_line(benchmark, monkeypatch, capsys):
  finds(monkeypatch, jax='cpu', torch='cpu')
  monkeypatch.setattr(timing, 'missing_torch', lambda: '')
  assert benchmark.main(['--device', 'gpu']) == 2
  error = capsys.readouterr().err
  assert error.startswith('error: --device gpu, which ')
  assert error.count('\n') == 1


def test_the_probe_asks_the_library():
  assert devices.probe(['jax'], {'JAX_PLATFORMS': 'cpu'}) == {'jax': 'cpu'}


def test_jax_may_not_fall_back_and_leaves_memory_to_others():
  told = devices.environment('gpu')
  assert told['JAX_PLATFORMS'].startswith('cuda')
  assert told['XLA_PYTHON_CLIENT_PREALLOCATE'] == 'false'
  assert devices.environment('cpu') == {'JAX_PLATFORMS': 'cpu'}


def test_beside_a_gpu_no_core_is_taken_away(monkeypatch):
  kept = []
  monkeypatch.setattr(
    os, 'sched_setaffinity', lambda _, cores: kept.append(cores), raising=False
  )
  sides.settle('gpu')
  assert not kept
  sides.settle('cpu')
  assert len(kept) == 1


def test_the_machine_of_a_gpu_names_it(monkeypatch):
  monkeypatch.setattr(devices, 'describe', lambda: 'NVIDIA X, driver 1.2')
  text = timing.machine(['jax'], 'gpu')
  assert text.startswith('NVIDIA X, driver 1.2; ')
  assert 'which all are used' in text and 'TF32 on both sides' in text
  assert 'NVIDIA' not in timing.machine(['jax'])


def test_a_machine_without_nvidia_smi_says_so(monkeypatch):
  monkeypatch.setenv('PATH', '')
  assert devices.describe() == 'a GPU that nvidia-smi does not name'
