"""The processes that tests start: as many CPU devices as they say."""

import os

FLAG = '--xla_force_host_platform_device_count={}'
# What conftest.py sets beside XLA's flags.
HURRY = 'JAX_DISABLE_MOST_OPTIMIZATIONS'


def flags(devices: int = 1) -> str:
  """XLA's flags of these tests; of two equal ones the last counts."""
  own = os.environ.get('XLA_FLAGS', '')
  return f'{own} {FLAG.format(devices)}'.strip()


def as_a_user(devices: int = 1) -> dict[str, str]:
  """The same without what the tests switch off to compile in a hurry."""
  told = {**environment(devices), 'XLA_FLAGS': FLAG.format(devices)}
  return {name: told[name] for name in told if name != HURRY}


def environment(devices: int = 1) -> dict[str, str]:
  """That of these tests, on the CPU."""
  told = {'XLA_FLAGS': flags(devices), 'JAX_PLATFORMS': 'cpu'}
  return {**os.environ, **told}
