"""Heads, and losses in chunks: the dense value and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import divergences, heads, logits
from tests.helpers import marks

RNG = np.random.default_rng(0)
X, Y = (RNG.normal(size=(2, 5, d)).astype(np.float32) for d in (4, 6))
LABELS = RNG.integers(0, 11, (2, 5))


def _head(width, **more):
  kernel = RNG.normal(size=(width, 11)).astype(np.float32)
  return {'kernel': kernel, **more}


BIAS = RNG.normal(size=11).astype(np.float32)
OURS = {
  'plain': _head(4),
  'bias': _head(4, bias=BIAS),
  'capped and scaled': _head(
    4, bias=BIAS, scale=np.float32(0.5), soft_cap=np.float32(2)
  ),
}
THEIRS = _head(6, soft_cap=np.float32(3))
LOSSES = {
  'kd': lambda z, y: logits.kd(z['s'], z['t']),
  'forward_kl': lambda z, y: divergences.forward_kl(z['s'], z['t']),
  'reverse_kl': lambda z, y: divergences.reverse_kl(z['s'], z['t']),
  'jsd': lambda z, y: divergences.generalized_jsd(z['s'], z['t'], beta=0.3),
  'skew_kl': lambda z, y: divergences.skew_kl(z['s'], z['t']),
  'cross_entropy': lambda z, y: logits.cross_entropy(z['s'], y),
}


def test_logits_of_a_head():
  head = OURS['capped and scaled']
  z = (X @ head['kernel']) * 0.5 + BIAS
  np.testing.assert_allclose(
    heads.logits(head, X), 2 * np.tanh(z / 2), rtol=1e-5, atol=1e-6
  )


def _both(compare, head, chunk):
  """Value and gradients by hidden states and head, dense and in chunks."""

  learnt = {k: v for k, v in head.items() if k in ('kernel', 'bias')}

  def dense(x, learnt):
    z = {'s': heads.logits({**head, **learnt}, x), 't': heads.logits(THEIRS, Y)}
    return compare(z, LABELS)

  def chunked(x, learnt):
    sides, both = {'s': x, 't': Y}, {'s': {**head, **learnt}, 't': THEIRS}
    rest = {'y': jnp.asarray(LABELS)}
    return heads.in_chunks(
      lambda z, rest: compare(z, rest['y']), both, sides, rest, chunk
    )

  weights = np.float32(RNG.random((2, 5)))
  for function in (dense, chunked):
    values = function(X, learnt)
    assert values.shape == (2, 5)
    grads = jax.grad(
      lambda x, h, f=function: (f(x, h) * weights).sum(), (0, 1)
    )(X, learnt)
    yield jax.tree.map(np.asarray, (values, grads))


def _close(got, want):
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-6 * np.abs(y).max())


@pytest.mark.parametrize('name', marks.slow_but(LOSSES, ['kd']))
def test_chunks_are_the_whole(name):
  dense, chunked = _both(LOSSES[name], OURS['capped and scaled'], 3)
  _close(chunked, dense)


@pytest.mark.parametrize('head', OURS)
@pytest.mark.parametrize('chunk', [1, 5, 100])
def test_of_any_size_and_any_head(head, chunk):
  dense, chunked = _both(LOSSES['jsd'], OURS[head], chunk)
  _close(chunked, dense)


def test_the_gradient_of_a_narrow_head_is_summed_in_f32():
  """One token in a chunk: a sum in bf16 would stop growing at 256 of them."""
  tokens = np.ones((512, 1), jnp.bfloat16)
  head = {'kernel': np.zeros((1, 2), jnp.bfloat16)}

  def loss(kernel):
    return heads.in_chunks(
      lambda z, rest: z['s'][:, 0],
      {'s': {**head, 'kernel': kernel}},
      {'s': tokens},
      {},
      1,
    ).sum()

  assert jax.grad(loss)(head['kernel'])[0, 0] == 512


def _largest(function, *shapes):
  """The elements of the largest array of the compiled gradient."""
  text = jax.jit(jax.grad(function)).lower(*shapes).as_text()
  sizes = [
    np.prod([int(n) for n in found.split('x')[:-1]]) for found in _tensors(text)
  ]
  return max(sizes)


def _tensors(text):
  for part in text.split('tensor<')[1:]:
    shape = part.split('>')[0]
    if 'x' in shape:
      yield shape


def test_no_array_of_all_logits_is_made():
  x = jax.ShapeDtypeStruct((64, 4), jnp.float32)
  head = {'kernel': np.zeros((4, 100), np.float32)}

  def loss(x):
    return heads.in_chunks(
      lambda z, rest: logits.kd(z['s'], z['s'] + 1),
      {'s': head},
      {'s': x},
      {},
      8,
    ).sum()

  assert _largest(loss, x) == 800
