"""What a report shows of every pixel: maps, classes, frames a second."""

import base64
import io
import re

import numpy as np
import pytest

from kd_jax import report, tasks
from kd_jax.compare import results
from kd_jax.report import page, pixels
from tests.helpers import compared
from tests.helpers import pixels as runs


@pytest.fixture(params=['seed_0', '.'], ids=['run', 'seeds'])
def result(request):
  """A run, then the folder of its seeds."""
  return results.read(runs.shared() / request.param)


def picture(uri: str) -> np.ndarray:
  """The pixels of a picture that lies in the page."""
  from PIL import Image

  data = base64.b64decode(uri.partition('base64,')[2])
  return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))


def test_the_page_shows_the_task_and_nothing_of_another(result):
  text = (result.folder / 'report.html').read_text()
  for words in (
    'What they see',
    'Test mean IoU',
    'What mean IoU costs',
    'Mean IoU on validation',
    'IoU of each class',
    'frames a second of 24x32 in JAX',
    'what a pixel is',
    'IoU by class: distilled minus alone',
  ):
    assert words in text, words
  assert 'What the teacher taught' not in text and 'test accuracy' not in text
  body = re.sub(r'<style>.*?</style>', '', text, flags=re.DOTALL)
  assert not re.search(r'\bnan\b|\bNone\b|#0102', body)


def test_maps_are_painted_in_the_colors_of_the_legend(result):
  names = {row: row for row in result.report['networks']}
  shown = pixels.maps(result, names, dict.fromkeys(names, 'ink'))
  heads = [head for head, _ in shown['heads']]
  assert heads == [
    'image', 'truth', 'teacher', 'baseline', 'student', 'where they differ',
  ]  # fmt: skip
  legend = dict(shown['legend'])
  assert (
    list(legend) == [*runs.NAMES, 'void'] and len(set(legend.values())) == 5
  )
  run = result.runs[0]
  for row, index in zip(shown['rows'], run.images):
    assert row['index'] == index
    cells = dict(zip(heads, row['cells']))
    np.testing.assert_array_equal(
      picture(cells['image']['image']), run.images[index]
    )
    truth = picture(cells['truth']['image'])
    for k, color in enumerate(legend.values()):
      place = run.truth[index] == (k if k < 4 else tasks.VOID)
      painted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
      assert (truth[place] == painted).all()
    ours = pixels.answer(run, 'student', index)
    theirs = pixels.answer(run, 'teacher', index)
    differ = picture(cells['where they differ']['image'])
    good = (ours != theirs) & (ours == run.truth[index])
    assert ((differ == pixels.RIGHT).all(-1) == good).all()
    assert '% differ' in cells['where they differ']['note']


def test_a_large_image_is_shrunk_and_labels_stay_labels():
  image = np.random.default_rng(0).integers(0, 256, (720, 960, 3), np.uint8)
  assert picture(pixels._photo(image)).shape == (360, 480, 3)
  labels = np.repeat(np.arange(960)[None] % 3, 720, 0)
  paint = [(9, 0, 0), (0, 9, 0), (0, 0, 9)]
  shown = picture(pixels._map(labels, paint))
  assert shown.shape == (360, 480, 3)
  assert {tuple(x) for x in shown.reshape(-1, 3)} <= set(paint)


def test_any_number_of_classes_has_colors_of_its_own():
  data = {'classes': [str(k) for k in range(19)]}
  assert len(set(pixels.palette(data))) == 19
  assert pixels.palette({**data, 'palette': [[1, 2, 3]] * 19})[0] == (1, 2, 3)


def test_faster_is_to_the_right_and_runs_of_two_tasks_are_not_compared(
  result, tmp_path
):
  names = {row: row for row in result.report['networks']}
  colors = dict(zip(names, ('teacher', 'alone', 'student')))
  panels = pixels.frames(result, names, colors)
  assert len(panels) == 1 and 'dashed: the Pareto front' in panels[0]
  images = results.read(compared.shared()[0] / 'seed_0')
  with pytest.raises(ValueError, match='different tasks'):
    page.across([result, images], tmp_path)
  report.across([result.folder], tmp_path / 'across.html')
  assert 'mean IoU, %' in (tmp_path / 'across.html').read_text()
