"""What a sweep leaves: its table in three forms, its page and its picture."""

import csv
import json
import pathlib
import xml.etree.ElementTree as ET

import pytest

from experiments import launch, picture
from kd_jax import settings, work

QUICK = pathlib.Path(__file__).parent / 'quick.py'


@pytest.fixture(scope='module')
def swept(tmp_path_factory):
  """The folder of two temperatures by two alphas, two seeds each."""
  folder = tmp_path_factory.mktemp('sweep')
  assert (
    launch.main(
      [
        '--config',
        str(QUICK),
        '--workdir',
        str(folder),
        '--seeds',
        '2',
        '--sweep',
        'temperature=2,4;alpha=0.5,0.9',
        '--config.parallel=one',
        '--config.train.steps=8',
        '--config.eval_every=4',
      ]
    )
    == 0
  )
  return folder


def test_the_table_on_disk(swept):
  rows = json.loads((swept / 'sweep.json').read_text())
  with (swept / 'sweep.csv').open() as file:
    lines = list(csv.DictReader(file))
  assert [line['setting'] for line in lines] == [row['setting'] for row in rows]
  assert {
    (row['values']['temperature'], row['values']['alpha']) for row in rows
  } == {(2, 0.5), (2, 0.9), (4, 0.5), (4, 0.9)}
  for row, line in zip(rows, lines, strict=True):
    report = json.loads((swept / row['setting'] / 'report.json').read_text())
    assert row['test'] == report['networks']['student']['accuracy']['mean']
    assert row['difference'] == report['verdict']['difference']
    assert float(line['test']) == row['test']
    assert row['low'] <= row['difference'] <= row['high']
    assert row['extra_parameters'] == row['extra_bytes'] == 0


def test_the_page(swept):
  rows = json.loads((swept / 'sweep.json').read_text())
  best = max(rows, key=lambda row: row['validation'])
  page = (swept / 'sweep.html').read_text()
  assert 'Accuracy on validation over temperature and alpha' in page
  for key, value in best['values'].items():
    assert f'--config.{key}={value:g}' in page
  for row in rows:
    assert row['setting'] in page
    assert f'{100 * row["test"]:.1f}' in page
  assert 'src="http' not in page
  assert '<script' not in page


def test_the_picture(swept, tmp_path, capsys):
  out = tmp_path / 'picture.svg'
  assert picture.main([str(swept), '--out', str(out)]) == 0
  assert ET.parse(out).getroot().tag.endswith('svg')
  text = out.read_text()
  assert '>alpha</text>' in text
  assert 'Accuracy on validation of the best settings' in text
  assert 'var(--' not in text
  assert picture.main([str(tmp_path), '--out', str(out)]) == 2
  assert 'holds no finished sweep' in capsys.readouterr().err
  assert out.read_text() == text


def test_a_sweep_over_the_data_reads_each_of_them(tmp_path, monkeypatch):
  sizes = {}

  def launch_(many, prepared, stop, plan):
    for place, experiment in (pair for g in prepared.groups for pair in g):
      sizes[place.folder.name] = len(experiment.data.train.labels)
    return []

  monkeypatch.setattr(settings, 'launch', launch_)
  options, changes = launch.parse([
    '--config', str(QUICK), '--workdir', str(tmp_path),
    '--sweep', 'data.limit=96,160;alpha=0.5,0.9',
  ])  # fmt: skip
  work.make(options, changes)(lambda: False)
  assert sizes == {
    f'alpha={alpha},data.limit={limit}': limit
    for limit in (96, 160) for alpha in (0.5, 0.9)
  }  # fmt: skip
