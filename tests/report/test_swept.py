"""What a sweep leaves: its table in three forms, its page and its picture."""

import contextlib
import csv
import html
import io
import json
import pathlib
import re
import shlex
import xml.etree.ElementTree as ET

import pytest

from experiments import picture
from kd_jax import cli
from kd_jax.report import maps
from kd_jax.report import swept as pages
from kd_jax.runs import sweep_run
from tests.helpers import compared
from tests.report import test_page

pytestmark = pytest.mark.slow
QUICK = pathlib.Path(__file__).resolve().parents[1] / 'helpers/quick.py'


@pytest.fixture(scope='module')
def printed(tmp_path_factory):
  """Two temperatures by two alphas, two seeds each: (folder, text printed)."""
  folder, out = tmp_path_factory.mktemp('sweep') / 'run', io.StringIO()
  options = (
    f'--config {QUICK} --workdir {folder} --seeds 2 '
    '--sweep temperature=2,4;alpha=0.5,0.9 --config.parallel=one '
    '--config.train.steps=8 --config.eval_every=4'
  )
  with contextlib.redirect_stdout(out):
    assert cli.main(options.split()) == 0
  return folder, out.getvalue()


@pytest.fixture
def swept(printed):
  """The folder of the sweep."""
  return printed[0]


@pytest.fixture
def rows(swept):
  """Its table."""
  return json.loads((swept / 'sweep.json').read_text())


def test_the_table_on_disk(swept, rows):
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
    assert row['test_low'] <= row['test'] <= row['test_high']
    assert row['p'] == report['verdict']['p'] <= row['p_holm'] <= 1
    assert row['comparisons'] == 4 == int(line['comparisons'])
    assert row['outcome'] == 'no difference' == line['outcome']
    assert row['extra_parameters'] == row['extra_bytes'] == 0


def test_what_is_printed_leads_with_the_best_and_ends_with_the_page(
  printed, rows
):
  folder, text = printed
  best = max(rows, key=lambda row: row['validation'])
  first, *rest = text.strip().split('\n\n')
  assert first.startswith(
    f'Best of 4 settings on validation: {best["setting"]}'
  )
  assert "of 4 comparisons with the student alone hold after Holm's" in first
  assert rest[-1] == str(folder / 'sweep.html')
  assert '| p (Holm) |' in rest[0]


def test_the_command_of_the_page_trains_the_best_setting_anew(swept, rows):
  best = max(rows, key=lambda row: row['validation'])
  before = {p: p.stat().st_mtime_ns for p in swept.rglob('*') if p.is_file()}
  page = (swept / 'sweep.html').read_text()
  command = html.unescape(re.search(r'<pre>(.*?)</pre>', page, re.S).group(1))
  python, *argv = shlex.split(command)
  assert [python, *argv[:2]] == ['python', '-m', 'kd_jax.cli']
  folder = pathlib.Path(argv[argv.index('--workdir') + 1])
  assert not folder.exists() and swept not in folder.parents
  with contextlib.redirect_stdout(io.StringIO()):
    assert cli.main(argv[2:]) == 0
  report = json.loads((folder / 'report.json').read_text())
  assert report['networks']['student']['accuracy']['mean'] == best['test']
  assert list(folder.glob('seed_*/metrics.jsonl'))
  assert before == {
    p: p.stat().st_mtime_ns for p in swept.rglob('*') if p.is_file()
  }
  # The folder is taken now: the next page names another.
  assert sweep_run.unused(swept) not in (folder, swept)


def test_one_seed_has_no_deviation_and_no_verdict(swept, rows, tmp_path):
  none = dict.fromkeys(('validation_sd', 'test_sd', 'p', 'p_holm'))
  single = [{**r, **none, 'seeds': 1, 'outcome': 'one run'} for r in rows]
  text = pages.write(tmp_path, single, 0.5).read_text().split('</style>')[1]
  assert 'standard deviation' not in text and '±' not in text
  assert 'over the seeds' not in text and 'over seeds' not in text
  assert '4 comparisons rest on one run each' in text
  assert not re.search('helped|hurt|no difference', text)
  assert 'standard deviation' in (swept / 'sweep.html').read_text()
  assert sweep_run.table(single).count('| - |') == 4


def test_without_validation_no_setting_is_best(rows, tmp_path):
  blind = [{**row, 'validation': float('nan')} for row in rows]
  assert pages.best_of(blind) is None
  assert 'no validation set' in pages.best_in_words(blind)
  assert pages.best_of([*blind, rows[0]]) == rows[0]


def test_a_temperature_is_called_that(rows):
  heat = maps.heats(rows)[0]
  assert '>temperature</text>' in heat and '>T</text>' not in heat


def test_lists_and_keys_that_some_lack_are_drawn(rows):
  """A sweep over augmentations, and one that is a chain."""
  shift = [{'name': 'shift', 'pixels': 1}]
  lists = [
    {**row, 'values': {**row['values'], 'augment': value}}
    for row, value in zip(rows, ([], shift, [], shift), strict=True)
  ]
  assert maps.varied(lists)['augment'] == ['none', 'shift pixels=1']
  assert any('shift pixels=1' in heat for heat in maps.heats(lists))
  assert maps.parallel(lists)
  first, *rest = rows
  chained = [{**first, 'values': {'temperature': 2}}, *rest]
  assert maps.varied(chained)['alpha'] == [0.5, 0.9, '-']
  assert maps.heats(chained)


@test_page.needs_browser
@pytest.mark.parametrize('width', [400, 800, 1200])
def test_its_table_is_not_cut(width, swept, tmp_path):
  probe = tmp_path / 'page.html'
  probe.write_text((swept / 'sweep.html').read_text() + test_page.PROBE)
  found, _ = test_page.probed(probe, width)
  assert found['cut'] == 0 and found['wide'] <= 0


def test_the_page(swept, rows):
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
  assert 'holds no finished run' in capsys.readouterr().err
  assert out.read_text() == text


def test_the_picture_of_a_run(tmp_path):
  folder, _ = compared.shared()
  out = tmp_path / 'run.svg'
  assert picture.main([str(folder), '--out', str(out)]) == 0
  ET.fromstring(out.read_text())
  assert picture.main([str(tmp_path)]) == 2
