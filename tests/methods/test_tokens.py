"""Laws of methods on text: padding, packing and another split of the batch.

The loss and its gradient are those of the sequences, whatever rows they are in.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import kinds, methods, terms
from kd_jax.build import terms as build_terms
from kd_jax.losses import heads, sparse
from tests.helpers import marks
from tests.helpers.methods import harness, texts

KEYS = {**texts.BY_TOKEN, **texts.BY_ROW}
QUICK = ('cross_entropy', 'kd', 'dist', 'feature_mse', 'minilm', 'tinybert')
every = pytest.mark.parametrize('name', marks.slow_but(KEYS, (*QUICK, 'at')))
by_token = pytest.mark.parametrize(
  'name', marks.slow_but(texts.BY_TOKEN, QUICK)
)


@functools.cache
def _made(name):
  """The method and its variables."""
  method = methods.make_method(name, **KEYS[name])
  shapes = texts.shapes(texts.lay_out(texts.PLAIN))
  variables = jax.jit(lambda key: method.init(key, *shapes))(jax.random.key(0))
  return method, variables


def _total(name, text, student, reduction, axis_name=None):
  method, variables = _made(name)
  hard = name in methods.HARD
  teacher = terms.LABELS if hard else 'teacher'
  term = terms.Term('student', teacher, method, reduction=reduction)
  signals = {'student': student, 'teacher': text.teacher, terms.LABELS: {}}
  total, _ = terms.total_loss(
    {'term': term},
    {'term': variables},
    signals,
    text.batch,
    {'term': terms.hparams_of(term)},
    jnp.int32(0),
    axis_name,
  )
  return total


def _ask(name, text, reduction):
  """The loss and its gradient by sequence, and the share of it elsewhere."""
  _made(name)  # outside of the trace

  def loss(student):
    return _total(name, text, student, reduction)

  value, gradient = jax.jit(jax.value_and_grad(loss))(text.student)
  parts = texts.of_sequences(text, gradient)
  whole = sum(np.abs(x).sum() for x in gradient.values())
  of_text = sum(np.abs(x).sum() for part in parts.values() for x in part)
  return value, parts, abs(whole - of_text) / whole


def _agree(got, want):
  (value, gradient, outside), (wanted, slope, _) = got, want
  assert value > 0 or value < 0
  harness.close(value, wanted, 1e-5)
  assert harness.apart(gradient, slope) < 1e-4
  assert harness.norm(slope) > 0
  assert outside < 1e-5


@every
def test_padding_counts_nowhere(name):
  plain, padded = map(texts.lay_out, (texts.PLAIN, texts.PADDED))
  if name in texts.BY_ROW:  # which compare rows, an empty one too
    padded = texts.lay_out((texts.PLAIN[0], 9))
  for reduction in ('token_mean', 'sequence_mean'):
    _agree(_ask(name, padded, reduction), _ask(name, plain, reduction))


@by_token
@pytest.mark.parametrize('reduction', terms.REDUCTIONS)
def test_packed_sequences_are_as_if_alone(name, reduction):
  packed = texts.lay_out(texts.PACKED, packed=True)
  plain = texts.lay_out(texts.PLAIN)
  _agree(_ask(name, packed, reduction), _ask(name, plain, reduction))


@by_token
@pytest.mark.parametrize('reduction', terms.REDUCTIONS)
def test_another_split_of_the_batch(name, reduction):
  """Halves of unequal numbers of tokens: their average is the whole."""
  _made(name)
  text = texts.lay_out(texts.PLAIN)
  halves = jax.tree.map(
    lambda x: x.reshape(2, -1, *x.shape[1:]),
    (text.student, text.teacher, text.batch),
  )

  def loss(student):
    def shard(student, teacher, batch):
      half = texts.Text({}, teacher, batch, ())
      return _total(name, half, student, reduction, 'devices')

    found = jax.vmap(shard, axis_name='devices')(student, *halves[1:])
    return found.mean()

  value, gradient = jax.jit(jax.value_and_grad(loss))(halves[0])
  gradient = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), gradient)
  parts = texts.of_sequences(text, gradient)
  _agree((value, parts, 0), _ask(name, text, reduction))


def _with_heads(text):
  """Sides whose logits are those of heads on 'states', and named so."""
  rng = np.random.default_rng(9)
  for side in (text.student, text.teacher):
    head = {
      'kernel': rng.normal(size=(6, texts.CLASSES)).astype(np.float32),
      'soft_cap': np.float32(3),
    }
    logits = heads.logits(head, jnp.asarray(side['states']))
    yield {'final': side['states'], 'head': head, 'logits': logits}


CHUNKED = [
  name
  for name in texts.BY_TOKEN
  if 'chunk' in kinds.of_options(methods.METHODS[name])
]


@pytest.mark.parametrize('name', marks.slow_but(CHUNKED, ('kd', 'dkd')))
def test_in_chunks_it_is_the_same(name):
  """By tokens of two rows, the last chunk shorter than the others."""
  text = texts.lay_out(texts.PACKED, packed=True)
  student, teacher = _with_heads(text)
  found = []
  for chunk in (None, 5):
    options = {**texts.BY_TOKEN[name], **({'chunk': chunk} if chunk else {})}
    method = methods.make_method(name, **options)
    sides = student, teacher
    method.init(jax.random.key(0), *map(harness.signals.shapes_of, sides))

    def loss(states, kernel, method=method, chunk=chunk):
      head = {**student['head'], 'kernel': kernel}
      ours = {**student, 'final': states, 'head': head}
      theirs = {k: v for k, v in teacher.items() if k != 'logits' or not chunk}
      ours['logits'] = None if chunk else heads.logits(head, states)
      values, _ = method.loss(
        {'params': {}, 'state': {}}, ours, theirs, text.batch, method.hparams
      )
      return terms.masked_mean(values, text.batch['mask'])

    given = student['final'], student['head']['kernel']
    found.append(jax.jit(jax.value_and_grad(loss, (0, 1)))(*given))
  (dense, slopes), (value, gradients) = found
  harness.close(value, dense, 1e-6)
  assert harness.apart(gradients, slopes) < 1e-6


def test_chunks_need_hidden_states_and_a_head():
  text = texts.lay_out(texts.PLAIN)
  shapes = texts.shapes(text)
  key = jax.random.key(0)
  method = methods.make_method('kd', chunk=4)
  with pytest.raises(ValueError, match="hidden output of the student, 'final'"):
    method.init(key, *shapes)
  method = methods.make_method('kd', chunk=4, hidden='states')
  with pytest.raises(ValueError, match='last linear layer of the student'):
    method.init(key, *shapes)
  method = methods.make_method('kd', chunk=4, hidden='layer0')
  sides = [{**side, 'head': {'kernel': jnp.ones((5, 7))}} for side in shapes]
  with pytest.raises(ValueError, match='its head reads 5 numbers'):
    method.init(key, *sides)


BINNED = (
  'kd',
  'forward_kl',
  'reverse_kl',
  'generalized_jsd',
  'skew_kl',
  'skew_reverse_kl',
  'symmetric_kl',
  'js',
  'tv',
)


@pytest.mark.parametrize('name', marks.slow_but(BINNED, ('kd', 'skew_kl')))
def test_a_teacher_of_which_some_classes_are_known(name):
  """At k = K the live value, whatever T; below it and at T = 1, less."""
  text = texts.lay_out(texts.PLAIN)
  log_p = jax.nn.log_softmax(text.teacher['logits'])

  def ask(k, temperature):
    method = methods.make_method(name, temperature=temperature)
    log_top, classes = jax.lax.top_k(log_p, k)
    known = log_top, classes, sparse.log_tail(log_top)
    teacher = dict(zip(sparse.KNOWN, known, strict=True))
    shapes = map(harness.signals.shapes_of, (text.student, teacher))
    variables = method.init(jax.random.key(0), *shapes)
    for side in (teacher, text.teacher):
      value, _ = method.loss(
        variables, text.student, side, text.batch, method.hparams
      )
      yield np.asarray(value)

  known, live = ask(texts.CLASSES, 3.0)
  np.testing.assert_allclose(known, live, rtol=1e-5, atol=1e-6)
  known, live = ask(3, 1.0)
  assert np.all(known <= live + 1e-6)
  assert np.all(known > 0)


def test_an_unknown_reduction_is_one_line():
  spec = {'method': 'kd', 'reduction': 'token'}
  with pytest.raises(ValueError, match="term 'soft' .*'token_mean'") as error:
    build_terms.make_term('soft', spec, None, None)
  assert '\n' not in str(error.value)


def test_features_of_tokens_and_of_rows_need_a_term_each():
  text = texts.lay_out(texts.PLAIN)
  sides = [
    {**side, 'pooled': side['states'][:, 0]}
    for side in (text.student, text.teacher)
  ]
  layers = [('states', 'states'), ('pooled', 'pooled')]
  method = methods.make_method('feature_mse', layers=layers)
  empty = {'params': {}, 'state': {}}
  with pytest.raises(ValueError, match='need a term each'):
    method.loss(empty, *sides, text.batch, {})
  one = methods.make_method('feature_mse', layers=layers[1:])
  assert one.loss(empty, *sides, text.batch, {})[0].shape == (4,)


def test_batch_norm_would_count_padding():
  text = texts.lay_out(texts.PLAIN)
  method = methods.make_method('fitnet', layers=[('states', 'states')])
  variables = method.init(jax.random.key(0), *texts.shapes(text))
  with pytest.raises(ValueError, match="variant='paper'"):
    method.loss(variables, text.student, text.teacher, text.batch, {})


def test_patient_distillation_refuses_packed_rows():
  text = texts.lay_out(texts.PACKED, packed=True)
  method = methods.make_method('pkd', layers=[('states', 'states')])
  empty = {'params': {}, 'state': {}}
  with pytest.raises(ValueError, match='may not be packed'):
    method.loss(empty, text.student, text.teacher, text.batch, {})
