"""Rows of metrics on disk, and what is shown while something lasts."""

import io
import json

import jax
import pytest

from kd_jax import metrics


class Terminal(io.StringIO):
  """A stream that says it is a terminal."""

  def isatty(self):
    return True


@pytest.fixture
def clock(monkeypatch):
  """A clock that a test sets: clock['now'] = seconds."""
  time = {'now': 100.0}
  monkeypatch.setattr(metrics.time, 'monotonic', lambda: time['now'])
  return time


def test_a_line_comes_at_the_start_and_then_every_few_seconds(clock):
  out = io.StringIO()
  progress = metrics.make_progress('teacher', 0, 200, 10, out)
  assert out.getvalue() == 'teacher: step 0/200\n'
  for step in range(1, 60):
    clock['now'] += 0.5
    progress.update(step, lambda: {'loss': 1.0, 'other': 2.0})
  lines = out.getvalue().splitlines()
  assert len(lines) == 3
  assert lines[1].startswith('teacher: step 20/200 loss=1.000 2.0 steps/s')


def test_what_is_not_shown_is_not_computed(clock):
  asked = []
  progress = metrics.make_progress('teacher', 0, 200, 10, io.StringIO())
  for step in range(1, 41):
    clock['now'] += 0.5
    progress.update(step, lambda step=step: asked.append(step) or {})
  assert asked == [20, 40]


def test_the_time_left_does_not_count_what_compiles(clock):
  out = io.StringIO()
  progress = metrics.make_progress('student', 0, 200, 10, out)
  clock['now'] += 40  # the first step compiles
  progress.update(1, lambda: {'loss': 1.0})
  for step in range(2, 120):
    clock['now'] += 0.125
    progress.update(step, lambda: {'loss': 1.0})
  first, second = out.getvalue().splitlines()[1:]
  assert first == 'student: step 1/200 loss=1.000'
  assert second == 'student: step 81/200 loss=1.000 8.0 steps/s, 15 s left'


def test_a_bar_starts_its_clock_after_the_first_step(monkeypatch):
  import tqdm

  made = []

  class Bar(tqdm.tqdm):
    """Remembers itself."""

    def __init__(self, *args, **kwargs):
      super().__init__(*args, **kwargs)
      made.append(self)

  monkeypatch.setattr(tqdm, 'tqdm', Bar)
  progress = metrics.make_progress('student', 100, 200, 10, Terminal())
  (bar,) = made
  bar.start_t -= 40  # the first step compiles
  bar.last_print_t -= 40
  progress.update(101, lambda: {'loss': 1.0})
  progress.update(111, lambda: {'loss': 1.0})
  assert bar.n == 111
  assert bar.format_dict['elapsed'] < 20
  assert bar.format_dict['initial'] == 101
  progress.close()


def test_only_the_first_process_shows_anything(monkeypatch, capsys):
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  metrics.say('training teacher')
  progress = metrics.make_progress('teacher', 0, 200, 0)
  progress.update(1, lambda: {'loss': 1.0})
  progress.close()
  assert capsys.readouterr() == ('', '')
  monkeypatch.setattr(jax, 'process_index', lambda: 0)
  metrics.say('training teacher')
  assert capsys.readouterr() == ('', 'training teacher\n')


def test_a_note_is_gone_afterwards_and_for_terminals_alone():
  out = Terminal()
  with pytest.raises(ValueError, match='no'), metrics.note('reading', out):
    assert out.getvalue() == 'reading ..'
    raise ValueError('no')
  assert out.getvalue().endswith('\r\033[K')
  file = io.StringIO()
  with metrics.note('reading', file):
    pass
  assert file.getvalue() == ''


ROW = {'stage': 'teacher', 'step': 1, 'loss': 2.0}


def write(folder, *lines: bytes):
  """A metrics.jsonl of these lines."""
  (folder / metrics.ROWS).write_bytes(b''.join(lines))


def line(**change) -> bytes:
  """A row, changed, as a line."""
  return json.dumps({**ROW, **change}).encode() + b'\n'


def test_half_a_last_line_is_left_out(tmp_path):
  write(tmp_path, line(), line(step=2), line(step=3)[:12])
  assert [row['step'] for row in metrics.read_rows(tmp_path)] == [1, 2]
  assert metrics.read_rows(tmp_path / 'absent') == []


@pytest.mark.parametrize('junk', [
  b'\x00\xff\xfe\n', b'[1, 2]\n', b'{"stage": 3, "step": 1}\n', b'{"sta\n',
  b'{"stage": "teacher"}\n', b'{"stage": "t", "step": 1, "loss": "x"}\n',
])  # fmt: skip
def test_a_damaged_line_is_named(junk, tmp_path):
  write(tmp_path, line(), junk, line(step=2))
  with pytest.raises(ValueError, match='metrics.jsonl is damaged in line 2'):
    metrics.read_rows(tmp_path)


def test_forgetting_moves_a_damaged_file_aside(tmp_path, capsys):
  write(tmp_path, line(), b'\xff\n', line(step=2), line(step=3))
  before = (tmp_path / metrics.ROWS).read_bytes()
  metrics.forget(tmp_path, 'teacher', 2)
  assert [row['step'] for row in metrics.read_rows(tmp_path)] == [1, 2]
  assert (tmp_path / 'metrics.jsonl.damaged').read_bytes() == before
  assert 'metrics.jsonl is damaged' in capsys.readouterr().err
