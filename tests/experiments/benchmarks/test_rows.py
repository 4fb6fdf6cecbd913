"""Rows run one after another, say why they fail, and are what they say."""

import argparse
import json
import sys
import time

import numpy as np
import pytest

from experiments.benchmarks import row as rows_child
from experiments.benchmarks import rows, timing
from experiments.benchmarks.row import Row
from kd_jax.training import strategies

TINY = dict(
  teacher='resnet8', student='resnet8', device='cpu', steps=1, repeats=2,
  examples=8, batch_size=4, size=8,
)  # fmt: skip
SPEAKS = """
import json, sys, time
row = json.loads(sys.argv[1])
def tell(**words):
  print('{mark}' + json.dumps(words), flush=True)
if row['mode'] == 'fails':
  raise ValueError('a | b')
tell(built=True)
sys.stdin.readline()
if row['mode'] == 'hangs':
  time.sleep(60)
tell(warm=1.5)
sys.stdin.readline()
print('noise')
tell(times=[0.002, 0.004, 0.003], memory=2e6, arithmetic='float32')
"""


@pytest.fixture(scope='module')
def torch():
  return pytest.importorskip('torch', reason='PyTorch is not installed')


@pytest.fixture
def spoken(monkeypatch):
  """Rows whose processes only speak: 'works', 'fails', 'hangs'."""
  code = SPEAKS.replace('{mark}', rows_child.MARK)
  monkeypatch.setattr(
    rows,
    'command',
    lambda row: [sys.executable, '-c', code, json.dumps(row._asdict())],
  )


def options(**changes):
  usual = dict(ahead=False, limit=20.0, budget=100.0, changes={}, cache='/x')
  return argparse.Namespace(**{**usual, **changes})


def run(modes, **changes):
  said = []
  rows_ = [Row('kd_jax', mode, device='cpu') for mode in modes]
  failed = rows.run(rows_, options(**changes), said.append)
  return failed, said


@pytest.mark.parametrize('ahead', [False, True])
def test_a_row_that_fails_says_why_and_the_next_begins(spoken, ahead):
  failed, said = run(['works', 'fails', 'works'], ahead=ahead)
  assert failed == 1
  assert [line.count('|') for line in said] == [len(rows.HEADER) + 1] * 3
  assert '3.000 (2.500..3.500) | 21,333 | 1.5 | 2.0 |' in said[0]
  assert 'failed: ValueError: a / b' in said[1]


def test_a_row_that_lasts_too_long_is_ended(spoken):
  begun = time.monotonic()
  failed, said = run(['hangs', 'works'], limit=2.0)
  assert failed == 1 and time.monotonic() - begun < 30
  assert 'failed: not done in 2 s' in said[0] and 'failed' not in said[1]


def test_no_row_begins_when_the_budget_is_used(spoken):
  failed, said = run(['works', 'works'], budget=-1.0)
  assert (failed, said) == (
    0,
    ['\n2 rows were not begun: the budget was used.'],
  )


def test_lines_are_added_to_the_file(spoken, tmp_path, monkeypatch):
  monkeypatch.setattr(
    rows, 'plan', lambda names: [Row('kd_jax', 'works'), Row('x', 'fails')]
  )
  out = tmp_path / 'rows.md'
  out.write_text('before\n')
  argv = ['--device', 'cpu', '--out', str(out), '--only', 'works']
  assert rows.main(argv) == 0
  lines = out.read_text().splitlines()
  assert lines[0] == 'before' and lines[1].startswith('`python -m ')
  assert len(lines) == 6 and 'kd_jax: works' in lines[-1]


def test_the_most_telling_rows_come_first():
  plan = rows.plan(['loop', 'vmap'])
  first = plan[:11]
  assert {(row.teacher, row.student) for row in first} == {rows.FIRST}
  assert plan[0] == Row('kd_jax', 'chunks')
  for wanted in (
    Row('kd_jax', 'single steps'),
    Row('kd_jax', 'chunks', dtype='bfloat16'),
    Row('kd_jax', 'chunks', stored=True),
    Row('kd_jax', 'chunks', lanes=8, strategy='vmap'),
    Row('PyTorch', 'eager'),
    Row('PyTorch', 'torch.compile'),
    Row('PyTorch', 'CUDA graph'),
  ):
    assert wanted in first
  assert len(plan) == len(set(plan))


def test_every_strategy_has_its_lanes():
  plan = rows.plan(list(strategies.STRATEGIES))
  found = {(r.strategy, r.lanes) for r in plan if r.side == 'kd_jax'}
  assert found == {(s, k) for s in strategies.STRATEGIES for k in rows.LANES}


def test_both_sides_have_what_the_rows_name(torch):
  from experiments.benchmarks import our_pairs
  from experiments.benchmarks.pytorch import mobile, pairs
  from kd_jax import models

  modes = {'kd_jax': our_pairs.MODES, 'PyTorch': pairs.MODES}
  for row in rows.plan(['loop']):
    assert row.mode in modes[row.side]
    for name in (row.teacher, row.student):
      assert name in models.MODELS and name in mobile.MODELS
  for pair in rows.PAIRS:
    arithmetic = {
      (r.side, r.dtype)
      for r in rows.plan(['loop'])
      if (r.teacher, r.student) == pair
    }
    assert len(arithmetic) == 4  # either side in either


def test_a_row_is_named_by_what_it_is():
  assert rows.name_of(Row('kd_jax', 'chunks')) == 'kd_jax: chunks'
  row = Row('kd_jax', 'chunks', stored=True, lanes=8, strategy='vmap')
  assert rows.name_of(row) == (
    'kd_jax: chunks, stored teacher, 8 lanes by vmap'
  )


def test_the_command_carries_the_row():
  row = Row('PyTorch', 'eager', dtype='bfloat16')
  argv = rows.command(row)
  assert argv[1:3] == ['-m', rows_child.MODULE]
  assert Row(**json.loads(argv[3])) == row


def test_lanes_are_compared_to_what_they_can_be():
  """T = 3 and S = 1: eight lanes can be 8 (3 + 1) / (3 + 8) as fast."""
  single = Row('kd_jax', 'chunks')
  lanes = single._replace(lanes=8, strategy='vmap')
  known = {single: 4.0, single._replace(stored=True): 1.0}
  assert rows.gain(lanes, 16.0, known) == f'2.00 ({32 / 11:.2f})'
  assert rows.gain(lanes, 16.0, {single: 4.0}) == '2.00'
  assert rows.gain(lanes, 16.0, {}) == rows.gain(single, 4.0, known) == ''


def test_the_line_that_says_why():
  text = 'Traceback\n  x\nRuntimeError: a | b\nsome advice\n'
  assert rows.reason(text) == 'RuntimeError: a / b'
  assert rows.reason('killed\n') == 'killed' and rows.reason('') == ''


def measure(row, capsys):
  """What a row tells, measured in this process."""
  rows_child.measure(row, lambda: None)
  lines = capsys.readouterr().out.splitlines()
  told = [json.loads(x.removeprefix(rows_child.MARK)) for x in lines]
  return {k: v for words in told for k, v in words.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
  'changes',
  [
    dict(mode='chunks'),
    dict(mode='chunks', stored=True, dtype='bfloat16'),
    dict(mode='chunks', lanes=2),
    dict(mode='single steps'),
    dict(mode='one program a step'),
    dict(mode='bare scan'),
  ],
)
def test_our_rows_are_measured(changes, capsys):
  told = measure(Row('kd_jax', **{**TINY, **changes}), capsys)
  assert len(told['times']) == 2 and min(told['times']) > 0
  assert told['arithmetic'] == changes.get('dtype', 'float32')
  assert told['memory'] > 1e6 and told['warm'] > 0


@pytest.mark.slow
@pytest.mark.parametrize('stored', [False, True])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_their_rows_are_measured(dtype, stored, torch, capsys):
  row = Row('PyTorch', 'eager', dtype=dtype, stored=stored, **TINY)
  told = measure(row, capsys)
  assert len(told['times']) == 2 and min(told['times']) > 0
  assert told['arithmetic'] == dtype and np.isfinite(told['loss'])


def test_a_cuda_graph_of_a_cpu_is_refused(torch):
  from experiments.benchmarks.pytorch import pairs

  with pytest.raises(ValueError, match='a CUDA graph needs a GPU'):
    pairs.make(Row('PyTorch', 'CUDA graph', **TINY))


def test_a_device_that_is_not_there_is_no_row():
  from experiments.benchmarks import our_pairs

  with pytest.raises(RuntimeError, match='JAX is on cpu, not gpu'):
    our_pairs.make(Row('kd_jax', 'chunks'))


def test_their_augmentation_crops_and_mirrors(torch):
  """Each image is a part of the padded one, or of its mirror image."""
  from experiments.benchmarks.pytorch import pairs

  torch.manual_seed(0)
  pad, size = rows_child.PAD, 6
  images = torch.randint(1, 256, (32, size, size, 3), dtype=torch.uint8)
  found = pairs.augment(images).numpy()
  mirrored = 0
  for before, after in zip(images.numpy(), found):
    places = []
    for image in (before, before[:, ::-1]):
      padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
      views = np.lib.stride_tricks.sliding_window_view(padded, after.shape)
      places.append(bool((views == after).all((-3, -2, -1)).any()))
    assert any(places)
    mirrored += not places[0]
  assert 4 < mirrored < 28
  assert len({image.tobytes() for image in found}) > 16


def test_the_readme_has_the_rows():
  text = timing.README.read_text()
  assert 0 < text.find('<!-- rows -->') < text.find('<!-- end of rows -->')
