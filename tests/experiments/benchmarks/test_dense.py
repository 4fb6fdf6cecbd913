"""Segmentation's benchmark: its sides compute the same, all methods run."""

import jax
import numpy as np
import pytest

from experiments.benchmarks import dense, our_dense, ours, settings, timing
from experiments.configs import scenes
from kd_jax import methods
from kd_jax.models import torch_weights

SMALL = dense.SMALL._replace(shape=(32, 48, 3))


@pytest.fixture(scope='module')
def torch():
  return pytest.importorskip('torch', reason='PyTorch is not installed')


def test_the_pair_is_that_of_the_config():
  c, pair = scenes.get_config(), settings.SCENES
  assert tuple(c.networks.teacher.widths) == pair.teacher
  assert tuple(c.networks.student.widths) == pair.student
  assert (c.data.height, c.data.width) == pair.shape[:2]
  assert c.train.batch_size == pair.batch_size
  weights = c.terms.pixels.weight, c.terms.channels.weight
  assert weights == (settings.PIXELS, settings.CHANNELS)
  assert c.terms.channels.temperature == settings.CHANNELS_TEMPERATURE


def test_every_dense_method_is_measured():
  names = {entry.method for entry in our_dense.ENTRIES}
  assert set(methods.DENSE) <= names
  assert our_dense.PLAIN.method == 'pixel_kd'
  text = timing.README.read_text()
  assert 0 < text.find('<!-- dense -->') < text.find('<!-- end of dense -->')


@pytest.mark.slow
def test_steps_of_both_sides_are_the_same(torch):
  """Three steps from the same weights; the last loss shows two updates."""
  from experiments.benchmarks.pytorch import dense as twins

  cast = our_dense.cast_of(SMALL)
  networks = {name: twins.make(SMALL, name) for name in cast.variables}
  for name, twin in networks.items():
    state = torch_weights.state_dict(cast.variables[name], 'unet')
    given = {k: torch.tensor(x) for k, x in state.items()}
    left = twin.load_state_dict(given, strict=False)
    assert not left.unexpected_keys
    assert all('num_batches_tracked' in key for key in left.missing_keys)
  batches = [our_dense.batch_of(SMALL, i) for i in range(3)]
  training = our_dense.distilling(cast, batches[0])
  state, step = training.state, twins.make_step(networks['student'])
  networks['teacher'].eval()
  forward = ours.make_forward(cast, ('logits',))
  for i, batch in enumerate(batches):
    images, labels = twins.batch_of(SMALL, i)
    taught = twins.twins.ask(networks['teacher'], images)
    np.testing.assert_allclose(
      np.moveaxis(taught.numpy(), 1, -1),
      jax.device_get(forward(batch['inputs'])['logits']),
      rtol=1e-3,
      atol=1e-4,
    )
    state, metrics = training.step(state, training.frozen, batch)
    loss = step(images, labels, taught)
    np.testing.assert_allclose(
      float(dict(metrics.items())['loss']), loss, rtol=2e-4
    )


@pytest.mark.slow
def test_it_is_measured(torch, capsys):
  assert dense.main(['--quick', '--repeats', '1']) == 0
  text = capsys.readouterr().out
  rows = [line.split('|')[1:-1] for line in text.splitlines() if '|' in line]
  assert [len(row) for row in rows[:6]] == [4] * 6
  measured = {row[0].strip(): row for row in rows[8:]}
  assert set(measured) == {our_dense.label(e) for e in our_dense.ENTRIES}
  assert all(float(row[1]) > 0 for row in measured.values())
  assert float(measured['mgd decoder2'][4]) > 0


def test_a_wrong_number_of_repeats_is_one_line(torch, capsys):
  assert dense.main(['--repeats', '-1']) == 2
  assert capsys.readouterr().err.count('\n') == 1
