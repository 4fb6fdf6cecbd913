"""A user's mistake: one line on standard error, exit code 2, no work."""

import pathlib
import signal
import stat

import jax
import numpy as np
import pytest

from kd_jax import api, build, cli, config, errors, models, network_files
from kd_jax.data import sources
from kd_jax.runs import command, folders

ROOT = pathlib.Path(__file__).resolve().parents[1]
QUICK = str(ROOT / 'tests/helpers/quick.py')


def refuse(capsys, tmp_path, *changes, file=QUICK) -> str:
  """The one line with which the launcher refuses."""
  workdir = tmp_path / 'run'
  code = cli.main(['--config', file, '--workdir', str(workdir), *changes])
  out, err = capsys.readouterr()
  assert code == 2
  assert out == ''
  assert err.startswith('error: ')
  assert err.count('\n') == 1
  assert not (workdir / 'metrics.jsonl').exists()
  return err


@pytest.mark.parametrize(
  'change, words',
  [
    ('alpah=1', ['alpah', 'alpha']),
    ('train.optimizer.learnig_rate=1', ['train.optimizer.learning_rate']),
    ('seed=1.5', ['seed', 'int']),
    ('seed=abc', ['seed', 'int']),
    ('seed=-1', ['seed', '-1']),
    ('seeds=0', ['seeds']),
    ('baseline=3', ['baseline', 'bool']),
    ('temperature=0.0', ['temperature', '0']),
    ('temperature=-4.0', ['temperature', '-4']),
    ('temperature=1e999', ['temperature', 'finite']),
    ('alpha=1.5', ['alpha', '1.5']),
    ('alpha=-0.1', ['alpha', '-0.1']),
    ('beta=-1.0', ['beta']),
    ('alpha_weights=sotf', ['sotf', 'soft']),
    ('terms.soft.weight=-1.0', ['at least 0', '-1']),
    ('terms.soft.temperature=0', ['temperature', '0']),
    ('terms.soft.method=kdd', ['kdd', "'kd'", 'cross_entropy']),
    ('terms.soft.temprature=3', ['temprature', 'temperature']),
    ('terms.soft.teacher=techer', ['techer', 'teacher']),
    ('terms.soft.student=studen', ['studen', 'student']),
    ('terms.extra.weight=3', ['extra']),
    ('terms.extra={"weight":1}', ['extra', 'method']),
    ('terms.soft.schedule={"weigth":{"name":"linear"}}', ['weigth', 'weight']),
    ('terms.soft.schedule={"weight":{"name":"linaer"}}', ['linaer', 'linear']),
    ('scheme.name=offlin', ['offlin', 'offline']),
    ('scheme.foo=1', ['foo']),
    ('networks.student.name=mpl', ['mpl', 'mlp']),
    ('networks.student.widhts=[3]', ['widhts', 'widths']),
    ('networks.teacher.classes=7', ['7', '10']),
    ('networks.teacher.load=nowhere', ['nowhere']),
    ('data.name=digit', ['digit', 'digits']),
    ('data.limt=3', ['limt', 'limit']),
    ('train.batch_size=0', ['batch_size']),
    ('train.batch_size=100000', ['batch_size', '100000', '320']),
    ('train.augment=("shfit",)', ['shfit', 'shift']),
    ('train.optimizer.name=sdg', ['sdg', 'sgd']),
    ('train.optimizer.options.momentun=0.9', ['momentun']),
    ('train.optimizer.learning_rate=-1.0', ['learning_rate', '-1']),
    ('train.optimizer.schedule.name=cosin', ['cosin', 'cosine']),
    ('parallel=pmpa', ['pmpa', 'pmap']),
    ('select=worst', ['worst', 'best']),
  ],
)
def test_a_wrong_value_is_one_line(change, words, capsys, tmp_path):
  line = refuse(capsys, tmp_path, f'--config.{change}')
  for word in words:
    assert word in line


def test_a_batch_that_the_devices_cannot_share(capsys, tmp_path):
  changes = '--config.parallel=pmap', '--config.train.batch_size=30'
  line = refuse(capsys, tmp_path, *changes)
  assert '30' in line
  assert '8 devices' in line


def test_an_unknown_config_file(capsys, tmp_path):
  near = str(ROOT / 'tests/helpers/quik.py')
  assert 'quick.py' in refuse(capsys, tmp_path, file=near)


@pytest.mark.parametrize(
  'text, words',
  [
    ('x = = 1', ['1', 'syntax']),
    ('x = 1', ['get_config']),
    ('def get_config(): return 3', ['int']),
    (
      'from kd_jax import config\ndef get_config():\n  c = config.default()\n'
      '  c.alhpa = 1.0\n  return c',
      ['alhpa'],
    ),
    (
      'from kd_jax import config\ndef get_config():\n  return config.default()',
      ['networks'],
    ),
  ],
)
def test_a_config_that_is_none(text, words, capsys, tmp_path):
  path = tmp_path / 'own.py'
  path.write_text(text)
  line = refuse(capsys, tmp_path, file=str(path))
  for word in words:
    assert word in line


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
  """A finished network: an MLP of 32 for digits."""
  folder = tmp_path_factory.mktemp('networks') / 'teacher'
  made = build.make_experiment(config.read(QUICK))
  variables = made.networks['teacher'].init(
    jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32)
  )
  network_files.save_network(
    folder, variables, {'build': made.specs['teacher'], 'made_by': ''}
  )
  return folder


def test_a_teacher_folder_of_another_network(teacher, capsys, tmp_path):
  line = refuse(
    capsys,
    tmp_path,
    f'--config.networks.teacher.load={teacher}',
    '--config.networks.teacher.widths=[16]',
  )
  assert 'widths' in line


def test_a_teacher_folder_with_other_shapes(teacher, capsys, tmp_path):
  variables, spec = network_files.load_network(teacher)
  layer = sorted(variables['params'])[0]
  kernel = variables['params'][layer]['kernel']
  variables['params'][layer]['kernel'] = kernel[:, :5]
  other = tmp_path / 'other'
  network_files.save_network(other, variables, spec)
  line = refuse(capsys, tmp_path, f'--config.networks.teacher.load={other}')
  assert f'params/{layer}/kernel' in line
  assert '(64, 5)' in line
  assert '(64, 32)' in line


def test_a_teacher_folder_that_is_damaged(teacher, capsys, tmp_path):
  other = tmp_path / 'other'
  variables, spec = network_files.load_network(teacher)
  network_files.save_network(other, variables, spec)
  path = other / network_files.VARIABLES
  path.write_bytes(path.read_bytes()[:-9])
  line = refuse(capsys, tmp_path, f'--config.networks.teacher.load={other}')
  assert 'damaged' in line


def test_a_workdir_that_cannot_be_written(capsys, tmp_path):
  place = tmp_path / 'run'
  place.write_text('a file, no folder')
  assert 'cannot be written' in refuse(capsys, tmp_path)
  assert not stat.S_ISDIR(place.stat().st_mode)


def test_a_workdir_of_another_config(capsys, tmp_path):
  experiment = build.make_experiment(config.read(QUICK))
  (tmp_path / 'run').mkdir()
  folders.claim(tmp_path / 'run', experiment.config, experiment.inputs)
  line = refuse(capsys, tmp_path, '--config.alpha=0.25')
  assert 'alpha is 0.25 now and 0.9 there' in line


def test_a_workdir_with_other_things(capsys, tmp_path):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run/thesis.txt').write_text('mine')
  assert 'not empty' in refuse(capsys, tmp_path)


def arrays(shape=(40, 4, 4, 1), classes=3, **changes):
  """A notebook's own data."""
  rng = np.random.default_rng(0)
  images = rng.normal(size=shape).astype(np.float32)
  labels = rng.integers(0, classes, shape[0])
  train = changes.get('train', (images, labels))
  return {'train': train, 'test': (images, labels), 'classes': classes}


def test_labels_out_of_range():
  given = arrays()
  given['train'][1][0] = 3
  with pytest.raises(ValueError, match='out of range'):
    sources.make_data('arrays', **given)


def test_images_of_the_wrong_rank():
  with pytest.raises(ValueError, match='rank'):
    sources.make_data('arrays', **arrays(shape=(40, 4, 4)))


def test_distill_refuses_before_any_work():
  data = sources.make_data('arrays', **arrays())
  network = models.make_network('mlp', classes=3, widths=[4])
  variables = network.init(jax.random.key(0), data.train.inputs[:1])
  with pytest.raises(ValueError, match='alpha'):
    api.distill(network, network, variables, data, alpha=2.0)
  with pytest.raises(ValueError, match='kdd'):
    api.distill(network, network, variables, data, method='kdd', batch_size=8)
  with pytest.raises(ValueError, match=r'hiden.*hidden'):
    api.distill(
      network,
      network,
      variables,
      data,
      beta=1.0,
      batch_size=8,
      layers=[('hiden1', 'hidden1')],
    )


def test_signals_are_heard_during_the_work_alone(monkeypatch, tmp_path, capsys):
  """Its handlers end with a command: a process may run several."""
  before = signal.getsignal(signal.SIGTERM)

  def work(stop):
    assert not stop()
    signal.raise_signal(signal.SIGTERM)
    assert stop()
    return 'done'

  monkeypatch.setattr(command, 'make', lambda options, changes: work)
  assert cli.main(['--config', QUICK, '--workdir', str(tmp_path / 'run')]) == 0
  assert capsys.readouterr().out == 'done\n'
  assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_before_any_work_is_one_line(monkeypatch, capsys):
  def interrupted(_):
    raise KeyboardInterrupt

  monkeypatch.setattr(cli, 'packaged', interrupted)
  code = cli.main(['--config', 'digits', '--workdir', 'nowhere'])
  assert code == errors.STOPPED
  assert capsys.readouterr().err == 'stopped before anything was done\n'
