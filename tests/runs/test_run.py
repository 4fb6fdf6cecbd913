"""A run's folder: whose it is, what is lacking, who is at work in it."""

import json
import pathlib
import shutil

import jax
import pytest

from kd_jax import build, cli, config, errors, network_files
from kd_jax.runs import folders

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUICK = str(ROOT / 'tests/helpers/quick.py')


def launch(folder, *more) -> int:
  """The launcher's exit code."""
  return cli.main(
    [
      '--config',
      QUICK,
      '--workdir',
      str(folder),
      '--config.parallel=one',
      '--config.baseline=False',
      '--config.train.steps=8',
      '--config.teacher.steps=8',
      *more,
    ]
  )


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A finished run."""
  folder = tmp_path_factory.mktemp('runs') / 'run'
  assert launch(folder) == 0
  return folder


@pytest.fixture
def copy(whole, tmp_path):
  """A copy of it, to be damaged."""
  shutil.copytree(whole, tmp_path / 'run')
  return tmp_path / 'run'


def student(folder) -> str:
  return network_files.load_network(folder / 'networks/student')[1]['hash']


def test_a_loaded_teacher_whose_contents_changed_is_refused(
  whole, tmp_path, capsys
):
  teacher = tmp_path / 'teacher'
  shutil.copytree(whole / 'networks/teacher', teacher)
  load = f'--config.networks.teacher={json.dumps({"load": str(teacher)})}'
  assert launch(tmp_path / 'run', load) == 0
  before = student(tmp_path / 'run')
  variables, spec = network_files.load_network(teacher)
  shutil.rmtree(teacher)
  changed = jax.tree.map(lambda x: x + 0.1, variables)
  network_files.save_network(teacher, changed, spec)
  capsys.readouterr()
  # Finished, and half-way: the checkpoints are there, the report is not.
  for remains in ('report.json', 'checkpoints'):
    assert launch(tmp_path / 'run', load) == errors.USER, remains
    said = capsys.readouterr().err
    assert 'networks.teacher is' in said and said.count('\n') == 1
    (tmp_path / 'run/report.json').unlink(missing_ok=True)
  assert student(tmp_path / 'run') == before


@pytest.mark.parametrize('how', ['deleted', 'damaged', 'swapped'])
def test_a_finished_run_says_what_is_lacking(how, copy, whole, capsys):
  place = copy / 'networks/student'
  if how == 'damaged':
    path = place / network_files.VARIABLES
    path.write_bytes(path.read_bytes()[:-3])
  else:
    shutil.rmtree(place)
  if how == 'swapped':
    shutil.copytree(copy / 'networks/teacher', place)
  assert launch(copy) == 0
  said = capsys.readouterr().err
  assert "has a report, but the networks of its stage 'student'" in said
  assert student(copy) == student(whole)


def test_what_is_kept_is_part_of_a_run(copy, tmp_path, capsys):
  """`select`, and how often the best is looked for, decide about networks."""
  every = '--config.eval_every=4'
  assert launch(copy, every) == 0  # the last network is the same
  assert launch(copy, every, '--config.select=best') == errors.USER
  assert "select is 'best' now and 'last' there" in capsys.readouterr().err
  best = tmp_path / 'best'
  assert launch(best, '--config.select=best', every) == 0
  names = {'teacher', 'teacher_last', 'student', 'student_last'}
  assert {path.name for path in (best / 'networks').iterdir()} == names
  rows = json.loads((best / 'report.json').read_text())['networks']
  for row in ('teacher', 'student'):
    assert rows[row]['best']['accuracy'] == rows[row]['accuracy']
    spec = network_files.load_network(best / f'networks/{row}_last')[1]
    assert spec['select'] == 'last' and rows[row]['last']['accuracy'] >= 0
  # The training is the same: what was last there lies beside the best here.
  kept = network_files.load_network(copy / 'networks/teacher')[1]['hash']
  last = network_files.load_network(best / 'networks/teacher_last')[1]['hash']
  assert last == kept
  capsys.readouterr()
  assert launch(best, '--config.select=best') == errors.USER
  assert 'eval_every is 0 now and 4 there' in capsys.readouterr().err


@pytest.mark.parametrize('text', ['', '{"networks"', '[1, 2]', 'null'])
def test_a_damaged_report_is_made_again(text, copy, capsys):
  (copy / 'report.json').write_text(text)
  assert launch(copy) == 0
  assert 'report.json' in capsys.readouterr().err
  assert json.loads((copy / 'report.json').read_text())['networks']


@pytest.mark.parametrize(
  'text, words',
  [
    ('[1, 2]', 'not a JSON object'),
    ('null', 'not a JSON object'),
    ('{not json', 'cannot be read'),
    ('', 'cannot be read'),
  ],
)
@pytest.mark.parametrize('name', [folders.CONFIG, folders.INPUTS])
def test_a_damaged_config_is_named(name, text, words, copy, capsys):
  (copy / name).write_text(text)
  assert launch(copy) == errors.USER
  said = capsys.readouterr().err
  assert f'{copy / name}' in said and words in said
  assert said.count('\n') == 1


def test_a_mistake_that_the_work_meets_is_one_line(copy, tmp_path, capsys):
  path = copy / 'networks/student' / network_files.SPEC
  spec = json.loads(path.read_text())
  spec['identity']['seed'] = 7
  path.write_text(json.dumps(spec))
  assert launch(copy) == errors.USER
  said = capsys.readouterr().err
  assert 'networks/student is of another training: seed is 0 now' in said
  meshed = '--strategy', 'vmap', '--config.parallel=mesh'
  assert launch(tmp_path / 'mesh', *meshed) == errors.USER
  said += capsys.readouterr().err
  assert "it needs parallel='auto' or 'one', not 'mesh'" in said
  assert said.count('error: ') == 2 and 'Traceback' not in said


def test_two_processes_in_one_folder(tmp_path, capsys):
  with folders.lock(tmp_path):
    assert launch(tmp_path) == errors.USER
  said = capsys.readouterr().err
  assert f'{tmp_path} is already being trained by process' in said


def test_overwrite_moves_the_old_aside(copy, whole, capsys):
  assert launch(copy, '--config.alpha=0.5') == errors.USER
  assert 'alpha is 0.5 now and 0.9 there' in capsys.readouterr().err
  assert launch(copy, '--config.alpha=0.5', '--overwrite') == 0
  assert 'moved' in capsys.readouterr().err
  assert student(copy) != student(whole)
  assert student(copy.with_name('run.replaced')) == student(whole)


def test_nothing_is_moved_for_a_config_that_is_refused(copy):
  assert launch(copy, '--config.alpha=7.0', '--overwrite') == errors.USER
  assert (copy / 'report.json').exists()


def test_a_run_of_the_version_before_is_refused(copy, capsys):
  (copy / folders.INPUTS).unlink()
  assert launch(copy) == errors.USER
  assert 'kd_jax before 0.2' in capsys.readouterr().err


def test_a_sweep_claims_its_workdir(copy, tmp_path, capsys):
  sweep = '--sweep', 'alpha=0.1,0.9'
  assert launch(copy, *sweep) == errors.USER
  assert 'is the folder of a single run' in capsys.readouterr().err
  c = config.read(QUICK, {'temperature': '2.0'})
  folders.claim_sweep(tmp_path / 'sweep', config.to_json(c))
  assert launch(tmp_path / 'sweep', *sweep) == errors.USER
  assert 'belongs to another config' in capsys.readouterr().err
  assert launch(tmp_path / 'sweep') == errors.USER
  assert 'is the folder of a sweep' in capsys.readouterr().err
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine/thesis.txt').write_text('mine')
  assert launch(tmp_path / 'mine', *sweep) == errors.USER
  assert 'not empty and is not a sweep' in capsys.readouterr().err


@pytest.mark.parametrize('path', ['gs://bucket/run', 's3://bucket/run'])
def test_remote_storage_is_refused(path, capsys, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  assert launch(path) == errors.USER
  assert 'not a path of this machine' in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_environment_without_git(monkeypatch, tmp_path):
  monkeypatch.setenv('PATH', str(tmp_path))
  assert folders.environment()['commit'] == 'unknown'


def test_the_inputs_name_what_the_config_does_not_say():
  made = build.make_experiment(config.read(QUICK))
  assert made.inputs['data'] == made.data.fingerprint
  assert made.inputs['networks'] == {}
