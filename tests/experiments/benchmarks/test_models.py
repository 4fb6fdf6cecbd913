"""The twins of the zoo compute what the zoo does; their benchmark runs."""

import jax
import numpy as np
import pytest

from experiments.benchmarks import models as benchmark
from experiments.benchmarks import ours, sides, timing
from kd_jax import models
from kd_jax.models import torch_weights

CLASSES = 7


@pytest.fixture(scope='module')
def torch():
  return pytest.importorskip('torch', reason='PyTorch is not installed')


@pytest.fixture(scope='module')
def twins(torch):
  from experiments.benchmarks.pytorch import mobile as torch_mobile

  return torch_mobile


@pytest.mark.slow
@pytest.mark.parametrize(
  'name',
  ['resnet8', 'resnet8x4', 'wrn_16_2', 'vgg8', 'mobilenet_v2', 'shufflenet_v2'],
)
def test_a_twin_computes_the_same(name, torch, twins):
  torch.manual_seed(0)
  twin = twins.make(name, CLASSES).eval()
  for layer in twin.modules():
    if isinstance(layer, torch.nn.BatchNorm2d):
      torch.nn.init.normal_(layer.running_mean, 0, 0.1)
      torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
  variables = torch_weights.load(twin.state_dict(), name)
  images = np.random.default_rng(0).standard_normal((2, 32, 32, 3))
  images = images.astype(np.float32)
  network = models.make_network(name, CLASSES)
  found, _ = jax.jit(network.apply)(variables, images)
  with torch.no_grad():
    wanted = twin(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
  error = np.linalg.norm(found['logits'] - wanted.numpy())
  assert error < 1e-4 * np.linalg.norm(wanted.numpy())


def test_every_pair_has_both_sides(twins):
  names = {name for pair in benchmark.PAIRS for name in pair}
  assert len(benchmark.PAIRS) == 5
  assert names <= set(models.MODELS) and names <= set(twins.MODELS)


def test_a_pair_that_is_not_there_is_refused(capsys):
  with pytest.raises(SystemExit):
    benchmark.parse(['--pairs', 'vgg13,vgg9'])
  assert "unknown pair 'vgg13,vgg9'" in capsys.readouterr().err


def test_rows_count_images_and_not_seconds(monkeypatch):
  times = {'ours': [0.5, 0.25], 'theirs': [1.0, 1.0]}
  monkeypatch.setattr(
    sides, 'race', lambda entries, *_: ([times[s] for s, _ in entries], [])
  )
  pair = benchmark.settings.Pair('a', 'b', (4, 4, 3), 5, 10)
  found = benchmark.row('x', pair, ('ours', 'theirs'), 'step', 2, 0.1)
  assert found == ['x', '30 (25..35)', '10 (10..10)', '3.00 (2.50..3.50)']


@pytest.mark.slow
def test_the_step_of_our_side_learns():
  from experiments.benchmarks import our_models

  pair = benchmark.settings.Pair('resnet8', 'resnet8', (8, 8, 3), 5, 4)
  batch = ours.batch_of(pair)
  training = our_models.make_training(pair, batch)
  before = jax.device_get(training.state.params)
  state, metrics = training.step(training.state, training.frozen, batch)
  assert np.isfinite(float(dict(metrics.items())['loss']))
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, state.params)
  assert any(jax.tree.leaves(moved))


def test_the_readme_has_the_table():
  text = timing.README.read_text()
  assert 0 < text.find('<!-- models -->') < text.find('<!-- end of models -->')
