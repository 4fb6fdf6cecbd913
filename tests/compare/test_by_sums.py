"""Comparing networks of many predictions an example: sums are as of logits."""

import numpy as np
import pytest

from kd_jax import tasks
from kd_jax.compare import (
  by_sums,
  fidelity,
  predict,
  resampling,
  results,
  roles,
  seeds,
  shown,
  table,
)
from kd_jax.losses import spatial
from tests.helpers import pixels


@pytest.fixture(scope='module')
def whole():
  """The experiment, its variables, and logits of all that counts, [M, K]."""
  of = pixels.experiment()
  variables, split = pixels.variables(of), of.data.test()
  counts = split.labels != tasks.VOID
  logits = {}
  for row, name in pixels.ROWS.items():
    small = predict.predict(of, name, variables[row], split)
    large = spatial.at_labels(small, split.labels)
    logits[row] = np.asarray(large)[counts]
  return of, variables, logits, split.labels[counts].astype(int)


def test_sums_give_what_all_logits_would(whole):
  of, variables, logits, labels = whole
  line = roles.make_lineup(of, variables)
  found = by_sums.measure(of, line, variables, {}, of.data.test())
  for row, own in found.rows.items():
    teacher = None if row == 'teacher' else logits['teacher']
    wanted = fidelity.measure(logits[row], labels, teacher)
    matrix = fidelity.confusion(logits[row], labels)
    scores = tasks.SEGMENTATION.scores(
      {'confusion': matrix, 'nll': 0.0, 'count': labels.size}
    )
    assert own['miou'] == pytest.approx(scores['miou'], abs=1e-6)
    assert own['pixel_accuracy'] == pytest.approx(wanted['accuracy'], abs=1e-6)
    assert own['nll'] == pytest.approx(wanted['nll'], rel=1e-4)
    assert own['calibration_error'] == pytest.approx(
      wanted['calibration_error'], abs=1e-4
    )
    for key in ('agreement', 'kl'):
      assert (own[key] is None) == (row == 'teacher')
      if row != 'teacher':
        assert own[key] == pytest.approx(wanted[key], rel=1e-4)
  assert found.counts == np.bincount(labels, minlength=4).tolist()


def test_the_mean_of_teachers_is_that_of_their_probabilities(whole):
  of, variables, logits, labels = whole
  line = roles.make_lineup(of, variables)
  line = line._replace(
    means={roles.TEACHERS: ('teacher', 'baseline')}, teacher=roles.TEACHERS
  )
  sums, fits, _ = by_sums.read(of, line, variables, of.data.test())
  mean = fidelity.mean_of([logits['teacher'], logits['baseline']])
  assert list(sums) == [roles.TEACHERS, 'teacher', 'baseline', 'student']
  matrix = sums[roles.TEACHERS]['confusion'].sum(0)
  np.testing.assert_array_equal(matrix, fidelity.confusion(mean, labels))
  wanted = fidelity.kl(mean, logits['student'])
  assert fits['student']['kl'] / labels.size == pytest.approx(wanted, rel=1e-4)


def test_what_is_kept_are_sums_and_a_few_images(whole):
  folder = pixels.shared() / 'seed_0'
  run = results.read(folder).runs[0]
  assert not run.logits and not run.labels.size
  assert set(run.sums) == set(pixels.ROWS)
  assert run.sums['student']['confusion'].shape == (pixels.TEST, 4, 4)
  assert len(run.images) == shown.SHOWN
  of, _, _, _ = whole
  test = of.data.test()
  for index, image in run.images.items():
    np.testing.assert_array_equal(image, test.inputs[index])
    np.testing.assert_array_equal(run.truth[index], test.labels[index])
    counts = run.truth[index] != tasks.VOID
    answers = run.answers['student'][index]
    assert answers.dtype == np.uint8 and answers.shape == pixels.SIZE
    hits = (answers == run.truth[index])[counts].sum()
    assert hits == np.trace(run.sums['student']['confusion'][index])


def test_shown_images_go_from_the_most_improved_to_the_most_harmed():
  folder = pixels.shared() / 'seed_0'
  run = results.read(folder).runs[0]
  task = tasks.SEGMENTATION

  def score(row, k):
    values = {name: x[k] for name, x in run.sums[row].items()}
    return task.scores(values)['miou']

  change = [
    score('student', k) - score('baseline', k) for k in range(pixels.TEST)
  ]
  of_shown = [change[k] for k in run.images]
  assert of_shown == sorted(of_shown, reverse=True)
  assert of_shown[0] == max(change) and of_shown[-1] == min(change)


def test_a_report_holds_the_score_of_its_task():
  folder = pixels.shared()
  one, many = (results.read(f).report for f in (folder / 'seed_0', folder))
  assert one['task'] == many['task'] == 'segmentation'
  for row, network in one['networks'].items():
    assert 'accuracy' not in network
    low, high = network['interval']
    assert low < network['miou'] < high
    frames = network['cost']['frames']
    assert frames['size'] == list(pixels.SIZE)
    assert frames['jax']['median'] >= frames['jax']['slow'] > 0
    both = many['networks'][row]['miou']
    assert both['mean'] == pytest.approx(np.mean(both['values']))
  found = seeds.scores_of(results.read(folder).runs[0])
  assert found['student'].value == one['networks']['student']['miou']
  change = found['student'].minus(found['baseline'])
  assert one['verdict']['interval'] == list(change.interval(0.95))
  for report in (one, many):
    text = table.table(report)
    assert 'Test mean IoU, %' in text and 'Pixel accuracy, %' in text
    assert 'points of test mean IoU' in text.replace('\n', ' ')
    assert max(map(len, text.splitlines())) <= table.WIDTH
    assert 'None' not in text and 'nan' not in text


def test_sequences_of_the_data_set_reach_the_intervals(tmp_path):
  groups = np.repeat([0, 1], [12, pixels.TEST - 12])
  report = pixels.run(tmp_path, sequences=groups)
  assert 'blocks of 3 neighboring frames' in report['verdict']['evidence']
  stored = results.read(tmp_path).runs[0]
  np.testing.assert_array_equal(stored.sequences, groups)
  draws = resampling.make_draws(pixels.TEST, stored.sequences)
  drawn = resampling.score(tasks.SEGMENTATION, stored.sums['student'], draws)
  own = report['networks']['student']
  assert own['interval'] == list(drawn.interval(0.95))


def test_groups_of_another_length_are_refused():
  with pytest.raises(ValueError, match=r'sequences .*integers \[23\]'):
    pixels.data(sequences=[0, 1])
  with pytest.raises(ValueError, match='label_names'):
    pixels.data(label_names=('road',))
  with pytest.raises(ValueError, match=r'palette .*integers \[4, 3\]'):
    pixels.data(palette=[[0, 0, 0]])


def test_sums_that_are_not_those_of_the_report_are_refused(tmp_path):
  pixels.run(tmp_path)
  with np.load(tmp_path / results.PREDICTIONS) as stored:
    arrays = dict(stored)
  del arrays['sums/student/confusion']
  short = {k: v for k, v in arrays.items() if not k.startswith('sums/student')}
  np.savez(tmp_path / results.PREDICTIONS, **short)
  with pytest.raises(ValueError, match="sums of 'student' are missing"):
    results.read(tmp_path)
