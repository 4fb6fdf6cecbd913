"""A profile of some steps: in the run's folder, and the same run."""

import pytest

from kd_jax import build, cli, config, errors, metrics
from kd_jax.training import tracing
from tests.helpers import marks, quick, running


def traces(folder, stage: str) -> list:
  """The traces of a stage."""
  return sorted((folder / tracing.FOLDER / stage).rglob('*.xplane.pb'))


@pytest.mark.parametrize('at_once', marks.slow_but([1, 30], [30]))
def test_a_traced_run_is_the_same_run(at_once, tmp_path, capsys):
  options = dict(baseline=False, steps_at_once=at_once)
  whole = running.run(running.experiment(**options), tmp_path / 'whole')
  assert not (whole / tracing.FOLDER).exists()
  traced = tmp_path / 'traced'
  running.run(running.experiment(profile='12:15', **options), traced)
  said = capsys.readouterr().err
  for stage in ('teacher', 'student'):
    (trace,) = traces(traced, stage)
    assert trace.stat().st_size > 1000
    place = traced / tracing.FOLDER / stage
    assert f'{stage}: steps 12 to 14 are in {place}' in said
  assert metrics.read_rows(traced) == metrics.read_rows(whole)
  assert running.hashes(traced) == running.hashes(whole)


@pytest.mark.slow
def test_a_stop_in_the_window_ends_the_trace_and_the_rest_is_traced(tmp_path):
  options = dict(baseline=False, steps_at_once=1, profile='2:8')
  with pytest.raises(errors.StoppedError, match='teacher at step 5'):
    running.run(running.experiment(**options), tmp_path, stop_after=5)
  assert len(traces(tmp_path, 'teacher')) == 1
  # Another window continues the same run.
  options['profile'] = '6:7'
  running.run(running.experiment(**options), tmp_path)
  assert len(traces(tmp_path, 'student')) == 1


@pytest.mark.parametrize('window', ['5', '7:3', '3:3', '-1:3', 'a:b', '1:2:3'])
def test_what_is_no_window_is_refused(window):
  c = quick.get_config()
  with pytest.raises(ValueError, match='profile must be steps A:B'):
    config.change(c, 'profile', window)


def test_a_window_after_the_last_step_is_refused():
  c = quick.get_config()
  c.profile = '30:40'
  with pytest.raises(ValueError, match="'30:40' begins after .* has 30"):
    build.make_experiment(c)
  c.profile = '29:40'
  assert build.make_experiment(c).options['profile'] == '29:40'


def test_the_launcher_takes_a_window(capsys):
  _, changes = cli.parse(['--config', 'x', '--dry_run', '--profile', '2:3'])
  assert changes == {'profile': '2:3'}
  code = cli.main(['--config', 'digits', '--dry_run', '--profile', '3:2'])
  assert code == 2
  assert capsys.readouterr().err == (
    "error: profile must be steps A:B with 0 <= A < B, such as 20:30, or '', "
    "not '3:2'\n"
  )
