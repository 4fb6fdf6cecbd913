"""It trains: each method distils on digits, and its own loss falls."""

import math

import jax
import numpy as np
import pytest

from experiments.configs import digits_methods
from kd_jax import build, config, methods, metrics, network_files, training
from tests.helpers import marks

FILE = 'experiments/configs/digits_methods.py'
# Sequences and maps of predictions: test_devices trains on their outputs.
ELSEWHERE = {
  *methods.HARD, *methods.ATTENTION, *methods.TEXT, *methods.DENSE,
  *methods.INDEPENDENT,
}  # fmt: skip
POOLED = digits_methods.POOLED
NAMES = [*digits_methods.SOFT, *digits_methods.BESIDE]
QUICK = ('kd', 'dkd', 'fitnet', 'rkd')
STEPS, WINDOW = 48, 8


def small(name: str) -> config.ConfigDict:
  """The method's own config, some steps of it."""
  c = config.read(f'{FILE}:{name}')
  c.seeds, c.baseline, c.parallel, c.eval_every = 1, False, 'one', WINDOW
  c.networks.teacher = dict(name='cnn', hidden=32)
  if name in digits_methods.SOFT and name not in POOLED:
    c.networks.student = dict(name='mlp', widths=[32])  # logits are enough
  for part in (c.train, c.teacher):
    part.steps, part.batch_size = STEPS, 32
    part.optimizer.learning_rate = 1e-2
    part.optimizer.schedule = {'name': 'constant'}
  if name in POOLED:  # residual networks, which are slow and learn at once
    c.networks.teacher = dict(name='resnet8')
    c.teacher.steps, c.train.steps = WINDOW, 3 * WINDOW
  if name == 'sskd':
    c.terms.soft.projection_steps = WINDOW
  if name == 'ft':
    c.terms.soft.paraphraser_steps = WINDOW
  if name == 'crd':
    c.terms.soft.negatives, c.train.steps = 64, 10 * WINDOW
  return c


@pytest.fixture(scope='module')
def taught(tmp_path_factory):
  """(data, folder of a trained teacher)."""
  c = small('kd')
  made = build.make_experiment(c)
  made = made._replace(stages=made.stages[:1])
  done = training.run(made, training.Session(None, metrics.silent()))
  folder = tmp_path_factory.mktemp('networks') / 'teacher'
  spec = {'build': made.specs['teacher'], 'made_by': ''}
  network_files.save_network(folder, done['teacher'], spec)
  return made.data, folder


def test_every_method_is_here():
  assert {*NAMES} | ELSEWHERE == {*methods.METHODS}


@pytest.mark.parametrize('name', marks.slow_but(NAMES, QUICK))
def test_its_own_loss_falls(name, taught):
  data, folder = taught
  c = small(name)
  if name not in POOLED:
    c.networks.teacher = dict(load=str(folder))
  rows = []
  writer = metrics.Writer(
    lambda stage, step, values: rows.append({'stage': stage, **values}),
    lambda: None,
  )
  made = build.make_experiment(c, data)
  done = training.run(made, training.Session(None, writer))
  own = [row['loss/soft'] for row in rows if row['stage'] == 'student']
  assert all(
    math.isfinite(value)
    for row in rows
    for key, value in row.items()
    if key != 'stage'
  )
  if name in ('ft', 'sskd'):  # the first window trains the teacher's part
    own = own[1:]
  if name == 'crd':  # the memory's rows are noise until every image was seen
    own = own[-(-data.train.labels.size // 32) // WINDOW + 1 :]
  assert own[-1] < own[0]
  assert not any(np.isnan(x).any() for x in jax.tree.leaves(done['student']))
