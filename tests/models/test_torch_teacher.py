"""A PyTorch teacher in a file teaches a student: the command, then a config."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from kd_jax import build, checkpoint, config, keep, metrics, models, train
from kd_jax.data import sources
from kd_jax.models import torch_weights
from kd_jax.models.torch_weights import __main__ as command

CLASSES, SHAPE = 4, (8, 8, 3)


@pytest.fixture(scope='module')
def data():
  """Drawn images of four classes, each brighter in its own corner."""
  rng = np.random.default_rng(0)
  labels = (np.arange(32) % CLASSES).astype(np.int32)
  images = rng.normal(size=(32, *SHAPE)).astype(np.float32)
  for label, image in zip(labels, images):
    row, column = divmod(int(label), 2)
    image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 2
  return sources.make_data(
    'arrays', train=(images, labels), test=(images, labels), validation=0
  )


@pytest.fixture(scope='module')
def state():
  """A teacher's weights as PyTorch has them."""
  network = models.make_network('resnet8', CLASSES)
  shapes = jax.eval_shape(
    network.init, jax.random.key(0), np.zeros((1, *SHAPE), np.float32)
  )
  rng = np.random.default_rng(1)
  drawn = jax.tree.map(
    lambda x: 1 + 0.1 * rng.normal(size=x.shape).astype(np.float32)
    if x.ndim == 1
    else rng.normal(0, np.prod(x.shape[:-1]) ** -0.5, x.shape).astype('f4'),
    shapes,
  )
  return torch_weights.state_dict(drawn, 'resnet8')


def convert(file, folder) -> int:
  """The command of the README; its exit code."""
  return command.main([
    str(file), '--model', 'resnet8', '--out', str(folder), '--inputs',
    *map(str, SHAPE),
  ])


def distil(folder, data) -> tuple[dict, list]:
  """Networks after a few steps of a student below the teacher in `folder`."""
  c = config.default()
  c.parallel, c.baseline = 'one', False
  c.networks.teacher = dict(load=str(folder))
  c.networks.student = dict(name='mlp', widths=[8])
  c.terms.soft = dict(method='kd', weight=1.0)
  c.train.steps, c.eval_every = 40, 10
  c.train.batch_size = c.teacher.batch_size = 32
  c.train.optimizer.learning_rate = 0.03
  made, rows = build.make_experiment(c, data), []
  assert [stage.name for stage in made.stages] == ['student']
  writer = metrics.Writer(lambda *row: rows.append(row), lambda: None)
  return train.run(made, keep.Loop(None, writer)), rows


def assert_taught(folder, state, data):
  """The student learns from the very weights of the file."""
  done, rows = distil(folder, data)
  losses = [values['loss/soft'] for _, _, values in rows]
  assert len(losses) > 2 and losses[-1] < losses[0] / 2
  found = torch_weights.state_dict(done['teacher'], 'resnet8')
  assert found.keys() == state.keys()
  for name, value in state.items():
    np.testing.assert_array_equal(found[name], value)


def test_a_safetensors_teacher_teaches(tmp_path, state, data, capsys):
  from safetensors import numpy as safetensors

  file = tmp_path / 'teacher.safetensors'
  safetensors.save_file(state, file)
  assert convert(file, tmp_path / 'teacher') == 0
  assert 'resnet8, 4 classes' in capsys.readouterr().out
  assert_taught(tmp_path / 'teacher', state, data)


def test_a_pth_teacher_teaches(tmp_path, state, data):
  """A checkpoint as RepDistiller leaves it: epoch, model, accuracy."""
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  tensors = {name: torch.tensor(x) for name, x in state.items()}
  file = tmp_path / 'ckpt_epoch_240.pth'
  torch.save({'epoch': 240, 'model': tensors, 'accuracy': 0.5}, file)
  assert convert(file, tmp_path / 'teacher') == 0
  variables, spec = checkpoint.load_network(tmp_path / 'teacher')
  assert spec['from']['file'] == file.name
  found = torch_weights.state_dict(variables, 'resnet8')
  assert found.keys() == state.keys()
  for name, value in state.items():
    np.testing.assert_array_equal(found[name], value)


def test_a_teacher_of_other_classes_is_refused(tmp_path, state, data):
  from safetensors import numpy as safetensors

  file = tmp_path / 'teacher.safetensors'
  head = {k: np.concatenate([x, x]) for k, x in state.items() if 'fc.' in k}
  assert len(head) == 2
  safetensors.save_file({**state, **head}, file)
  assert convert(file, tmp_path / 'teacher') == 0
  with pytest.raises(ValueError, match='8 classes and the data set'):
    distil(tmp_path / 'teacher', data)


def test_the_command_is_a_process_of_its_own(tmp_path):
  """A mistake is one line and exit code 2."""
  done = subprocess.run(
    [sys.executable, '-m', 'kd_jax.models.torch_weights', 'no.pth',
     '--model', 'resnet8', '--out', str(tmp_path / 'teacher')],
    capture_output=True, text=True, check=False,
  )
  assert done.returncode == 2
  assert done.stderr.startswith('error: no weights at no.pth')
  assert not (tmp_path / 'teacher').exists()
