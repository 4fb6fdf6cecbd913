"""The command of a setting is the setting."""

import pathlib
import sys

import numpy as np
import pytest

from kd_jax import config, runs, sweep
from kd_jax.executors import jobs, status
from kd_jax.runs import folders
from kd_jax.training import halving
from tests.helpers import standin

QUICK = str(pathlib.Path(__file__).resolve().parents[1] / 'helpers/quick.py')
SETTINGS = [
  {'temperature': 2.0, 'alpha': '0.25'},
  {'arg': '3', 'train.steps': 7},
  {'terms.soft': {'method': 'kd', 'weight': 0.1 + 0.2, 'temperature': 1.0}},
  {'networks.student.widths': (8, 4), 'terms.hard.weight': np.float64(1e-7)},
  {'networks.student.load': "a folder, 'quoted'"},
]


def read(command):
  """The options and the config that the launcher reads from a command."""
  from kd_jax import cli

  options, changes = cli.parse(list(command[3:]))
  return options, config.to_json(config.read(options.config, changes))


def test_a_command_means_its_setting(tmp_path):
  changes = {'seed': '3', 'temperature': '8', 'terms.soft.weight': '0.5'}
  want = {
    name: config.to_json(runs.changed(config.read(path, changes), rest))
    for name, setting in sweep.expand(SETTINGS).items()
    for rest in [{k: v for k, v in setting.items() if k != 'arg'}]
    for path in [f'{QUICK}:3' if 'arg' in setting else QUICK]
  }
  made = jobs.jobs_of(QUICK, changes, SETTINGS, tmp_path)
  assert [job.name for job in made] == list(want)
  for job in made:
    assert job.command[:3] == (sys.executable, '-m', 'kd_jax.cli')
    options, found = read(job.command)
    assert found == want[job.name]
    assert options.workdir == job.folder == tmp_path / job.name
    assert options.shelf == tmp_path / 'shelf'


def test_a_setting_has_the_last_word(tmp_path):
  (made,) = jobs.jobs_of(QUICK, {'alpha': '0.1'}, [{'alpha': 0.9}], tmp_path)
  assert [t for t in made.command if 'alpha=' in t and t[:2] == '--'] == [
    '--config.alpha=0.9'
  ]


@pytest.mark.parametrize(
  'wrong, words',
  [
    ([], 'empty sweep'),
    ([{}], 'no name'),
    ([{'alpha': 0.5}, {'alpha': 0.5}], 'same folder'),
    ([{'alpha': float('nan')}], 'alpha.*no command line.*nan'),
    ([{'alpha': object()}], 'no command line'),
  ],
)
def test_what_cannot_be_is_one_line(wrong, words, tmp_path):
  with pytest.raises(ValueError, match=words) as mistake:
    jobs.jobs_of(QUICK, {}, wrong, tmp_path)
  assert '\n' not in str(mistake.value)


def test_records_are_outside_of_the_run(tmp_path):
  job = standin.job(tmp_path, 'a=1')
  place = jobs.records(job)
  place.mkdir(parents=True)
  assert not place.is_relative_to(job.folder)
  folders.claim(job.folder, {}, {})


def test_the_files_of_a_run_keep_their_names():
  """Sweeps of before have them."""
  assert (status.FAILURE, halving.DROPPED) == ('failed.txt', 'dropped.json')
