"""A PyTorch teacher distils: a file of weights, a folder, a config, a run."""

import sys

import numpy as np
import pytest

from experiments.benchmarks import ours
from kd_jax import build, config, metrics, models, network_files, training
from kd_jax.data import sources
from kd_jax.models import torch_weights
from kd_jax.models.torch_weights import __main__ as command
from kd_jax.training import finished
from tests.helpers import quick

CLASSES, SHAPE = 5, (16, 16, 3)


@pytest.fixture(scope='module')
def state():
  """The state dict of a resnet8, as PyTorch has it."""
  network = models.make_network('resnet8', CLASSES)
  variables = ours.initialize(network, np.zeros((1, *SHAPE), np.float32), 0)
  return torch_weights.state_dict(variables, 'resnet8')


def data():
  """Drawn images; the class shows in a corner."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 100, (96, *SHAPE), np.uint8)
  labels = np.arange(96) % CLASSES
  images[:, :4, :4] += (30 * labels).astype(np.uint8)[:, None, None, None]
  return sources.make_data(
    'arrays', train=(images, labels), test=(images, labels), classes=CLASSES
  )


def distil(source, folder) -> dict:
  """The command, then a config that loads what it wrote; what is trained."""
  words = [str(source), '--model', 'resnet8', '--out', str(folder / 'teacher')]
  assert command.main(words) == 0
  c = quick.get_config()
  c.networks.teacher = dict(load=str(folder / 'teacher'))
  c.train.steps, c.train.batch_size, c.baseline = 6, 16, False
  c.train.augment, c.checkpoint_every, c.eval_every = (), 3, 3
  config.validate(c)
  experiment = build.make_experiment(c, data())
  assert [stage.name for stage in experiment.stages] == ['student']
  session = finished.Session(folder / 'run', metrics.silent())
  session.folder.mkdir()
  return training.run(experiment, session)


def check(found, state):
  """The teacher is the file's, bit for bit, and the student has learnt."""
  assert set(found) == {'teacher', 'student'}
  ours_of = torch_weights.state_dict(found['teacher'], 'resnet8')
  assert set(ours_of) == set(state)
  for name, x in state.items():
    np.testing.assert_array_equal(ours_of[name], x)
  kernel = found['student']['params']['hidden1']['kernel']
  assert np.isfinite(kernel).all() and np.ptp(kernel) > 0


def test_from_safetensors_without_torch(tmp_path, state, monkeypatch):
  from safetensors import numpy as safetensors

  monkeypatch.setitem(sys.modules, 'torch', None)
  file = tmp_path / 'teacher.safetensors'
  safetensors.save_file(state, file)
  check(distil(file, tmp_path), state)
  _, spec = network_files.load_network(tmp_path / 'run/networks/student')
  assert spec['build']['name'] == 'mlp'


def test_from_a_pth_file(tmp_path, state):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  file = tmp_path / 'teacher.pth'
  tensors = {name: torch.from_numpy(x.copy()) for name, x in state.items()}
  torch.save({'model': tensors, 'epoch': 240}, file)
  check(distil(file, tmp_path), state)
