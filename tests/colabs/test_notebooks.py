"""The notebooks run, are what their sources say, and hold their outputs."""

import itertools
import pathlib
import re
import sys

import pytest

jupytext = pytest.importorskip('jupytext')
nbformat = pytest.importorskip('nbformat')
pytest.importorskip('nbclient')
pytest.importorskip('ipykernel')

from colabs import build  # noqa: E402
from tests.helpers import children  # noqa: E402

SOURCES = build.sources()
EACH = pytest.mark.parametrize('source', SOURCES, ids=lambda path: path.stem)
# Their steps take longer than it takes to compile them.
TRAINED = ('05_road_scenes',)
BADGE = (
  '[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]'
  f'(https://colab.research.google.com/github/{build.REPOSITORY}/blob/main/'
  'colabs/{}.ipynb)'
)
# Places on a disk; what a web address or a fraction has in it is none.
PLACES = re.compile(
  r'(?<![\w./:])/(home|root|tmp|usr|var|work|opt|mnt|Users|private)/'
)


def committed(source: pathlib.Path):
  """The notebook beside its source."""
  return nbformat.read(source.with_suffix('.ipynb'), as_version=4)


def cells(notebook) -> list[tuple[str, str]]:
  """What a reader wrote: kinds and sources of the cells."""
  return [(cell.cell_type, cell.source) for cell in notebook.cells]


def code(notebook) -> list:
  """The cells that are run."""
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


def kinds(notebook) -> list[set[str]]:
  """What kinds of outputs each cell has."""
  return [
    {kind for o in cell.outputs for kind in o.get('data', [o.output_type])}
    for cell in code(notebook)
  ]


def texts(notebook) -> list[str]:
  """All outputs that are text, pictures in SVG among them."""
  found = []
  for output in (o for cell in code(notebook) for o in cell.outputs):
    data = {k: v for k, v in output.get('data', {}).items() if k != 'image/png'}
    found += [output.get('text', ''), *map(str, data.values())]
  return found


def test_their_numbers_ascend():
  numbers = [path.stem[:2] for path in SOURCES]
  assert len(numbers) >= 5 and numbers[0] == '01'
  assert numbers == sorted(set(numbers))


@pytest.mark.slow
@EACH
def test_it_runs_and_gives_what_is_committed(source, monkeypatch):
  if source.stem in TRAINED:
    children.compile_as_a_user_does(monkeypatch)
  found = build.run(source)  # raises where a cell fails
  assert kinds(found) == kinds(committed(source))
  assert cells(found) == cells(committed(source))


@EACH
def test_source_and_notebook_agree(source):
  notebook = committed(source)
  assert cells(build.read(source)) == cells(notebook)
  again = jupytext.reads(jupytext.writes(notebook, 'py:percent'), 'py:percent')
  assert cells(again) == cells(notebook)


@EACH
def test_outputs_are_there_and_of_no_one_machine(source):
  notebook = committed(source)
  counts = [cell.execution_count for cell in code(notebook)]
  assert counts == list(range(1, len(counts) + 1))
  outputs = [o for cell in code(notebook) for o in cell.outputs]
  assert any('data' in o and 'text/plain' in o['data'] for o in outputs)
  assert any(o.output_type == 'stream' for o in outputs)
  assert not [o for o in outputs if o.output_type == 'error']
  assert not [o for o in outputs if o.get('name') == 'stderr']
  for text in texts(notebook):
    assert not PLACES.search(text)
    assert str(build.HERE.parent) not in text and sys.prefix not in text


@EACH
def test_it_opens_in_colab_and_installs_only_what_is_missing(source):
  notebook = committed(source)
  assert BADGE.format(source.stem) in notebook.cells[0].source
  first = code(notebook)[0].source
  assert "if importlib.util.find_spec('kd_jax') is None:" in first
  assert f"'git+https://github.com/{build.REPOSITORY}'" in first
  assert first == code(committed(SOURCES[0]))[0].source


@EACH
def test_a_sentence_stands_before_every_cell(source):
  kind = [cell.cell_type for cell in committed(source).cells]
  assert kind[0] == 'markdown'
  for before, cell in itertools.pairwise(kind):
    assert cell == 'markdown' or before == 'markdown'


def test_progress_is_left_out_and_warnings_are_not():
  text = 'student: step 3/9 loss=1 2.0 steps/s, 3 s left\nUserWarning: odd\n'
  made = nbformat.v4.new_output('stream', name='stderr', text=text)
  assert build.quiet(made).text == 'UserWarning: odd\n'
