"""The report page: whole, self-contained, made again from disk, good to see."""

import html
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from kd_jax import report, tasks
from kd_jax.compare import results, table
from kd_jax.report import cards, pictures, svg
from kd_jax.report import page as pages
from tests.helpers import compared

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')
needs_browser = pytest.mark.skipif(
  not CHROMIUM, reason='no chromium on this machine'
)


@pytest.fixture
def many():
  """A folder of two seeds, each with its page."""
  return compared.shared()[0]


@pytest.fixture(params=['seed_0', '.'], ids=['run', 'seeds'])
def folder(request, many):
  """A run, then the folder of the seeds."""
  return many / request.param


VOID = ('meta', 'link', 'img', 'br', 'input')


class Elements(html.parser.HTMLParser):
  """Collects tags with their attributes, and what is left open."""

  def __init__(self, text):
    super().__init__()
    self.found, self.open = [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.found.append((tag, dict(attrs)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.found.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag, f'</{tag}> closes another element'


def test_page_is_well_formed_and_needs_nothing_else(folder):
  text = (folder / 'report.html').read_text()
  elements = Elements(text)
  assert not elements.open
  tags = [tag for tag, _ in elements.found]
  assert 'script' not in tags and 'iframe' not in tags
  for tag, attrs in elements.found:
    for key in ('src', 'href', 'xlink:href'):
      link = attrs.get(key, '')
      assert not re.match(r'(https?:)?//', link), (tag, link)
      if tag == 'img':
        assert link.startswith(('data:image/png;base64,', ''))
  assert '@import' not in text and not re.search(r'url\((?!#)', text)
  assert 'prefers-color-scheme: dark' in text


def test_ids_are_unique_and_links_within_the_page_lead_somewhere(folder):
  page = Elements((folder / 'report.html').read_text())
  ids = [attrs['id'] for _, attrs in page.found if 'id' in attrs]
  assert len(ids) == len(set(ids))
  for _, attrs in page.found:
    for value in attrs.values():
      for name in re.findall(r'^#(.+)$|url\(#([^)]+)\)', value or ''):
        assert ''.join(name) in ids


def test_page_says_what_was_found(folder):
  text = (folder / 'report.html').read_text()
  found = results.read_report(folder)
  sentence = found['verdict']['text'].split(':')[0]
  assert sentence in text
  for title in (
    'Comparison',
    'Learning',
    'What accuracy costs',
    'Agreement and calibration',
    'Mistakes',
    'What the teacher taught',
    'How it was made',
  ):
    assert title in text, title
  for picture in (
    'Accuracy on validation',
    'Losses: teacher',
    'Losses: student distilled',
    'reliability diagram',
    'confusion matrix',
    'Pareto front',
    'hard (unweighted)',
    'soft (unweighted)',
    'total (weighted sum)',
  ):
    assert picture in text, picture
  assert '--x' in text or found['kind'] == 'seeds'
  assert '&#34;temperature&#34;: 4.0' in text
  assert not re.search(r'\bnan\b|\bNone\b|#0102', text)


def text_of(page: str) -> str:
  """What one reads on a page, with single spaces."""
  body = re.sub(r'<style>.*?</style>', '', page, flags=re.DOTALL)
  return ' '.join(html.unescape(re.sub(r'<[^>]+>', ' ', body)).split())


def test_the_verdict_leads_then_three_numbers_with_intervals(folder):
  found = results.read_report(folder)
  text = text_of((folder / 'report.html').read_text())
  sentence = pages.typeset(found['verdict']['text']).split()
  places = [text.index(' '.join(sentence))]
  for score in table.scores(found):
    number = f'{table.percent(score.value)} %'
    places.append(
      text.index(
        f'{number} {table.interval(tasks.CLASSIFICATION)(score.interval)}'
      )
    )
  places.append(text.index('than the teacher'))
  places.append(text.index('Comparison'))
  assert places == sorted(places) and len(places) == 6


def test_sentences_are_apart(folder):
  text = text_of((folder / 'report.html').read_text())
  assert not re.search(r'[a-z][.!?;][A-Z]', text.partition('How it was')[0])


def test_seeds_link_to_their_pages(many):
  page = Elements((many / 'report.html').read_text())
  links = {attrs['href'] for tag, attrs in page.found if tag == 'a'}
  assert links == {'seed_0/report.html', 'seed_1/report.html'}
  assert all((many / link).exists() for link in links)


def test_page_is_made_again_from_disk_the_same(folder):
  path = folder / 'report.html'
  before = path.read_bytes()
  path.unlink()
  assert report.main([str(folder)]) == 0
  assert path.read_bytes() == before


def test_several_runs_beside_each_other(many, tmp_path, capsys):
  out = tmp_path / 'across.html'
  names = [str(many / 'seed_0'), str(many / 'seed_1')]
  assert report.main([*names, '--out', str(out)]) == 0
  page = Elements(out.read_text())
  links = [attrs['href'] for tag, attrs in page.found if tag == 'a']
  assert {(tmp_path / link).resolve() for link in links} == {
    (many / f'seed_{k}' / 'report.html').resolve() for k in range(2)
  }
  assert capsys.readouterr().out.splitlines()[-1] == str(out)


def copy(many, tmp_path):
  """A run of one's own to change."""
  return shutil.copytree(many / 'seed_0', tmp_path / 'run')


def change(folder, **values):
  path = folder / 'report.json'
  path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_names_are_text_and_never_markup(many, tmp_path):
  folder = copy(many, tmp_path)
  data = results.read_report(folder)['data']
  names = ['<script>alert(1)</script>', '"&', *data['classes'][2:]]
  change(folder, data={**data, 'classes': names})
  text = report.write(folder).read_text()
  assert '<script' not in text and '&lt;script' in text
  assert not Elements(text).open


def test_long_names_are_written_out(many, tmp_path):
  folder = copy(many, tmp_path)
  data = results.read_report(folder)['data']
  names = [f'a long name {k}' for k in range(6)]
  change(folder, data={**data, 'classes': names})
  text = report.write(folder).read_text()
  assert 'class="line"' in text and 'class="bars"' not in text
  assert not Elements(text).open


def test_a_run_without_a_baseline_has_a_page(many, tmp_path):
  folder = copy(many, tmp_path)
  found = results.read_report(folder)
  networks = {k: v for k, v in found['networks'].items() if k != 'baseline'}
  change(
    folder,
    networks=networks,
    students={'student': None},
    verdict=None,
    verdicts={'student': None},
    rows=list(networks),
    alike=[],
    gap_closed={'student': None},
    examples={'learned': 0, 'lost': 0},
  )
  text = report.write(folder).read_text()
  assert 'was not trained alone' in text
  assert 'What the teacher taught' not in text


@pytest.mark.parametrize('what, said', [
  ('report.json', 'not finished'), ('predictions.npz', 'predictions.npz'),
  ('config.json', ''),
])  # fmt: skip
def test_what_is_missing_is_named(what, said, many, tmp_path, capsys):
  folder = copy(many, tmp_path)
  (folder / what).unlink()
  code = report.main([str(folder)])
  error = capsys.readouterr().err
  if not said:
    assert code == 0
    return
  assert code == 2 and said in error and str(folder) in error
  assert error.count('\n') == 1 and 'Traceback' not in error


def test_a_folder_that_is_no_run_lists_those_that_are(many, capsys):
  assert report.main([str(many.parent / 'nothing-here')]) == 2
  assert 'no folder' in capsys.readouterr().err
  (many / 'seed_1' / 'empty').mkdir(exist_ok=True)
  assert report.main([str(many / 'seed_1' / 'empty')]) == 2
  assert 'config.json is missing' in capsys.readouterr().err


def rewrite(folder, keep):
  """Changes predictions.npz: {name: array} -> {name: array}."""
  with np.load(folder / 'predictions.npz') as stored:
    arrays = keep(dict(stored))
  np.savez_compressed(folder / 'predictions.npz', **arrays)


def test_a_network_that_seeds_share_is_counted_once(many, tmp_path):
  folder = shutil.copytree(many, tmp_path / 'run')
  with np.load(folder / 'seed_0/predictions.npz') as stored:
    shared = stored['logits/teacher']
  rewrite(folder / 'seed_1', lambda x: {**x, 'logits/teacher': shared})
  context = pages.context(results.read(folder))
  assert context['shared'] == ['teacher']
  teacher, alone, *_ = context['confusions']
  mistakes_of = [
    int(re.search(r'(\d+) mistakes', svg).group(1)) for svg in (teacher, alone)
  ]
  first = results.read(folder).runs[0]
  wrong = int((shared.argmax(-1) != first.labels).sum())
  assert mistakes_of[0] == wrong < mistakes_of[1]
  text = text_of(report.write(folder).read_text())
  assert 'Summed over the 2 seeds; teacher: the same network' in text
  assert 'counted once. In the last matrix' in text


def test_speed_is_said_only_beyond_noise():
  slow = {'median': 0.193, 'low': 0.12, 'high': 0.32}
  near = {'median': 0.152, 'low': 0.11, 'high': 0.18}
  fast = {'median': 0.05, 'low': 0.04, 'high': 0.06}
  assert 'not distinguishable' in pages.faster(slow, near).what
  assert '1.3' not in pages.faster(slow, near).text
  assert pages.faster(slow, fast).text == '3.9x'
  assert pages.faster(fast, slow).text == '0.3x'


@pytest.mark.parametrize('stages, said', [
  (('teacher',), 'No learning curves of teacher: metrics.jsonl has no rows of '
   'this stage'),
  (('teacher', 'baseline', 'student'),
   'No learning curves of teacher, baseline, student: metrics.jsonl has no '
   'rows of these stages'),
])  # fmt: skip
def test_curves_that_are_missing_are_named(stages, said, many, tmp_path):
  folder = copy(many, tmp_path)
  path = folder / 'metrics.jsonl'
  rows = map(json.loads, path.read_text().splitlines())
  kept = [row for row in rows if row['stage'] not in stages]
  path.write_text(''.join(f'{json.dumps(row)}\n' for row in kept))
  text = text_of(report.write(folder).read_text())
  assert said in text
  assert 'No learning curves' not in text_of(
    (many / 'seed_0/report.html').read_text()
  )


def test_a_row_without_an_epoch_is_no_point(many, tmp_path):
  folder = copy(many, tmp_path)
  with (folder / 'metrics.jsonl').open('a') as file:
    # As a step that diverged leaves it.
    file.write('{"stage": "student", "step": 13, "loss": NaN}\n')
  assert report.main([str(folder)]) == 0


def test_pareto_front():
  points = [(5, 0.9), (1, 0.5), (2, 0.4), (3, 0.9), (1, 0.6)]
  assert pictures.pareto(points) == [4, 3]


def test_labels_are_kept_apart():
  moved = pictures.spread([0.5, 0.51, 0.9, 0.49], 0.1)
  assert moved[3] == 0.49 and moved[2] == 0.9
  assert np.diff(sorted(moved)).min() >= 0.1 - 1e-12


def test_examples_show_the_label_among_the_likeliest():
  many = np.zeros((1, 100))
  many[0, 40:50] = 5
  shown = cards.classes_of(many, 7)
  assert 7 in shown and len(shown) == cards.BARS
  assert cards.likeliest(many[0], 7, 4) == [40, 41, 42, 7]
  assert cards.likeliest(many[0], 41, 4) == [40, 41, 42, 43]
  bars = cards.bars(np.log([0.7, 0.2, 0.1]), [0, 2], 'abc', 2.0, 2)
  assert [bar['height'] for bar in bars] == [70.0, 10.0]
  soft = np.sqrt([0.7, 0.2, 0.1])
  assert bars[0]['soft'] == pytest.approx(100 * soft[0] / soft.sum(), abs=0.1)
  assert [bar['truth'] for bar in bars] == [False, True]


def test_pictures_have_the_colors_of_the_page():
  def draw(axes):
    axes.plot([0, 1], [0, 1], color=svg.COLORS['teacher'], label='a < b')
    axes.legend()

  text = svg.panel(draw, 'some', 'a "label" < 3')
  assert text == svg.panel(draw, 'some', 'a "label" < 3')
  assert 'var(--teacher)' in text and 'var(--ink)' in text
  assert '#0102' not in text and 'font-family' not in text
  assert 'a &lt; b' in text
  assert 'aria-label="a &quot;label&quot; &lt; 3"' in text


def test_numbers_are_short():
  assert [pictures.short(x) for x in (0.3, 950, 1500, 2e6, 3e9)] == [
    '0.3',
    '950',
    '1.5k',
    '2M',
    '3G',
  ]
  assert table.size(1290) == '1.29 kB' and table.operations(2.1e6) == '2.1 M'


PROBE = """<script>
const wide = document.documentElement.scrollWidth - window.innerWidth;
const images = [...document.images].filter(x => !x.naturalWidth).length;
const cut = [...document.querySelectorAll('.scroll')].filter(
  x => x.scrollWidth > x.clientWidth + 1).length;
const flat = [...document.querySelectorAll('svg')].filter(
  x => x.getBoundingClientRect().height < 20).length;
document.title = JSON.stringify({wide, images, flat, cut,
  pictures: document.querySelectorAll('svg').length});
</script>"""


def browse(page, width, *options):
  """(standard output, standard error) of a headless browser."""
  done = subprocess.run(
    [CHROMIUM, '--headless=new', '--no-sandbox', '--disable-gpu',
     '--enable-logging=stderr', '--hide-scrollbars', '--timeout=20000',
     f'--window-size={width},1500', *options, page.as_uri()],
    capture_output=True, text=True, timeout=120, check=False,
  )  # fmt: skip
  return done.stdout, done.stderr


def probed(page, width):
  """(what PROBE found, the log) of a page that ends in PROBE."""
  out, log = browse(page, width, '--dump-dom')
  text = re.search(r'<title>(.*?)</title>', out).group(1)
  return json.loads(text.replace('&quot;', '"')), log


@needs_browser
def test_a_bad_page_is_seen_in_the_browser(tmp_path):
  page = tmp_path / 'bad.html'
  page.write_text(
    '<!doctype html><title>x</title><img src="none.png"><svg height="3"></svg>'
    '<p style="width: 2000px">wide</p><script>console.error("no")</script>'
    + PROBE
  )
  found, log = probed(page, 390)
  assert 'CONSOLE' in log
  assert found['images'] == found['flat'] == 1
  assert found['wide'] > 1000


@needs_browser
@pytest.mark.parametrize('width', [400, 800, 1200])
@pytest.mark.parametrize('which', ['seeds', 'across'])
def test_no_table_is_cut(which, width, many, tmp_path):
  path = many / 'report.html'
  if which == 'across':
    path = tmp_path / 'across.html'
    folders = [many / 'seed_0', many / 'seed_1', many]
    report.across(folders, path)
  probe = tmp_path / 'page.html'
  probe.write_text(path.read_text() + PROBE)
  found, _ = probed(probe, width)
  assert found['cut'] == 0 and found['wide'] <= 0


@needs_browser
@pytest.mark.parametrize('width', [390, 1280], ids=['phone', 'desktop'])
def test_page_in_a_browser(many, width, tmp_path):
  probe = tmp_path / 'page.html'
  probe.write_text((many / 'report.html').read_text() + PROBE)
  found, log = probed(probe, width)
  assert 'CONSOLE' not in log
  assert found['pictures'] >= 10
  assert found['images'] == found['flat'] == 0
  assert found['wide'] <= 0, 'the page scrolls sideways'
  shot = tmp_path / 'shot.png'
  browse(many / 'report.html', width, f'--screenshot={shot}')
  from PIL import Image

  image = np.asarray(Image.open(shot).convert('L'))
  assert image.shape == (1500, width)
  assert len(np.unique(image)) > 30, 'nothing was drawn'
