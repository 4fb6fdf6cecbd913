"""A run of kd_jax 0.1 is read, or refused in one line.

version_0_1.tar.xz is a small run made by commit 8dc8783, without its page.
"""

import json
import pathlib
import shutil

import pytest

from kd_jax import (
  build,
  checkpoint,
  cli,
  compare,
  config,
  errors,
  export,
  network_files,
)
from kd_jax import report as pages
from kd_jax.models import base

ARCHIVE = pathlib.Path(__file__).with_name('version_0_1.tar.xz')
CONFIG = """
from kd_jax import config


def get_config(arg=''):
  c = config.default()
  c.data.limit = 64
  c.parallel = 'one'
  c.networks.teacher = dict(name='mlp', widths=[6])
  c.networks.student = dict(name='mlp', widths=[3])
  c.terms.hard = dict(method='cross_entropy', weight=1 - c.get_ref('alpha'))
  c.terms.soft = dict(
    method='kd', weight=c.get_ref('alpha'),
    temperature=c.get_ref('temperature'),
  )
  for part in (c.train, c.teacher):
    part.steps, part.batch_size = 6, 32
  return c
"""


@pytest.fixture
def run(tmp_path):
  """The folder of the run."""
  shutil.unpack_archive(ARCHIVE, tmp_path)
  return tmp_path / 'v01'


@pytest.fixture
def file(tmp_path):
  """The config that made it."""
  path = tmp_path / 'old.py'
  path.write_text(CONFIG)
  return str(path)


@pytest.mark.parametrize('finished', [True, False])
def test_it_is_not_continued(finished, run, file, capsys):
  if not finished:
    (run / 'report.json').unlink()
  assert cli.main(['--config', file, '--workdir', str(run)]) == errors.USER
  said = capsys.readouterr().err
  assert 'is a run of kd_jax before 0.2' in said
  assert said.count('\n') == 1
  assert len(list(run.glob('checkpoints/*/6'))) == 3


def test_its_report_and_comparison_are_made(run, capsys):
  assert pages.main([str(run)]) == 0
  assert (run / 'report.html').read_text().startswith('<!')
  assert compare.main([str(run)]) == 0
  assert 'Test accuracy' in capsys.readouterr().out


def test_its_student_is_exported(run, tmp_path):
  out = tmp_path / 'out'
  options = ['--format', 'stablehlo', '--out', str(out), '--examples', '32']
  assert export.main([str(run), *options]) == 0
  assert json.loads((out / 'parity.json').read_text())


def test_its_networks_are_teachers(run, file):
  spec = json.dumps({'load': str(run / 'networks/teacher')})
  c = config.read(file, {'networks.teacher': spec})
  experiment = build.make_experiment(c)
  stored, _ = network_files.load_network(run / 'networks/teacher')
  loaded = experiment.loaded['teacher']
  assert checkpoint.content_hash(loaded) == checkpoint.content_hash(stored)
  assert base.num_params(loaded) == 460
