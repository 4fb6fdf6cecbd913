"""Training on text from cached distributions of its teacher."""

import jax
import numpy as np
import pytest

from kd_jax import checkpoint, errors, network_files, training
from kd_jax import metrics as written
from kd_jax.cache import store
from kd_jax.losses import sparse
from kd_jax.training import cached_teachers, runtime
from tests.helpers import running, texts, tiny

EXACT = {'method': 'forward_kl', 'variant': 'cross_entropy'}
FORMS = {
  'top_k': ({'name': 'top_k', 'k': 4, 'dtype': 'uint8'}, {'method': 'kd'}),
  'sampled': ({'name': 'sampled', 'n': 8}, EXACT),
  'hidden': ({'name': 'hidden'}, {'method': 'kd', 'chunk': 16}),
}


def experiment(distribution=None, term=None, **changes):
  """The small run on text, its teacher read from a cache."""
  changes = {
    'baseline': False,
    'teacher_outputs': 'cache',
    'cache.distribution': distribution or {},
    'terms.soft': term or {'method': 'kd', 'temperature': 2.0},
    'checkpoint_every': 3,
    **changes,
  }
  return texts.experiment(**changes)


def student(folder):
  return network_files.load_network(folder / 'networks/student')[0]


def losses(folder):
  rows = written.read_rows(folder)
  return [row['loss'] for row in rows if row['stage'] == 'student']


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
  """A run with the default, of which k = V."""
  folder = tmp_path_factory.mktemp('stored') / 'run'
  return running.run(experiment(), folder)


def test_what_is_read_is_known_classes_and_never_all_logits():
  made = experiment({'name': 'top_k', 'k': 3})
  stage = made.stages[-1]
  batch = runtime.build.example_batch(made, stage)
  (signal,) = batch['signals'].values()
  assert set(signal) == set(sparse.KNOWN)
  assert {x.shape[2:] for x in signal.values()} == {(3,), ()}
  prepare = runtime.make_prepare(made, stage.recipe)
  variables = texts.variables(made)['teacher']
  compute = cached_teachers.make_compute(
    made, stage, 'teacher', variables, prepare
  )
  outputs = compute(np.arange(8), 0)
  assert max(x.size for x in outputs.values()) == 8 * texts.LENGTH * 3


@pytest.mark.slow
def test_all_classes_train_as_a_live_teacher(stored, tmp_path, capsys):
  live = running.run(experiment(teacher_outputs='live'), tmp_path / 'live')
  np.testing.assert_allclose(losses(stored), losses(live), rtol=2e-3)
  assert tiny.distance(student(stored), student(live)) < 5e-3
  index = checkpoint.read_json(stored / 'cache/teacher' / store.MANIFEST)
  identity = index['identity']
  assert identity['distribution'] == {
    'name': 'top_k', 'k': texts.VOCABULARY, 'dtype': 'float16',
  }  # fmt: skip
  assert {'tokenizer', 'tokens', 'teacher'} <= identity.keys()
  assert index['record_bytes'] == texts.LENGTH * (texts.VOCABULARY * 3 + 2)


@pytest.mark.slow
def test_a_run_that_was_stopped_continues(stored, tmp_path, capsys):
  for stop_after in (3, 7):
    with pytest.raises(errors.StoppedError):
      running.run(experiment(), tmp_path / 'run', stop_after=stop_after)
  running.run(experiment(), tmp_path / 'run')
  assert 'bytes a prediction on disk, 53 as a record' in capsys.readouterr().err
  assert tiny.distance(student(tmp_path / 'run'), student(stored)) == 0


@pytest.mark.slow
@pytest.mark.parametrize('name', FORMS)
def test_each_form_trains(name, tmp_path):
  folder = running.run(experiment(*FORMS[name]), tmp_path / 'run')
  values = losses(folder)
  assert np.isfinite(values).all() and values[-1] < values[0]


@pytest.mark.parametrize(
  ('change', 'words'),
  [('ids', 'data set'), ('form', 'outputs'), ('k', 'distribution')],
)
def test_a_cache_of_something_else(change, words, tmp_path):
  """Other tokens, another form, another k than what the folder holds."""
  session = training.Session(tmp_path, written.silent())
  made = experiment({'name': 'top_k', 'k': 3})
  variables = texts.variables(made)['teacher']
  made = made._replace(loaded={'teacher': variables})
  stage = made.stages[-1]
  prepare = runtime.make_prepare(made, stage.recipe)
  cached_teachers.open_stage(made, stage, made.loaded, prepare, session)
  cached_teachers.check(made, session)
  inputs, labels = texts.padded(texts.sentences(40, 1))
  other = {
    'ids': {'of': texts.data(train=(inputs, labels))},
    'form': {'distribution': {'name': 'all'}},
    'k': {'distribution': {'name': 'top_k', 'k': 2}},
  }[change]
  other = experiment(**{'distribution': {'name': 'top_k', 'k': 3}, **other})
  with pytest.raises(errors.CacheError, match=f'of another {words}'):
    cached_teachers.check(other, session)


@pytest.mark.parametrize(
  ('distribution', 'changes', 'words'),
  [
    ({'name': 'top_k', 'k': 18}, {}, 'k=18 of 17 classes'),
    ({'name': 'top'}, {}, "did you mean 'top_k'"),
    ({'name': 'top_k', 'n': 3}, {}, "no option 'n'"),
    ({'k': 3}, {}, 'needs a name; legal: all, top_k, sampled, hidden'),
    ({'name': 'top_k'}, {'cache.top_k': 3}, 'legal with it: cache.top_k=0'),
    ({'name': 'hidden'}, {}, 'needs chunk='),
    ({}, {'terms.soft': {'method': 'dkd'}}, 'reads the logits of all classes'),
    ({}, {'terms.soft': {'method': 'minilm'}}, "method 'minilm'"),
    ({}, {'terms.soft': {'method': 'kd', 'others': 'no'}}, "variant 'no'"),
  ],
)
def test_what_cannot_be_is_one_line(distribution, changes, words):
  with pytest.raises(ValueError, match=words) as refused:
    experiment(distribution, **changes)
  assert '\n' not in str(refused.value)


def test_only_classes_that_exclude_each_other():
  with pytest.raises(ValueError, match="legal: 'all'"):
    texts.experiment(
      'regression', **{'cache.distribution': {'name': 'top_k', 'k': 1}}
    )


@pytest.mark.parametrize('chunk', [None, 8])
def test_a_step_in_chunks_holds_no_logits_of_all_tokens(chunk):
  """Neither side's, nor for its metric: no program has an array as large."""
  chunked = {'chunk': chunk} if chunk else {}
  made = experiment(
    term={'method': 'kd', **chunked},
    teacher_outputs='live',
    **{'terms.hard': {'method': 'cross_entropy', 'weight': 0.5, **chunked}},
  )
  compiled = runtime.make_runtime(made, made.stages[-1])
  state = compiled.init(made.stages[-1], {})
  frozen = {'teacher': texts.variables(made)['teacher']}
  signals = compiled.signals.lower(0, frozen, compiled.feed(0))
  args = jax.eval_shape(compiled.signals, 0, frozen, compiled.feed(0))
  update = compiled.update.lower(state, *args)
  shape = 8, texts.LENGTH, texts.VOCABULARY
  names = [f'[{n},{shape[-1]}]' for n in ('8,12', '96')]
  for program in (signals, update):
    text = program.compile().as_text()
    assert any(name in text for name in names) == (chunk is None)
