"""An experiment as it is run in a folder, for the tests of what is kept."""

import pathlib

from kd_jax import build, config, metrics, network_files, training
from tests.helpers import quick


def experiment(**changes) -> build.Experiment:
  """The quick one on one device, with checkpoints often; `a__b` is key a.b."""
  c = quick.get_config()
  c.parallel, c.checkpoint_every = 'one', 8
  for key, value in changes.items():
    config.assign(c, key.replace('__', '.'), value)
  return build.make_experiment(c)


def hashes(folder: pathlib.Path) -> dict[str, str]:
  """{network: content hash} of the finished networks of a run."""
  return {
    path.name: network_files.load_network(path)[1]['hash']
    for path in sorted((folder / 'networks').iterdir())
  }


def run(
  made: build.Experiment, folder: pathlib.Path, stop_after: int | None = None
) -> pathlib.Path:
  """Trains in a folder; asks it to stop after so many times.

  Returns:
    The folder.
  """
  folder.mkdir(exist_ok=True)
  asked = []

  def stop():
    asked.append(1)
    return stop_after is not None and len(asked) >= stop_after

  writer = metrics.make_writer(folder)
  try:
    training.run(made, training.Session(folder, writer, stop))
  finally:
    writer.close()
  return folder
