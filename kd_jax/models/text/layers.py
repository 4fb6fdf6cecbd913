"""Building blocks of text networks: norms, feed-forward layers, heads.

Parameters may be of any floating type, and layers compute in the type of their
inputs and parameters; norms, softmaxes and logits are f32 inside.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import types
from kd_jax.losses import heads

normal = nn.initializers.normal(0.02)

ACTIVATIONS: dict[str, Callable] = {
  'gelu': functools.partial(nn.gelu, approximate=False),
  'gelu_tanh': functools.partial(nn.gelu, approximate=True),
  'relu': nn.relu,
  'silu': nn.silu,
  'tanh': jnp.tanh,
}
# name -> what the learned scale w stands for: None has also a mean and a bias.
NORMS = {'layer': None, 'rms': 0.0, 'rms_plus_one': 1.0}


def activation(name: str) -> Callable:
  """The function called `name`, a key of ACTIVATIONS."""
  if name not in ACTIVATIONS:
    raise types.unknown('activation', name, ACTIVATIONS)
  return ACTIVATIONS[name]


def check_widths(width: int, heads: int, shared: int = 0) -> None:
  """Refuses heads that do not divide the width, or their groups.

  Raises:
    ValueError: one line.
  """
  if width % heads:
    raise ValueError(f'heads must divide width: {width} by {heads}')
  if shared and heads % shared:
    raise ValueError(f'kv_heads must divide heads: {heads} by {shared}')


def dense(features: int, name: str, bias: bool = True) -> nn.Dense:
  """A linear layer on the last axis."""
  return nn.Dense(
    features, use_bias=bias, kernel_init=normal, dot_general=flat, name=name
  )


def flat(x, kernel, axes, **options) -> jax.Array:
  """`jax.lax.dot_general` of [..., D] and [D, K], all tokens on one axis.

  The same products; on the way back XLA multiplies two matrices on CPU up to
  twice as fast as an array of three axes and a matrix.
  """
  del axes  # the last and the first, as of every linear layer
  y = x.reshape(-1, x.shape[-1])
  y = jax.lax.dot_general(y, kernel, (((1,), (0,)), ((), ())), **options)
  return y.reshape(*x.shape[:-1], y.shape[-1])


def embed(count: int, features: int, name: str) -> nn.Embed:
  """A table of `count` vectors; an index outside of it gives NaN."""
  return nn.Embed(count, features, embedding_init=normal, name=name)


class Words(nn.Module):
  """Indices -> vectors, and their table [K, D] for a tied head."""

  count: int
  width: int

  @nn.compact
  def __call__(self, ids):
    table = embed(self.count, self.width, 'tokens')
    return table(ids), table.embedding


def check_places(length: int, known: int) -> None:
  """Refuses sequences longer than the table of positions.

  Raises:
    ValueError: one line.
  """
  if length > known:
    raise ValueError(
      f'a sequence has {length} tokens and the network knows {known} positions '
      "(its option 'context')"
    )


class RMSNorm(nn.Module):
  """x / sqrt(mean(x^2) + epsilon) times (offset + w), in f32.

  Source: Zhang, Sennrich 2019, https://arxiv.org/abs/1910.07467, equation 4.
    Gemma's w starts at 0 with an offset of 1.
  """

  epsilon: float
  offset: float = 0.0

  @nn.compact
  def __call__(self, x):
    start = nn.initializers.constant(1 - self.offset)
    scale = self.param('scale', start, x.shape[-1:])
    y = x.astype(jnp.float32)
    y *= jax.lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + self.epsilon)
    y *= (self.offset + scale.astype(jnp.float32)).reshape(
      (1,) * (x.ndim - 1) + (-1,)
    )
    return y.astype(x.dtype)


def norm(kind: str, epsilon: float, name: str) -> nn.Module:
  """The norm of this kind, a key of NORMS."""
  if kind not in NORMS:
    raise types.unknown('norm', kind, NORMS)
  if kind == 'layer':
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, name=name)
  return RMSNorm(epsilon, NORMS[kind], name=name)


class MLP(nn.Module):
  """Two linear layers with an activation between, or a gated pair of them.

  Gated is down(act(gate(x)) up(x)): SwiGLU with silu, GeGLU with gelu. Source:
  Shazeer 2020, https://arxiv.org/abs/2002.05202, equation 6.
  """

  hidden: int
  activation: str
  gated: bool = False
  bias: bool = True
  dropout: float = 0.0  # of the hidden layer

  @nn.compact
  def __call__(self, x, train=False):
    act, width = activation(self.activation), x.shape[-1]
    y = dense(self.hidden, 'up', self.bias)(x)
    if self.gated:
      y = act(dense(self.hidden, 'gate', self.bias)(x)) * y
    else:
      y = act(y)
    y = nn.Dropout(self.dropout, deterministic=not train)(y)
    return dense(width, 'down', self.bias)(y)


class Head(nn.Module):
  """Logits f32 [..., K] of hidden states: c tanh((s x W + b) / c).

  W is `tied` [K, D] transposed where a table is given, else a parameter.
  """

  classes: int
  bias: bool = False
  scale: float = 1.0
  soft_cap: float = 0.0

  @nn.compact
  def __call__(self, x, tied=None):
    if tied is None:
      kernel = self.param('kernel', normal, (x.shape[-1], self.classes))
    else:
      kernel = tied.T
    head = {'kernel': kernel}
    if self.scale != 1:
      head['scale'] = self.scale
    if self.bias:
      zeros = nn.initializers.zeros
      head['bias'] = self.param('bias', zeros, (self.classes,))
    if self.soft_cap:
      head['soft_cap'] = self.soft_cap
    return heads.logits(head, x)


def head_of(
  variables: types.Variables, scale: float = 1.0, soft_cap: float = 0.0
) -> Mapping[str, jax.Array]:
  """What `Head` multiplies with: a network's `head`.

  Args:
    variables: with 'head' and, where that has no kernel, the table of words.
    scale, soft_cap: of the head; in the result where they change something.

  Returns:
    'kernel' [D, K], 'bias' [K] and f32 [] 'scale', 'soft_cap'.
  """
  params = variables['params']
  head = dict(params.get('head', {}))
  if 'kernel' not in head:
    head['kernel'] = params['embed']['tokens']['embedding'].T
  kernel = head['kernel']
  head.setdefault('bias', jnp.zeros(kernel.shape[-1:], kernel.dtype))
  if scale != 1:
    head['scale'] = jnp.float32(scale)
  if soft_cap:
    head['soft_cap'] = jnp.float32(soft_cap)
  return head
