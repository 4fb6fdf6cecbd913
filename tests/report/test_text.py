"""Reports of runs on text: every task is measured, drawn and read again."""

import functools
import pathlib
import re
import shutil
import tempfile

import numpy as np
import pytest

from kd_jax import report, tasks
from kd_jax.compare import by_logits, results, roles, seeds, table
from tests.helpers import texts

TASKS = ('language', 'classification', 'tagging', 'regression', 'multilabel')


SEEDS = {'language': 2, 'regression': 2}


@functools.cache
def compared(task: str) -> pathlib.Path:
  """A folder of compared runs of a task, some of them of two seeds."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix=task))
  places = [folder / f'seed_{k}' for k in range(SEEDS.get(task, 1))]
  for k, place in enumerate(places):
    texts.run(place, task, k)
  seeds.combine(folder, places)
  return folder


@pytest.mark.slow
@pytest.mark.parametrize('task', TASKS)
def test_a_task_is_measured_and_drawn(task):
  folder, of = compared(task), tasks.make_task(task)
  result = results.read(folder)
  assert tasks.task_of(result.report) is of
  assert result.report['networks']['student'][of.score]['mean'] is not None
  text = table.table(result.report)
  assert f'Test {of.title}' in text and 'Latency, 1 sequence' in text
  for _, title, _ in of.also:
    assert title in text
  whole = (folder / 'seed_0' / 'report.html').read_text()
  page = whole.split('</style>', 1)[1]
  assert f'{texts.TEST} test sequences' in page and 'image' not in page
  assert ('What they read' in page) == (of.prediction == 'token')
  assert ('reliability diagram' in page) == (of.says != tasks.NUMBER)
  assert 'over 2 seeds and the 9 test' in text or len(result.runs) == 1


@pytest.fixture(scope='module')
def language():
  """A compared run of language: its report, and what is read of it."""
  run = results.read(compared('language')).runs[0]
  return run.report, run


@pytest.mark.slow
def test_tokens_have_the_loss_of_their_label(language):
  written, run = language
  for index, pieces in run.pieces.items():
    row = texts.sentences(texts.TEST, 1)[index]
    assert [x for x in pieces.tolist() if x] == [f'w{k} ' for k in row]
    # Nothing says the first token.
    assert run.truth[index].tolist() == ['', *pieces.tolist()[1:]]
    for name, of in run.losses.items():
      loss = of[index]
      assert np.isfinite(loss).sum() == len(row) - 1 and np.isnan(loss[0])
      nll = run.sums[name]['nll'][index]
      assert np.nansum(loss) == pytest.approx(nll, rel=1e-5)
  for entries in written['tokens'].values():
    for entry in entries:
      assert entry['count'] > 0 and re.fullmatch(r'w\d+ ', entry['piece'])
      assert set(entry['losses']) == set(texts.ROWS)
  learned = written['tokens']['learned'][0]['losses']
  assert learned['student'] < learned['baseline']
  lost = written['tokens']['lost'][0]['losses']
  assert lost['student'] > lost['baseline']


@pytest.mark.slow
def test_less_perplexity_is_better(language):
  written, _ = language
  networks = written['networks']
  ours, theirs = (
    networks[row]['perplexity'] for row in ('student', 'baseline')
  )
  assert written['verdict']['difference'] == pytest.approx(ours - theirs)
  bits = networks['student']['nll'] / (3 * np.log(2))
  assert networks['student']['bits_per_byte'] == pytest.approx(bits)
  for row in texts.ROWS:
    low, high = networks[row]['interval']
    assert low < networks[row]['perplexity'] < high


@pytest.mark.slow
def test_a_classified_text_is_shown_as_text(tmp_path):
  shutil.copytree(compared('classification') / 'seed_0', tmp_path / 'run')
  of = texts.experiment('classification')
  line = roles.make_lineup(of, texts.variables(of))
  test = of.data.test()
  right = np.eye(2, dtype=np.float32)[test.labels]
  logits = {'teacher': right, 'baseline': -right, 'student': right}
  arrays = by_logits.arrays(line, logits, test.labels, test, of.data)
  written = results.read_report(tmp_path / 'run')
  results.write(tmp_path / 'run', written, arrays)
  page = report.write(tmp_path / 'run').read_text()
  run = results.read(tmp_path / 'run').runs[0]
  assert len(run.pieces) == texts.TEST and not run.images
  for index, pieces in run.pieces.items():
    row = texts.sentences(texts.TEST, 1)[index]
    text = ''.join(pieces)
    assert text == ''.join(f'w{k} ' for k in row)
    assert f'<div class="note">{text}</div>' in page
    assert f'test sequence {index}' in page
