"""The feed of a stage, and scores: read ahead, the same numbers."""

import threading

import jax
import numpy as np
import pytest

from kd_jax import build, device, errors, metrics, parallel
from kd_jax.data import pipeline, splits, stream
from kd_jax.training import runtime as runtimes
from tests.helpers import marks, running


def threads() -> list[threading.Thread]:
  """The threads that read in advance and do not end."""
  reading = [
    t for t in threading.enumerate() if t.name.startswith(('ahead', 'grain'))
  ]
  for thread in reading:
    thread.join(5)
  return [t for t in reading if t.is_alive()]


def streamed(split: splits.Split, fails_at: int = -1) -> stream.Stream:
  """A split that is read at each step, as from disk; one example fails."""
  inputs, labels = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in split)

  def read(index):
    if fails_at in index:
      raise OSError(f'example {fails_at} cannot be read')
    return tuple(x[index] for x in split)

  return stream.Stream(inputs, labels, read)


def experiment(fails_at: int = -1, **changes) -> build.Experiment:
  """The quick one, whose data are read as from disk."""
  pytest.importorskip('grain')
  made = running.experiment(baseline=False, steps_at_once=1, **changes)
  data = made.data
  return made._replace(
    data=data._replace(
      train=streamed(data.train, fails_at), validation=streamed(data.validation)
    )
  )


@pytest.mark.parametrize(
  'way', marks.slow_but(['one', 'mesh', 'pmap'], ['one'])
)
def test_a_stream_trains_as_arrays_and_leaves_no_thread(way, tmp_path):
  read = running.run(experiment(parallel=way), tmp_path / 'stream')
  made = running.experiment(parallel=way, baseline=False, steps_at_once=1)
  arrays = running.run(made, tmp_path / 'arrays')
  rows, others = (metrics.read_rows(x) for x in (read, arrays))
  assert len(rows) == len(others)
  for ours, theirs in zip(rows, others):
    assert ours.pop('stage') == theirs.pop('stage')
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
  if way == 'one':
    assert running.hashes(read) == running.hashes(arrays)
  assert not threads()


def test_what_a_stream_raises_ends_the_run_and_its_threads(tmp_path):
  made = experiment(fails_at=5)
  with pytest.raises(OSError, match='example 5 cannot be read'):
    running.run(made, tmp_path)
  assert not threads()


def test_a_stopped_run_leaves_no_thread_and_continues(tmp_path):
  whole = running.run(experiment(), tmp_path / 'whole')
  for times in (3, 17, 31):
    with pytest.raises(errors.StoppedError):
      running.run(experiment(), tmp_path / 'stopped', stop_after=times)
    assert not threads()
  stopped = running.run(experiment(), tmp_path / 'stopped')
  assert running.hashes(stopped) == running.hashes(whole)
  assert metrics.read_rows(stopped) == metrics.read_rows(whole)


def test_augmentation_has_a_name_in_a_profile():
  made = running.experiment()
  prepare = runtimes.make_prepare(made, made.stages[-1].recipe)
  batch = pipeline.take(pipeline.head(made.data.train, 4), np.arange(4))
  text = jax.jit(prepare).lower(0, batch).as_text(debug_info=True)
  assert '/augment/' in text


@pytest.mark.parametrize('way', ['mesh', 'pmap'])
def test_several_devices_are_given_indices(way, monkeypatch):
  """Data that fit lie on all of them; others are sent, batch by batch."""
  made = running.experiment(parallel=way)
  train, recipe = made.data.train, made.stages[-1].recipe
  feed = runtimes.make_feed(train, recipe, made.placement)
  assert set(feed(3)) == {'index'}
  monkeypatch.setattr(device, 'free', lambda: 2 * train.inputs.nbytes)
  sent = runtimes.make_feed(train, recipe, made.placement)
  batch = jax.device_get(sent(3))
  sent.close()
  np.testing.assert_array_equal(
    batch['index'], jax.device_get(feed(3)['index'])
  )
  np.testing.assert_array_equal(batch['inputs'], train.inputs[batch['index']])


def test_data_that_do_not_fit_train_the_same(tmp_path, monkeypatch):
  options = dict(parallel='mesh', steps_at_once=1, baseline=False)
  fits = running.run(running.experiment(**options), tmp_path / 'fits')
  monkeypatch.setattr(parallel, 'fits', lambda *_: False)
  sent = running.run(running.experiment(**options), tmp_path / 'sent')
  assert metrics.read_rows(sent) == metrics.read_rows(fits)
  assert not threads()


def test_scores_are_those_of_single_batches():
  made = experiment()
  split, name = made.data.validation, 'student'
  example = made.prepare(pipeline.head(split, 1).inputs)
  variables = made.networks[name].init(jax.random.key(0), example)
  evaluate = jax.jit(
    runtimes._evaluation(made.networks[name], made.prepare, made.task)
  )
  sums = {'correct': 0.0, 'nll': 0.0, 'count': 0.0}
  for batch in pipeline.eval_batches(split, runtimes.EVAL_BATCH):
    for key, value in evaluate(variables, batch).items():
      sums[key] += float(value)
  scores = runtimes.make_score(made, name, split)(variables)
  assert sums['count'] == len(split.labels)
  assert scores == {
    'accuracy': sums['correct'] / sums['count'],
    'nll': sums['nll'] / sums['count'],
  }
  assert not threads()
