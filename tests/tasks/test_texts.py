"""Runs on text: one call, laws of padding, packing and splits, clear lines."""

import functools
import types

import jax
import numpy as np
import pytest

import kd_jax
from kd_jax import build, checkpoint, metrics, tasks, training
from kd_jax.data import pipeline, sources
from kd_jax.export import source
from kd_jax.training import halving, lane, runtime
from tests.helpers import texts, tiny

ROWS = texts.sentences(16)
PLAIN = texts.padded(ROWS)
PADDED = texts.padded(ROWS, 19)
PACKED = texts.packed(ROWS, 24)
ON_LEFT = tuple(
  {k: np.roll(x, 3, axis=1) for k, x in part.items()}
  if isinstance(part, dict)
  else np.roll(part, 3, axis=1)
  for part in texts.padded(ROWS, texts.LENGTH + 3)
)


def made(split, **changes):
  """An experiment that takes one step of plain SGD on the whole of a split."""
  data = sources.make_data(
    'arrays', train=split, test=split, validation=0, task='language',
    vocabulary=texts.VOCABULARY,
  )  # fmt: skip
  batch = len(data.train.labels)
  changes = {
    'train.batch_size': batch,
    'teacher.batch_size': batch,
    'train.epochs': 1,
    'teacher.epochs': 1,
    'train.optimizer.name': 'sgd',
    'baseline': False,
    'train.optimizer.learning_rate': 1.0,
    'teacher.optimizer.learning_rate': 1e-6,
    **changes,
  }
  return texts.experiment(of=data, **changes)


def trained(split, **changes):
  """The student after a step, and the metrics of it."""
  rows = []
  writer = metrics.Writer(lambda *row: rows.append(row), lambda: None)
  of = made(split, **changes)
  (outcome,) = training.run_all([of], [training.Session(None, writer)])
  row = next(values for stage, _, values in rows if stage == 'student')
  return outcome.unwrap()['student'], row


@functools.cache
def plain():
  """The step that the others must equal."""
  return trained(PLAIN)


def equal(found, want=None):
  """The same parameters after the step, and the same loss of each term."""
  (student, row), (wanted, wanted_row) = found, want or plain()
  assert tiny.distance(student, wanted) < 2e-5
  names = ('loss', 'loss/hard', 'loss/soft', 'token_accuracy/student')
  for name in names:
    assert row[name] == pytest.approx(wanted_row[name], rel=1e-5), name


@pytest.mark.slow
def test_a_step_moves_the_student():
  start = texts.network().init(jax.random.key(0), PLAIN[0])
  assert tiny.distance(plain()[0], start) > 1e-2
  assert plain()[1]['loss/soft'] > 0


@pytest.mark.slow
@pytest.mark.parametrize('name', ['padded', 'on the left', 'packed'])
def test_another_layout_is_the_same_step(name):
  layouts = {'padded': PADDED, 'on the left': ON_LEFT, 'packed': PACKED}
  equal(trained(layouts[name]))


@pytest.mark.slow
@pytest.mark.parametrize(
  'changes',
  [
    {'train.batch_size': 4, 'train.optimizer.accumulate': 4},
    {'parallel': 'pmap'},
    {'parallel': 'mesh'},
  ],
  ids=['accumulated', 'pmap', 'mesh'],
)
def test_another_split_of_the_batch_is_the_same_step(changes):
  """Parts have unequal numbers of tokens; the count is that of the whole."""
  student, row = trained(PLAIN, **changes)
  if 'train.optimizer.accumulate' in changes:  # its rows are of other batches
    assert tiny.distance(student, plain()[0]) < 2e-5
    return
  equal((student, row))


@pytest.mark.slow
def test_scores_are_those_of_any_layout():
  """The end of a sequence is as its padding, and counts."""
  wanted = None
  for split in (PLAIN, PADDED, ON_LEFT, PACKED):
    of = made(split)
    variables = texts.variables(of)['student']
    test = of.data.test()
    scores = runtime.make_score(of, 'student', test)(variables)
    wanted = wanted or scores
    assert scores == pytest.approx(wanted, rel=1e-5)
  count = sum(len(row) - 1 for row in ROWS)
  ends = (PLAIN[1] == texts.PAD).sum()
  assert ends == len(ROWS) and (PLAIN[1] >= 0).sum() == count


@pytest.mark.slow
def test_the_score_is_that_of_the_labels_as_they_are():
  """Nothing shifts them: the logits at a place speak of the label there."""
  of = made(PLAIN)
  variables = texts.variables(of)['student']
  logits = of.networks['student'].apply(variables, PLAIN[0])[0]['logits']
  logs = np.asarray(jax.nn.log_softmax(logits))
  counts = PLAIN[1] >= 0
  index = np.where(counts, PLAIN[1], 0)[..., None]
  nll = -np.take_along_axis(logs, index, -1)[..., 0][counts].mean()
  scores = runtime.make_score(of, 'student', of.data.test())(variables)
  assert scores['nll'] == pytest.approx(nll, rel=1e-5)
  assert scores['perplexity'] == pytest.approx(np.exp(nll), rel=1e-5)


def test_batches_of_text_on_the_host_and_on_a_device_are_alike():
  split = texts.data().train
  index = np.array([3, 1])
  host, there = (
    pipeline.take(x, index) for x in (split, pipeline.to_device(split))
  )
  assert jax.tree.all(jax.tree.map(np.array_equal, host, dict(there)))
  assert host['labels'].min() == 0 and host['mask'].shape == (2, texts.LENGTH)
  (last,) = list(pipeline.eval_batches(pipeline.head(split, 2), 3))
  assert last['mask'][2].sum() == 0 and last['mask'][1].sum() > 0


BRIEF = dict(epochs=2, batch_size=8)


@pytest.mark.slow
@pytest.mark.parametrize('task', ['language', 'regression'])
def test_each_task_is_distilled_from_arrays(task):
  data = texts.data(task)
  method = texts.SOFT.get(task, 'kd')
  teacher = kd_jax.train_alone(texts.network(task, 16), data, **BRIEF)
  found = kd_jax.distill(
    texts.network(task), teacher, data=data, method=method, **BRIEF
  )
  assert set(found.score) == {'teacher', 'student'}
  of = tasks.make_task(task)
  key = f'validation_{of.score}/student'
  scores = [row[key] for row in found.history]
  losses = [row['loss'] for row in found.history]
  assert losses[-1] < losses[0] and np.isfinite(scores).all()
  assert f'test {of.title}: teacher' in repr(found)


@pytest.mark.slow
def test_the_best_of_a_score_that_falls_is_the_least():
  """Steps that are too large: it is worse at the end than before."""
  data = texts.data()
  found = kd_jax.train_alone(
    texts.network(), data, epochs=4, batch_size=8, learning_rate=0.5
  )
  scores = [row['validation_perplexity/student'] for row in found.history]
  assert scores[-1] > min(scores)
  of = texts.experiment(of=data)
  best = runtime.make_score(of, 'student', data.validation)(found.best)
  assert best['perplexity'] == pytest.approx(min(scores), rel=1e-5)


def arrays(split=PLAIN, **changes):
  """Data as arrays, some of them changed."""
  inputs, labels = split
  return dict(data=(({**inputs, **changes}, labels), split))


IDS = PLAIN[0]['input_ids']
WRONG = {
  'no ids': (
    dict(data=(({'attention_mask': IDS}, PLAIN[1]), PLAIN)),
    "no input 'input_ids'",
  ),
  'name': (arrays(attention_masks=IDS), "did you mean 'attention_mask'"),
  'rank': (arrays(input_ids=IDS[0]), r'legal: integers \[N, L\]'),
  'type': (arrays(input_ids=IDS * 0.5), r'legal: integers \[N, L\]'),
  'negative': (arrays(input_ids=IDS - 1), 'the value -1'),
  'shape': (arrays(attention_mask=IDS[:, 1:]), 'one value for every token'),
  'vocabulary': (arrays(input_ids=IDS + 90), r'legal: 0\.\.16 \(17 tokens\)'),
  'augment': (dict(augment=['flip']), 'has text; legal: \\(\\)'),
  'mean': (dict(method='mlld'), 'one prediction for each image'),
  'task': (dict(task='classification'), r'legal: integers \[N\]'),
  'network': (
    dict(student=texts.network('tagging')),
    '3 outputs and the data set',
  ),
}


@pytest.mark.parametrize('name', WRONG)
def test_a_mistake_is_one_line(name):
  changes, words = WRONG[name]
  given = dict(
    student=texts.network(), teacher=texts.network(width=16),
    teacher_variables=_teacher(), data=(PLAIN, PLAIN), task='language',
    classes=texts.VOCABULARY, epochs=1, batch_size=8,
  )  # fmt: skip
  with pytest.raises(ValueError, match=words) as mistake:
    kd_jax.distill(**{**given, **changes})
  assert '\n' not in str(mistake.value)


@functools.cache
def _teacher():
  return texts.network(width=16).init(jax.random.key(0), PLAIN[0])


def test_methods_for_other_labels_are_refused():
  for task, method, words in (
    ('regression', 'kd', 'logits are a number; legal: logit_mse'),
    ('multilabel', 'kd', 'yes or no to each class; legal: binary_kd'),
    ('classification', 'squared_error', 'legal: cross_entropy'),
  ):
    with pytest.raises(ValueError, match=words):
      texts.experiment(task, **{'terms.soft.method': method})
  with pytest.raises(ValueError, match='legal: squared_error'):
    texts.experiment('regression', **{'terms.hard.method': 'cross_entropy'})


def test_a_network_has_the_tokens_of_the_data():
  of = texts.data('classification')
  c = texts.settings('classification')
  small = dict(name='bert', width=8, depth=1, heads=2, head='sequence')
  c.networks.teacher = c.networks.student = small
  experiment = build.make_experiment(c, of)
  assert experiment.specs['student']['vocabulary'] == texts.VOCABULARY
  c.networks.student = dict(small, vocabulary=5)
  with pytest.raises(ValueError, match='vocabulary of 5 tokens'):
    build.make_experiment(c, of)
  c.networks.student = small
  with pytest.raises(ValueError, match='one prediction for each token'):
    build.make_experiment(c, texts.data('tagging'))


def test_what_ranks_runs_takes_the_least_perplexity(tmp_path):
  """Successive halving, and the seed that is exported."""
  scores = {'good': 3.0, 'bad': 9.0}
  folders = [tmp_path / name for name in scores]
  lanes = {}
  for k, folder in enumerate(folders):
    stage = types.SimpleNamespace(recipe=types.SimpleNamespace(steps=8))
    session = training.Session(folder, metrics.silent())
    score = {'validation_perplexity/student': scores[folder.name]}
    lanes[k] = lane.Lane(stage, session, None, 4, None, {}, scores=score)
    network = folder / 'networks' / 'student'
    network.mkdir(parents=True)
    spec = {'validation': {'last': scores[folder.name]}, 'select': 'last'}
    checkpoint.write_json(network / 'network.json', spec)
  pruner = halving.make_pruner(folders, 2, tasks.LANGUAGE)
  dropped = pruner(lanes)
  assert list(dropped) == [1] and 'dropped at step 4' in str(dropped[1])
  for k, folder in enumerate(folders):
    folder.rename(tmp_path / f'seed_{k}')
  best = source._finished(tmp_path, 'student', tasks.LANGUAGE.better)
  assert best.parents[1].name == 'seed_0'
  assert source._finished(tmp_path, 'student', 1).parents[1].name == 'seed_1'


@pytest.mark.slow
def test_a_cached_teacher_and_chunks_of_steps_change_nothing(tmp_path):
  changes = {'train.batch_size': 4, 'teacher.batch_size': 4}
  want = trained(PLAIN, **changes, steps_at_once=1)
  cached = trained(
    PLAIN, **changes, steps_at_once=1, teacher_outputs='cache',
    **{'cache.folder': str(tmp_path), 'cache.distribution.name': 'all'},
  )  # fmt: skip
  equal(cached, want)
  student, _ = trained(PLAIN, **changes, steps_at_once=3)
  assert tiny.distance(student, want[0]) < 2e-5
