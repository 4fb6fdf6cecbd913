"""The processes that tests start: as many CPU devices as they say."""

import os


def flags(devices: int = 1) -> str:
  """XLA's flags of these tests; of two equal ones the last counts."""
  own = os.environ.get('XLA_FLAGS', '')
  return f'{own} --xla_force_host_platform_device_count={devices}'.strip()


def environment(devices: int = 1) -> dict[str, str]:
  """That of these tests, on the CPU."""
  told = {'XLA_FLAGS': flags(devices), 'JAX_PLATFORMS': 'cpu'}
  return {**os.environ, **told}
