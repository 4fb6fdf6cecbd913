"""Hinton's experiment: the bias that is moved, its table, one small run."""

import json

import numpy as np
import pytest

from experiments import hinton
from kd_jax import config
from tests.helpers import shared

CONFIG = hinton.CONFIG


def test_the_offset_is_the_middle_of_the_best():
  """Class 1 is right for the first two once raised by more than 2; the third,
  of class 0, is lost at 5."""
  logits = np.array([[2.0, 0.0], [1.0, 0.0], [5.0, 0.0]], np.float32)
  labels = np.array([1, 1, 0])
  offset = hinton.best_offset(logits, labels, (1,))
  assert offset == pytest.approx(3.5, abs=0.11)
  assert hinton.wrong(hinton.moved(logits, (1,), offset), labels) == 0
  assert hinton.wrong(logits, labels) == 2
  assert logits[0, 1] == 0  # nothing is changed in place


def test_what_needs_no_moving_is_moved_little():
  logits = np.array([[3.0, 0.0], [0.0, 3.0]], np.float32)
  offset = hinton.best_offset(logits, np.array([0, 1]), (1,))
  assert abs(offset) < 0.2


def test_several_classes_move_together():
  logits = np.array([[0.0, 4.0, 4.0]], np.float32)
  assert hinton.best_offset(logits, np.array([0]), (1, 2)) < -4


@pytest.mark.parametrize(
  'part, classes',
  [('all', ()), ('no_3', (0, 1, 2, 4, 5, 6, 7, 8, 9)), ('only_7_8', (7, 8))],
)
def test_each_part_has_its_transfer_set(part, classes, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)  # from any folder
  c = config.resolve(config.read(f'{CONFIG}:{part}'))
  assert c.data.train_only == classes
  assert ('load' in c.networks.teacher) == c.baseline ^ True
  assert c.terms.soft.temperature == 20
  # Only the teacher sees other images than are in the set.
  assert len(c.teacher.augment) == 1 and not c.train.augment


def test_an_unknown_part_is_refused():
  with pytest.raises(ValueError, match="unknown part 'no_4'; known: all"):
    config.read(f'{CONFIG}:no_4')


def test_the_table_has_the_papers_numbers_beside_ours():
  found = {row: [1, 2] for row in hinton.ROWS}
  found |= {f'{part} offset': [0.5, -2.0] for part in hinton.MOVED}
  text = hinton.text({**found, 'epochs': [3, 2]})
  assert '| 74 | 2 (1, 2) |' in text and '+0.5, -2.0' in text
  assert text.count('\n|') == 1 + len(hinton.ROWS) + len(hinton.MOVED)
  assert '3 epochs of the teacher, 2 of the students' in text


@pytest.mark.slow
def test_two_parts_of_it_run(tmp_path, capsys, monkeypatch):
  raw = shared.need('data', 'mnist')
  monkeypatch.setattr(hinton, 'MOVED', {'only_7_8': (7, 8)})
  monkeypatch.setattr(
    hinton,
    'ROWS',
    {row: title for row, title in hinton.ROWS.items() if 'no_3' not in row},
  )
  changes = {
    'data.data_dir': shared.prepared(),
    'data.limit': 400,
    'data.validation': 100,
    'networks.teacher.widths': [64],
    'networks.student.widths': [64],
    'teacher.steps': 100,
    'train.steps': 50,
    'teacher.batch_size': 32,
    'train.batch_size': 16,
  }
  words = [f'--config.{key}={value}' for key, value in changes.items()]
  code = hinton.main(
    ['--workdir', str(tmp_path), '--seeds', '1', '--raw_dir', str(raw), *words]
  )
  assert code == 0
  found = json.loads((tmp_path / 'hinton.json').read_text())
  assert found.pop('epochs') == [60, 40]
  assert all(len(values) == 1 for values in found.values())
  assert found['only_7_8'][0] > found['distilled'][0]
  assert found['only_7_8 moved'][0] < found['only_7_8'][0]
  page = tmp_path / 'page.md'
  page.write_text('<!-- hinton -->\nold\n<!-- end of hinton -->\n')
  monkeypatch.setattr(hinton.pages, 'README', page)
  monkeypatch.setattr(hinton, 'RESULT', tmp_path / 'kept.json')
  assert hinton.main(['--keep', str(tmp_path)]) == 0
  text = page.read_text().removeprefix('<!-- hinton -->\n').split('\n<!--')[0]
  assert text in capsys.readouterr().out and '| teacher, 1200' in text
  assert hinton.main(['--keep', str(tmp_path / 'none')]) == 2


def test_the_page_shows_the_numbers_that_are_kept():
  kept = json.loads(hinton.RESULT.read_text())
  page = hinton.pages.README.read_text()
  assert f'<!-- hinton -->\n{hinton.text(kept)}\n<!-- end' in page
  c = config.read(str(hinton.CONFIG))
  assert kept['epochs'] == [c.teacher.epochs, c.train.epochs]
