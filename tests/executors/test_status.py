"""How far a job is, from what is on disk."""

import json
import os
import socket
import time

import pytest

from kd_jax import locks
from kd_jax.executors import jobs, process, status
from tests.helpers import standin


def ended(made, stopping=False):
  """Runs a job to its end; how far it is then."""
  life = status.begin(made)
  child = process.start(made, life)
  assert status.state_of(made).what == 'running'
  assert status.begin(made) is None
  child.wait(30)
  return status.end(made, life, child.returncode, stopping)


def test_from_nothing_to_done(tmp_path):
  made = standin.job(tmp_path, 'a=1')
  assert status.state_of(made) == ('not started', '')
  assert ended(made).what == 'done'
  assert status.begin(made) is None


@pytest.mark.parametrize(
  'code, line',
  [
    (standin.FAIL, 'error: no such thing'),
    (standin.RAISE, 'ValueError: a number'),
    (standin.KILLED, 'killed by SIGKILL'),
    (standin.NOTHING, 'it ended without a report'),
    ("import sys; print('a\\rb'); print(); sys.exit(3)", 'b'),
    ('import sys; sys.exit(3)', 'exit code 3'),
    ("print('error: a'); print('bye'); raise SystemExit(1)", 'error: a'),
  ],
)
def test_a_failure_is_its_last_error_line(code, line, tmp_path):
  made = standin.job(tmp_path, 'a=1', code)
  assert ended(made) == ('failed', line)
  assert status.state_of(made) == ('failed', line)


def test_only_the_last_try_counts(tmp_path):
  ended(standin.job(tmp_path, 'a=1', standin.FAIL))
  made = standin.job(tmp_path, 'a=1', 'import sys; sys.exit(3)')
  assert ended(made) == ('failed', 'exit code 3')
  log = (jobs.records(made) / status.LOG).read_text()
  assert log.count('\n$ ') + log.startswith('$ ') == 2


@pytest.mark.parametrize('seed', ['', 'seed_1'])
def test_a_failure_that_the_run_wrote_is_known(seed, tmp_path):
  made = standin.job(tmp_path, 'a=1')
  path = made.folder / seed / 'failed.txt'
  path.parent.mkdir(parents=True)
  path.write_text('loss is nan\n')
  assert status.state_of(made) == ('failed', 'loss is nan')
  assert ended(made).what == 'done'
  assert not path.exists()


def test_stopped_is_no_failure(tmp_path):
  made = standin.job(tmp_path, 'a=1', 'import sys; sys.exit(130)')
  assert ended(made).what == 'stopped'
  other = standin.job(tmp_path, 'b=1', 'import os; os.kill(os.getpid(), 15)')
  assert ended(other, stopping=True).what == 'stopped'
  assert ended(other) == ('failed', 'killed by SIGTERM')


def test_sigkill_of_all_is_not_running(tmp_path):
  made = standin.job(tmp_path, 'a=1', seconds=60)
  life = status.begin(made)
  child = process.start(made, life)
  life.close()  # as the death of this process would
  assert status.state_of(made) == (
    'running',
    f'process {child.pid} on {socket.gethostname()}',
  )
  child.kill()
  child.wait()
  # Another process may have that number by now.
  path = jobs.records(made) / status.LIFE
  path.write_text(path.read_text().replace(str(child.pid), str(os.getpid())))
  assert status.state_of(made).what == 'stopped'
  assert status.begin(made) is not None


def test_another_machine_is_alive_by_its_signs(tmp_path):
  made = standin.job(tmp_path, 'a=1')
  path = jobs.records(made) / status.LIFE
  path.parent.mkdir(parents=True)
  path.write_text(json.dumps({'host': 'elsewhere', 'pid': 12}))
  assert status.state_of(made) == ('running', 'process 12 on elsewhere')
  assert status.begin(made) is None
  old = time.time() - 2 * locks.STALE
  os.utime(path, (old, old))
  assert status.state_of(made).what == 'not started'
  with path.open('ab+') as life:
    status.beat(life)
  assert status.state_of(made).what == 'running'


def test_the_table_says_all(tmp_path):
  many = [standin.job(tmp_path, f'alpha={n}') for n in range(6)]
  ended(many[0])
  ended(
    many[1]._replace(command=standin.job(tmp_path, 'x', standin.FAIL).command)
  )
  (many[2].folder / 'seed_1' / 'checkpoints').mkdir(parents=True)
  many[4].folder.mkdir()
  (many[4].folder / 'config.json').touch()
  jobs.records(many[3]).mkdir(parents=True)
  (jobs.records(many[3]) / status.SUBMITTED).write_text('7_3')
  many[5].folder.mkdir()
  (many[5].folder / 'dropped.json').touch()
  lines = status.table(status.of(many)).splitlines()
  assert [line.split(maxsplit=1) for line in lines[:-1]] == [
    ['alpha=0', 'done'],
    ['alpha=1', 'failed       error: no such thing'],
    ['alpha=2', 'stopped'],
    ['alpha=3', 'not started  submitted as 7_3'],
    ['alpha=4', 'not started'],
    ['alpha=5', 'dropped'],
  ]
  assert lines[-1] == '1 done, 1 failed, 1 stopped, 1 dropped, 2 not started'


def test_reading_changes_nothing(tmp_path):
  made = standin.job(tmp_path, 'a=1')
  assert status.of([made])['a=1'].what == 'not started'
  assert not list(tmp_path.iterdir())


def test_what_one_process_trains_no_other_takes(tmp_path):
  many = [standin.job(tmp_path, name) for name in 'abc']
  ended(many[0])
  with status.taken(many):
    here = f'process {os.getpid()} on {socket.gethostname()}'
    assert list(status.of(many).values()) == [
      ('done', ''),
      ('running', here),
      ('running', here),
    ]
    assert status.begin(many[1]) is None
    again = status.taken(many[1:])
    with pytest.raises(
      ValueError, match='b is already being trained by process'
    ):
      again.__enter__()
    assert status.state_of(many[2]).what == 'running'
  assert status.state_of(many[1]).what == 'not started'
