"""The processes that tests start: as many CPU devices as they say."""

import os

import pytest


def flags(devices: int = 1) -> str:
  """XLA's flags of these tests; of two equal ones the last counts."""
  own = os.environ.get('XLA_FLAGS', '')
  return f'{own} --xla_force_host_platform_device_count={devices}'.strip()


def environment(devices: int = 1) -> dict[str, str]:
  """That of these tests, on the CPU."""
  told = {'XLA_FLAGS': flags(devices), 'JAX_PLATFORMS': 'cpu'}
  return {**os.environ, **told}


def compile_as_a_user_does(monkeypatch: pytest.MonkeyPatch) -> None:
  """Takes from what a test starts the flags that compile in a hurry."""
  monkeypatch.setenv('XLA_FLAGS', '')
  monkeypatch.delenv('JAX_DISABLE_MOST_OPTIMIZATIONS', raising=False)
