"""The benchmarks run, and their two sides compute the same numbers."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments import pages
from experiments.benchmarks import settings, sides, timing
from kd_jax import methods
from tests.helpers import children

ROOT = pathlib.Path(__file__).resolve().parents[3]
TWINS = (
  'cross_entropy',
  'kd',
  'lskd',
  'dkd',
  'nkd',
  'dist',
  'at',
  'nst',
  'sp',
  'pkt',
  'rkd',
  'rkd_distance',
  'rkd_angle',
  'fitnet',
  'feature_mse',
  'feature_cosine',
  'vid',
  'cc',
  'info_nce',
)
SMALL = settings.PAIRS['stages']._replace(shape=(8, 8, 3), batch_size=6)


@pytest.fixture(scope='module')
def torch():
  return pytest.importorskip('torch', reason='PyTorch is not installed')


def slow(count):
  """A task's work; it fails when asked for 13."""
  if count == 13:
    raise ValueError('13 is too much\nof it')


def makers(name):
  """Tasks for a side of the tests."""
  if name == 'none':
    raise ValueError('nothing to make')
  return {name: lambda: sides.Task(slow, {'name': name})}


def start(name):
  return sides.start(
    'side', 'tests.experiments.benchmarks.test_sides:makers', name
  )


def test_every_method_of_the_table_is_measured():
  rest = [name for name in methods.METHODS if name not in settings.names()]
  assert rest == [*methods.TEXT, *methods.DENSE, *methods.INDEPENDENT]
  for name in settings.names():
    assert settings.entry(name).pair in settings.PAIRS


@pytest.mark.slow
def test_sides_take_turns_and_survive_what_fails():
  with start('a') as one, start('b') as two:
    entries = [(one, 'a'), (two, 'b')]
    times, facts = sides.race(entries, 3, 1e-4)
    assert [len(x) for x in times] == [3, 3]
    assert [x['name'] for x in facts] == ['a', 'b']
    with pytest.raises(RuntimeError, match='side: ValueError: 13 is too much$'):
      sides.ask(one, 'time', 'a', 13)
    assert sides.ask(one, 'time', 'a', 1) > 0
    assert sides.ask(one, 'memory') > 1e6
    process = one.process
  assert not process.is_alive()


@pytest.mark.slow
def test_a_side_that_cannot_be_made_says_why():
  with pytest.raises(RuntimeError, match='nothing to make'), start('none'):
    pass


@pytest.mark.slow
def test_a_side_that_hangs_is_ended(monkeypatch):
  with start('a') as side:
    monkeypatch.setattr(sides, 'PATIENCE', 0.2)
    os.kill(side.process.pid, 19)
    with pytest.raises(RuntimeError, match='hangs'):
      sides.ask(side, 'memory')
    assert not sides.alive(side)
    with pytest.raises(RuntimeError, match='ended'):
      sides.ask(side, 'memory')


def test_ratios_are_taken_within_a_repeat():
  ratio = timing.ratio([1, 2, 30, 4, 5], [2, 4, 60, 4, 1])
  assert ratio == timing.Spread(0.5, 0.5, 1.0)
  assert timing.shown(ratio) == '0.50 (0.50..1.00)'
  assert timing.spread([3.0]) == timing.Spread(3.0, 3.0, 3.0)


def test_tables_go_between_their_markers(tmp_path):
  path = tmp_path / 'README.md'
  path.write_text('a\n<!-- step -->\nold\n<!-- end of step -->\nb\n')
  pages.keep(path, 'step', 'new')
  assert path.read_text() == (
    'a\n<!-- step -->\nnew\n<!-- end of step -->\nb\n'
  )
  with pytest.raises(ValueError, match='methods'):
    pages.keep(path, 'methods', 'new')


def test_the_readme_has_both_tables():
  text = timing.README.read_text()
  for name in ('step', 'methods'):
    assert 0 < text.find(f'<!-- {name} -->') < text.find(f'of {name} -->')


def copy_weights(variables, module, torch):
  """The arrays of kd_jax's parts into the PyTorch parts, in their order."""
  ours = [x for x in jax.tree.leaves(variables['params']) if x.ndim > 1]
  theirs = [x for x in module.parameters() if x.ndim > 1]
  with torch.no_grad():
    for x, y in zip(ours, theirs, strict=True):
      x = np.asarray(x).reshape(-1, x.shape[-1]).T
      y.copy_(torch.from_numpy(x.reshape(y.shape).copy()))
    for name, x in module.named_parameters():
      if name.endswith('bias'):
        x.zero_()


@pytest.fixture(scope='module')
def outputs():
  """Outputs of either side, NHWC, with their zeros of ReLU."""
  from experiments.benchmarks import our_methods, ours

  cast, batch = our_methods.cast_of(SMALL), ours.batch_of(SMALL)
  found = [
    jax.jit(cast.networks[n].apply)(cast.variables[n], batch['inputs'])[0]
    for n in ('student', 'teacher')
  ]
  return *found, batch


def to_torch(torch, outputs):
  return {
    name: torch.from_numpy(np.moveaxis(np.array(x), -1, 1).copy())
    for name, x in outputs.items()
  }


def test_the_twins_are_those(torch):
  from experiments.benchmarks.pytorch import losses as torch_losses

  assert set(torch_losses.TWINS) == set(TWINS)


@pytest.mark.slow
@pytest.mark.parametrize('name', [n for n in TWINS if n != 'cross_entropy'])
def test_a_twin_computes_the_same(name, outputs, torch):
  from experiments.benchmarks.pytorch import losses as torch_losses
  from experiments.benchmarks.pytorch import torchdistill

  student, teacher, batch = outputs
  made = methods.make_method(name, **settings.entry(name).options)
  variables = made.init(jax.random.key(0), student, teacher)
  want, _ = made.loss(variables, student, teacher, batch, made.hparams)
  twin = torch_losses.TWINS[name]
  parts = twin.parts()
  copy_weights(variables, parts, torch)
  sides_ = [to_torch(torch, x) for x in (student, teacher)]
  labels = torch.from_numpy(np.array(batch['labels'])).long()
  want = float(want.mean())
  got = twin.loss(parts, *sides_, labels)
  np.testing.assert_allclose(got.item(), want, rtol=1e-4)
  # torchdistill's SP is another formula.
  if name != 'sp' and name in torchdistill.losses():
    got = torchdistill.losses()[name](None, *sides_, labels)
    np.testing.assert_allclose(got.item(), want, rtol=1e-4)


@pytest.mark.slow
def test_steps_of_both_sides_are_the_same(torch):
  """Three steps of Adam from the same weights, on the same batches."""
  from experiments.benchmarks import ours
  from experiments.benchmarks.pytorch import networks
  from kd_jax.models import torch_weights

  pair = settings.CNNS._replace(shape=(8, 8, 1), batch_size=4)
  cast, batches = ours.cnns(pair), [ours.batch_of(pair, i) for i in range(3)]
  twins = {
    'teacher': networks.teacher_of(pair),
    'student': networks.student_of(pair),
  }
  for name, twin in twins.items():
    state = torch_weights.state_dict(cast.variables[name], f'cnn_{name}')
    twin.load_state_dict({k: torch.tensor(x) for k, x in state.items()})
  training, step = (
    ours.hinton(cast, batches[0]),
    networks.make_step(twins['student']),
  )
  state = training.state
  for i, batch in enumerate(batches):
    state, metrics = training.step(state, training.frozen, batch)
    images, labels = networks.batch_of(pair, i)
    loss = step(images, labels, networks.ask(twins['teacher'], images))
    ours_loss = float(dict(metrics.items())['loss'])
    np.testing.assert_allclose(ours_loss, loss, rtol=1e-4)


def run(module, *argv):
  """What a benchmark prints, in a process of its own."""
  done = subprocess.run(
    [sys.executable, '-m', f'experiments.benchmarks.{module}', *argv],
    capture_output=True,
    text=True,
    cwd=ROOT,
    check=False,
    env=children.environment(),
  )
  return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_step_is_measured(torch):
  code, text, error = run('step', '--quick', '--batch_sizes', '2')
  assert code == 0, error
  rows = [line.split('|')[1:-1] for line in text.splitlines() if '|' in line]
  assert [len(row) for row in rows] == [4] * 13
  assert 'whole step, batch 2 (ms)' in text
  first = next(row for row in rows if 'first step' in row[0])
  assert all(float(x.split()[0]) > 0 for x in first[1:])


@pytest.mark.slow
def test_methods_are_measured(torch):
  code, text, error = run('methods', '--quick', '--methods', 'kd', 'at', 'ab')
  assert code == 0, error
  rows = [line.split('|')[1:-1] for line in text.splitlines() if '|' in line]
  kd, at, ab = rows[2:]
  assert [row[0].strip() for row in (kd, at, ab)] == ['kd', 'at', 'ab']
  assert float(at[6].split()[0]) > 0
  assert not ab[6].strip()
  assert float(ab[4]) > float(kd[4]) == 0


@pytest.mark.slow
def test_operations_are_measured(torch):
  code, text, error = run('operations', '--quick')
  assert code == 0, error
  rows = [line.split('|')[1:-1] for line in text.splitlines() if '|' in line]
  assert [len(row) for row in rows] == [9] * 3
  assert all(float(x) >= 0 for x in rows[2][1:])


@pytest.mark.slow
def test_an_unknown_method_is_one_line():
  code, _, error = run('methods', '--methods', 'kdd')
  assert code == 2
  assert error.startswith("error: unknown method 'kdd'; did you mean 'kd'?")
  assert error.count('\n') == 1
