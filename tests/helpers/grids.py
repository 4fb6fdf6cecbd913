"""Settings that train together as lanes, for the tests of the loop."""

import pathlib

import jax
import numpy as np

from kd_jax import config, metrics, network_files, runs, training
from kd_jax.training import loop

QUICK = str(pathlib.Path(__file__).with_name('quick.py'))
SETTINGS = {
  'a': {},
  'b': {'alpha': '0.5', 'temperature': '2.0'},
  'c': {'seed': '3', 'train.optimizer.learning_rate': '0.003'},
}


def settings(changes=SETTINGS, **common) -> dict[str, config.ConfigDict]:
  """{name: quick config with keys changed}."""
  made = {}
  for name, own in changes.items():
    c = config.read(QUICK)
    c.parallel, c.train.steps, c.teacher.steps = 'one', 12, 6
    c.checkpoint_every = c.eval_every = 4
    for key, value in {**common, **own}.items():
      config.change(c, key, value)
    made[name] = c
  return made


def networks(folder) -> dict[str, dict]:
  """{network: variables} that a run left."""
  return {
    path.name: network_files.load_network(path)[0]
    for path in sorted((folder / 'networks').iterdir())
  }


def same(ours, theirs) -> None:
  """Two folders hold the very same networks."""
  ours, theirs = networks(ours), networks(theirs)
  assert set(ours) == set(theirs)
  for name, variables in ours.items():
    jax.tree.map(np.testing.assert_array_equal, variables, theirs[name])


def together(configs, folder, plan=loop.ALONE, stop=lambda: False):
  """Trains settings as lanes, without the comparison that a launch ends in."""
  places = [
    runs.Place(c, folder / name, folder / name) for name, c in configs.items()
  ]
  group = runs.make_group(places)
  sessions = []
  for place, _ in group:
    place.folder.mkdir(parents=True, exist_ok=True)
    writer = metrics.make_writer(place.folder)
    sessions.append(
      training.Session(place.folder, writer, stop, folder / 'shelf')
    )
  try:
    return training.run_all([made for _, made in group], sessions, plan)
  finally:
    for session in sessions:
      session.writer.close()
