"""Whose folder a run is kept in, and what is known of its surroundings."""

import contextlib
import importlib.metadata
import pathlib
import platform
import shlex
import subprocess
import sys

import jax

from kd_jax import build, checkpoint, config, parallel

CONFIG = 'config.json'
_PACKAGES = (
  'jax',
  'flax',
  'optax',
  'orbax-checkpoint',
  'ml-collections',
  'tensorflow-datasets',
  'numpy',
)


def claim(folder: pathlib.Path, settings: dict) -> None:
  """Makes the folder of a run, or finds it again.

  Raises:
    ValueError: where it belongs to another config (the first key that
      differs), or cannot be written.
  """
  if jax.process_index():
    parallel.meet(f'{folder} is claimed')  # by the first; the others look
    _claim(folder, settings)
    return
  try:
    _claim(folder, settings)
  finally:
    parallel.meet(f'{folder} is claimed')


def _claim(folder: pathlib.Path, settings: dict) -> None:
  """What each process does."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / '.writable').touch()
    (folder / '.writable').unlink(missing_ok=True)
  except OSError as error:
    raise ValueError(
      f'workdir {folder} cannot be written: {error.strerror}'
    ) from None
  path = folder / CONFIG
  if path.exists():
    found = checkpoint.read_json(path)
    differs = config.first_difference(_results(settings), _results(found))
    if differs:
      raise ValueError(
        f'{folder} belongs to another config: {differs}; '
        'use another workdir, or remove this one'
      )
  elif any(p.name != '.writable' for p in folder.iterdir()):
    raise ValueError(f'{folder} is not empty and holds no run ({CONFIG})')
  if jax.process_index() == 0:
    checkpoint.write_json(path, settings)
    (folder / 'command.txt').write_text(shlex.join(sys.orig_argv) + '\n')
    checkpoint.write_json(folder / 'environment.json', environment())


def _results(settings: dict) -> dict:
  """The settings without those that do not change a result."""
  return {k: v for k, v in settings.items() if k not in build.LOOP}


def environment() -> dict:
  """Versions, devices and the commit of the code."""
  with contextlib.suppress(OSError, subprocess.SubprocessError):
    commit = subprocess.run(
      ['git', 'rev-parse', 'HEAD'],
      capture_output=True,
      text=True,
      timeout=5,
      cwd=pathlib.Path(__file__).parent,
      check=False,
    ).stdout.strip()
  return {
    'python': platform.python_version(),
    'machine': f'{platform.system()} {platform.machine()}',
    'devices': [str(d) for d in jax.devices()],
    'commit': commit or 'unknown',
    **{name: importlib.metadata.version(name) for name in _PACKAGES},
  }
