"""An experiment as it is run in a folder, for the tests of what is kept."""

import pathlib

from kd_jax import build, metrics, training


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
