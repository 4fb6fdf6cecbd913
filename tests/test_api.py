"""distill and train_alone: the config's road, folders told apart, bad input."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import kd_jax
from kd_jax import checkpoint, compare, config, errors, network_files, runs
from tests.helpers import children

ROOT = pathlib.Path(__file__).resolve().parents[1]
CLASSES = 4


class Net(nn.Module):
  """A hidden layer; `act` is a function, to be told from others by."""

  width: int = 8
  act: str = 'relu'

  @nn.compact
  def __call__(self, x):
    hidden = nn.Dense(self.width)(x.reshape(len(x), -1))
    hidden = getattr(nn, self.act)(hidden)
    return {'hidden': hidden, 'logits': nn.Dense(CLASSES)(hidden)}


def arrays(seed=0, size=96):
  """Images [N, 3, 3, 1] and labels that can be learnt from them."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, CLASSES, size)
  images = rng.normal(size=(size, 3, 3, 1)).astype('f4')
  images[:, 0, 0, 0] += labels
  return images, labels


DATA = arrays(), arrays(1, 40)
SMALL = dict(epochs=2, batch_size=16)


@pytest.fixture(scope='module')
def teacher():
  """What train_alone returned."""
  return kd_jax.train_alone(Net(12), DATA, **SMALL)


@pytest.fixture(scope='module')
def first(teacher, tmp_path_factory):
  """A folder, and what the first call there returned."""
  folder = tmp_path_factory.mktemp('api') / 'run'
  return folder, call(teacher, folder)


def call(teacher, folder, student=None, variables=None, data=DATA, **changes):
  return kd_jax.distill(
    student or Net(), Net(12), variables or teacher, data,
    **{**SMALL, 'workdir': folder, **changes},
  )  # fmt: skip


def equal(a, b) -> bool:
  return checkpoint.content_hash(jax.device_get(a)) == checkpoint.content_hash(
    jax.device_get(b)
  )


def test_the_same_call_again_is_the_finished_result(teacher, first, capsys):
  folder, done = first
  again = call(teacher, folder)
  assert equal(again.variables, done.variables)
  assert equal(again.best, done.best)
  assert again.history == done.history
  assert len(done.history) == 2
  assert again.accuracy == done.accuracy
  assert f'student: finished before, read from {folder}' in (
    capsys.readouterr().err
  )


@pytest.mark.parametrize(
  'changes, word',
  [
    (dict(temperature=2.0), 'temperature is 2.0 now and 4.0 there'),
    (dict(alpha=0.5), 'alpha is 0.5 now and 0.9 there'),
    (dict(method='dkd'), "terms.soft.* is .*'dkd' now|terms.soft"),
    (dict(beta=1.0, layers=[('hidden', 'hidden')]), 'beta'),
    (dict(learning_rate=1e-2), 'learning_rate'),
    (dict(weight_decay=1e-2), 'weight_decay'),
    (dict(optimizer='sgd'), 'optimizer.name'),
    (dict(schedule='cosine'), 'schedule'),
    (dict(augment=('shift',)), 'augment'),
    (dict(seed=1), 'seed'),
    (dict(epochs=3), 'epochs'),
    (dict(batch_size=32), 'batch_size'),
    (dict(data=(arrays(2), DATA[1])), 'data'),
    (dict(data=((DATA[0][0], DATA[0][1][::-1]), DATA[1])), 'data'),
    (dict(student=Net(9)), 'given.student'),
    (dict(student=Net(8, 'tanh')), 'given.student'),
  ],
  ids=lambda x: next(iter(x)) if isinstance(x, dict) else None,
)
def test_another_call_in_the_folder_is_refused(changes, word, teacher, first):
  folder, done = first
  with pytest.raises(ValueError, match=word) as refused:
    call(teacher, folder, **changes)
  assert str(folder) in str(refused.value)
  assert '\n' not in str(refused.value)
  kept, _ = network_files.load_network(folder / 'networks/student')
  assert equal(kept, done.variables)


def test_another_teacher_in_the_folder_is_refused(teacher, first):
  other = jax.tree.map(lambda x: x + 0.5, teacher.variables)
  with pytest.raises(ValueError, match='networks.teacher'):
    call(teacher, first[0], variables=other)


def test_train_alone_then_distill_in_one_folder(teacher, tmp_path):
  kd_jax.train_alone(Net(), DATA, workdir=tmp_path / 'w', **SMALL)
  with pytest.raises(ValueError, match='belongs to another config'):
    call(teacher, tmp_path / 'w')


def test_overwrite_moves_the_old_aside(teacher, tmp_path):
  folder = tmp_path / 'w'
  before = call(teacher, folder)
  after = call(teacher, folder, temperature=1.0, overwrite=True)
  assert not equal(before.variables, after.variables)
  kept, _ = network_files.load_network(tmp_path / 'w.replaced/networks/student')
  assert equal(kept, before.variables)


def test_overwrite_moves_nothing_that_is_not_a_run(teacher, tmp_path):
  (tmp_path / 'thesis.txt').write_text('mine')
  with pytest.raises(ValueError, match='neither a run nor a sweep'):
    call(teacher, tmp_path, overwrite=True)
  assert (tmp_path / 'thesis.txt').read_text() == 'mine'


def test_the_same_network_from_other_source_text_is_the_same(teacher, first):
  class Renamed(nn.Module):
    @nn.compact
    def __call__(self, x):
      hidden = nn.relu(nn.Dense(8, name='Dense_0')(x.reshape(len(x), -1)))
      return {
        'hidden': hidden,
        'logits': nn.Dense(CLASSES, name='Dense_1')(hidden),
      }

  again = call(teacher, first[0], student=Renamed())
  assert equal(again.variables, first[1].variables)


@pytest.mark.slow
def test_without_a_validation_set_the_best_is_the_last(tmp_path):
  (train, test), folder = DATA, tmp_path / 'run'
  data = kd_jax.make_data('arrays', train=train, test=test, validation=0)
  alone = kd_jax.train_alone(Net(), data, workdir=folder, **SMALL)
  assert equal(alone.best, alone.variables)
  _, spec = network_files.load_network(folder / 'networks/student_best')
  scores = spec['validation']
  assert np.isnan(scores['best']) and scores['best_step'] == spec['steps'] == 12
  # No row of a report says that it was chosen.
  experiment = types.SimpleNamespace(config={})
  found = compare.other_moments(experiment, folder, ['student'])
  assert found == {'last': {}, 'best': {}}


def test_it_takes_the_road_of_a_config(teacher, first, tmp_path):
  """A config with the same values gives the same student, bit for bit."""
  folder, _ = first
  made = checkpoint.read_json(folder / 'config.json')
  c = config.default()
  c.networks.student, c.networks.teacher = {'given': True}, {'given': True}
  c.terms.hard = dict(method='cross_entropy', weight=1 - c.alpha)
  c.terms.soft = dict(method='kd', weight=0.9, temperature=4.0)
  c.train.epochs, c.baseline = 2, False
  c.train.batch_size = c.teacher.batch_size = 16
  assert made == config.to_json(config.resolve(c))


def test_history_without_a_folder_is_that_with_one(teacher, first):
  assert call(teacher, None).history == first[1].history


def test_it_prints_short_and_draws_itself(first):
  text = repr(first[1])
  assert len(text) < 200
  assert 'student' in text
  assert '<svg' in first[1].plot().text


class Module(nnx.Module):
  """The network as an NNX module."""

  def __init__(self, rngs):
    self.hidden = nnx.Linear(9, 8, rngs=rngs)
    self.out = nnx.Linear(8, CLASSES, rngs=rngs)

  def __call__(self, x):
    return self.out(nnx.relu(self.hidden(x.reshape(len(x), -1))))


def test_nnx_instances_are_networks():
  module = Module(nnx.Rngs(0))
  done = kd_jax.distill(module, Module(nnx.Rngs(1)), None, DATA, **SMALL)
  before = np.asarray(module.hidden.kernel[...])
  assert not np.array_equal(
    done.variables['params']['hidden']['kernel'], before
  )
  # The student starts from what the module holds.
  short = kd_jax.train_alone(
    module, DATA, epochs=1, batch_size=16, learning_rate=0.0
  )
  np.testing.assert_array_equal(
    short.variables['params']['hidden']['kernel'], before
  )


def test_a_distilled_is_a_teacher(teacher):
  a = kd_jax.distill(Net(), teacher, data=DATA, **SMALL)
  b = kd_jax.distill(Net(), Net(12), teacher, DATA, **SMALL)
  c = kd_jax.distill(Net(), Net(12), teacher.variables, DATA, **SMALL)
  assert equal(a.variables, b.variables)
  assert equal(a.variables, c.variables)


def test_soft_labels_and_missing_classes(teacher):
  soft = np.eye(CLASSES, dtype='f4')[DATA[0][1]]
  hard = kd_jax.train_alone(Net(), DATA, **SMALL)
  both = kd_jax.train_alone(Net(), ((DATA[0][0], soft), DATA[1]), **SMALL)
  np.testing.assert_allclose(
    both.history[-1]['loss'], hard.history[-1]['loss'], rtol=1e-5
  )
  # A training set without the last class; the network has it.
  some = DATA[0][1] < CLASSES - 1
  lacks = (DATA[0][0][some], DATA[0][1][some]), DATA[1]
  kd_jax.train_alone(Net(), lacks, **SMALL)


BAD = {
  'temperature 0': (dict(temperature=0.0), 'temperature'),
  'temperature -1': (dict(temperature=-1.0), 'temperature'),
  'temperature nan': (dict(temperature=float('nan')), 'temperature'),
  'temperature text': (dict(temperature='4'), 'temperature.*str'),
  'temperature list': (dict(temperature=[4.0]), 'temperature'),
  'temperature unused': (dict(temperature=2.0, method='logit_mse'), 'has none'),
  'alpha 2': (dict(alpha=2.0), 'alpha'),
  'alpha nan': (dict(alpha=float('nan')), 'alpha'),
  'alpha text': (dict(alpha='0.5'), 'alpha.*str'),
  'alpha none': (dict(alpha=None), 'alpha'),
  'beta -1': (dict(beta=-1.0), 'beta'),
  'beta without layers': (dict(beta=5.0), 'layers'),
  'layers without beta': (dict(layers=[('hidden', 'hidden')]), 'beta'),
  'layers unknown': (dict(beta=1.0, layers=[('hid', 'hidden')]), 'hidden'),
  'layers text': (dict(beta=1.0, layers='hidden'), 'layers must be a list'),
  'method': (dict(method='kdd'), "'kd'"),
  'feature method': (dict(feature_method='nope'), 'nope'),
  'epochs 0': (dict(epochs=0), 'epochs'),
  'epochs -1': (dict(epochs=-1), 'epochs'),
  'epochs half': (dict(epochs=0.5), 'epochs.*int'),
  'epochs text': (dict(epochs='2'), 'epochs.*int'),
  'batch 0': (dict(batch_size=0), 'batch_size'),
  'batch float': (dict(batch_size=64.0), 'batch_size.*int'),
  'batch large': (dict(batch_size=10**6), 'batch_size'),
  'optimizer': (dict(optimizer='rmsprop'), 'adam'),
  'optimizer object': (dict(optimizer=3), 'optimizer'),
  'rate -1': (dict(learning_rate=-1.0), 'learning_rate'),
  'rate nan': (dict(learning_rate=float('nan')), 'learning_rate'),
  'rate text': (dict(learning_rate='1e-3'), 'learning_rate.*str'),
  'rate function': (dict(learning_rate=lambda n: n), 'learning_rate'),
  'decay -1': (dict(weight_decay=-1.0), 'weight_decay'),
  'schedule': (dict(schedule='cosin'), 'cosine'),
  'schedule none': (dict(schedule=None), 'schedule'),
  'augment text': (dict(augment='flip'), 'augment must be a list'),
  'augment': (dict(augment=['flop']), 'flip'),
  'seed -1': (dict(seed=-1), 'seed'),
  'seed float': (dict(seed=1.5), 'seed'),
  'seed large': (dict(seed=2**40), 'seed'),
  'classes': (dict(classes=7), '7'),
  'workdir empty': (dict(workdir=''), 'workdir'),
  'workdir number': (dict(workdir=3), 'workdir'),
  'workdir remote': (dict(workdir='gs://bucket/x'), 'gs://'),
  'workdir file': (dict(workdir=__file__), 'cannot be written'),
  'student none': (dict(student=3), 'student'),
  'student class': (dict(student=Net), 'instance'),
  'student function': (dict(student=lambda x: x), 'from_function'),
  'teacher none': (dict(variables={}), "'params'"),
  'teacher params only': (dict(variables={'kernel': 1}), 'kernel'),
  'labels from 1': (
    dict(data=((DATA[0][0], DATA[0][1] + 1), DATA[1])), 'out of range'
  ),
  'labels text': (
    dict(data=((DATA[0][0], DATA[0][1].astype(str)), DATA[1])), 'labels'
  ),
  'labels none': (dict(data=((DATA[0][0], None), DATA[1])), 'labels'),
  'labels short': (dict(data=((DATA[0][0], DATA[0][1][1:]), DATA[1])), '95'),
  'labels of zeros': (
    dict(data=((DATA[0][0], np.zeros((96, CLASSES), 'f4')), DATA[1])),
    'sum to 1',
  ),
  'no images': (
    dict(data=((DATA[0][0][:0], DATA[0][1][:0]), DATA[1])), 'empty'
  ),
  'images flat': (dict(data=((DATA[0][0][:, 0], DATA[0][1]), DATA[1])), 'rank'),
  'data none': (dict(data=None), 'data'),
  'data text': (dict(data='digits'), 'data'),
  'data dict': (dict(data={'train': DATA[0]}), 'data'),
  'data three': (dict(data=(*DATA, DATA[1])), 'data'),
}  # fmt: skip


@pytest.mark.parametrize('name', BAD)
def test_bad_input_is_one_line_before_any_work(name, teacher, tmp_path):
  changes, words = BAD[name]
  options = {**SMALL, 'workdir': tmp_path / 'w', **changes}
  student = options.pop('student', Net())
  variables = options.pop('variables', teacher)
  data = options.pop('data', DATA)
  with pytest.raises(ValueError, match=words) as refused:
    kd_jax.distill(student, Net(12), variables, data, **options)
  assert '\n' not in str(refused.value)
  assert not list(tmp_path.rglob('metrics.jsonl'))


def test_train_alone_takes_nothing_of_a_teacher():
  with pytest.raises(ValueError, match='temperature'):
    kd_jax.train_alone(Net(), DATA, temperature=2.0)
  with pytest.raises(ValueError, match='without a teacher'):
    kd_jax.distill(Net(), None, None, DATA)


def test_a_nan_before_any_update_names_its_cause(teacher):
  bad = jax.tree.map(lambda x: np.full_like(x, np.nan), teacher.variables)
  with pytest.raises(errors.DivergedError, match='nothing was updated') as nan:
    call(teacher, None, variables=bad)
  assert 'learning rate' not in str(nan.value)


INTERRUPTED = """
import sys
import numpy as np
from tests import test_api
import kd_jax
done = kd_jax.train_alone(
  test_api.Net(), test_api.DATA, epochs=int(sys.argv[2]), batch_size=16,
  workdir=sys.argv[1],
)
print(len(done.history))
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves(number, tmp_path):
  folder = tmp_path / 'w'
  command = [sys.executable, '-c', INTERRUPTED, str(folder), '40000']
  process = subprocess.Popen(
    command, cwd=ROOT, env=children.environment(), stderr=subprocess.PIPE,
    text=True,
  )  # fmt: skip
  rows = folder / 'metrics.jsonl'
  end = time.monotonic() + 120
  while not (rows.exists() and rows.stat().st_size):
    assert process.poll() is None and time.monotonic() < end
    time.sleep(0.05)
  process.send_signal(number)
  _, said = process.communicate(timeout=120)
  assert process.returncode != 0
  assert 'stopped and saved student at step' in said
  assert 'KeyboardInterrupt' in said or number == signal.SIGTERM
  (step,) = (p.name for p in (folder / 'checkpoints/student').iterdir())
  assert int(step) > 0


def test_two_processes_in_one_folder(teacher, tmp_path):
  folder = tmp_path / 'w'
  folder.mkdir()
  with runs.folders.lock(folder):
    code = (
      'from tests import test_api; import kd_jax; kd_jax.train_alone('
      f'test_api.Net(), test_api.DATA, workdir={str(folder)!r})'
    )
    done = subprocess.run(
      [sys.executable, '-c', code], cwd=ROOT, env=children.environment(),
      capture_output=True, text=True, check=False,
    )  # fmt: skip
  assert f'already being trained by process {os.getpid()}' in done.stderr
