"""Text networks: padding, packing and what is not read change nothing."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import models
from kd_jax.models import base, compute, text
from tests.helpers import marks

K = 31
KEY = jax.random.key(0)
CAUSAL = ('gpt2', 'llama', 'qwen2', 'qwen3', 'gemma2', 'gemma3')
ENCODERS = ('bert', 'distilbert', 'roberta')
FAST = ('gemma3', 'bert')
# Windows shorter than the sequences, caps and biases that bite.
OPTIONS = {
  'qwen3': dict(head_width=8, kv_heads=2),
  'gemma2': dict(head_width=8, windows=(3, 0), logit_cap=4.0),
  'gemma3': dict(head_width=8, windows=(3, 0), kv_heads=1),
  't5': dict(head_width=8, buckets=8, furthest=12),
}


def make(name, **options):
  """A small network of a family and variables of a size that matters."""
  options = {**OPTIONS.get(name, {}), **options}
  sizes = dict(width=16, depth=2, heads=2, hidden=24)
  network = models.make_network(name, K, **{**sizes, **options})
  shapes = base.variable_shapes(network, inputs(name, 4))
  rng = np.random.default_rng(0)
  return network, jax.tree.map(
    lambda x: jnp.asarray(rng.normal(0.1, 0.4, x.shape), x.dtype), shapes
  )


def inputs(name, length, seed=0, count=2):
  """A batch without padding."""
  rng = np.random.default_rng(seed)
  ids = jnp.asarray(rng.integers(2, K, (count, length)), jnp.int32)
  batch = {'input_ids': ids, 'attention_mask': jnp.ones_like(ids)}
  return batch | ({'decoder_input_ids': ids[:, 1:]} if name == 't5' else {})


def apply(network, variables, batch):
  return jax.jit(network.apply)(variables, batch)[0]


def close(x, y):
  """Equal up to rounding, relative to the largest."""
  np.testing.assert_allclose(x, y, rtol=0, atol=1e-5 * float(jnp.abs(y).max()))


def padded(batch, before, after):
  """The batch with tokens around it that do not count."""
  width = ((0, 0), (before, after))
  return {
    'input_ids': jnp.pad(batch['input_ids'], width, constant_values=7),
    'attention_mask': jnp.pad(batch['attention_mask'], width),
  }


@pytest.mark.parametrize('name', marks.slow_but(CAUSAL + ENCODERS, FAST))
def test_padding_changes_nothing(name):
  network, variables = make(name)
  batch = inputs(name, 6)
  bare = apply(network, variables, batch)
  for before in (0, 1, 3):
    more = apply(network, variables, padded(batch, before, 3 - before))
    places = slice(before, before + 6)
    for key in ('embeddings', 'layer1', 'final', 'logits'):
      close(more[key][:, places], bare[key])
    attention = more['layer1_attention'][:, :, places, places]
    close(attention, bare['layer1_attention'])


@pytest.mark.parametrize('name', marks.slow_but(CAUSAL + ENCODERS, FAST))
def test_packing_changes_nothing(name):
  network, variables = make(name)
  first, second = inputs(name, 4, 1), inputs(name, 5, 2)
  ids = [first['input_ids'], second['input_ids']]
  row = jnp.pad(jnp.concatenate(ids, 1), ((0, 0), (0, 2)))
  segments = jnp.array([1] * 4 + [2] * 5 + [0] * 2)
  packed = apply(
    network,
    variables,
    {'input_ids': row, 'segment_ids': jnp.tile(segments, (2, 1))},
  )
  for part, places in ((first, slice(0, 4)), (second, slice(4, 9))):
    alone = apply(network, variables, part)
    close(packed['logits'][:, places], alone['logits'])


@pytest.mark.parametrize('name', marks.slow_but(CAUSAL, ['llama']))
def test_no_token_sees_a_later_one(name):
  network, variables = make(name)
  batch = inputs(name, 6)
  other = batch['input_ids'].at[:, 4].set(1)
  logits = apply(network, variables, batch)['logits']
  changed = apply(network, variables, batch | {'input_ids': other})['logits']
  np.testing.assert_array_equal(changed[:, :4], logits[:, :4])
  assert float(jnp.abs(changed[:, 4:] - logits[:, 4:]).min(-1).max()) > 0


@pytest.mark.parametrize(
  'name', marks.slow_but(list(text.NETWORKS), ['gemma2', 't5', 'roberta'])
)
def test_the_head_is_what_gives_logits(name):
  network, variables = make(name)
  outputs = apply(network, variables, inputs(name, 5))
  head = network.head(variables)
  z = head.get('scale', 1.0) * jnp.einsum(
    'bld,dk->blk', outputs['final'], head['kernel'], precision='highest'
  )
  z += head['bias'][None, None]
  if 'soft_cap' in head:
    z = head['soft_cap'] * jnp.tanh(z / head['soft_cap'])
  assert outputs['logits'].dtype == jnp.float32
  close(outputs['logits'], z)
  assert ('soft_cap' in head) == (name == 'gemma2')
  assert ('scale' in head) == (name == 't5')


def test_heads_of_an_encoder():
  options = dict(vocabulary=K, width=16, depth=1, heads=2)
  batch = inputs('bert', 5)
  shapes = {'sequence': (2, 3), 'token': (2, 5, 3), 'none': (2, 5, 16)}
  for head, shape in shapes.items():
    classes = 16 if head == 'none' else 3
    network = models.make_network('bert', classes, head=head, **options)
    outputs = jax.eval_shape(
      lambda x, network=network: network.apply(network.init(KEY, x), x)[0],
      batch,
    )
    assert outputs['logits'].shape == shape
    assert ('pooled' in outputs) == (head != 'token')


def test_maps_cost_nothing_where_nobody_reads_them():
  network, variables = make('llama', depth=3)
  batch = inputs('llama', 24)

  def flops(*names):
    def read(variables, batch):
      outputs = network.apply(variables, batch)[0]
      return {name: outputs[name] for name in names}

    compiled = jax.jit(read).lower(variables, batch).compile()
    return compiled.cost_analysis()['flops']

  plain = flops('logits')
  one = flops('logits', 'layer1_scores')
  every = flops('logits', *(f'layer{i}_scores' for i in range(3)))
  scores = 2 * 2 * 2 * 24 * 24 * 8  # two flops, B, H, L, L, d
  assert one - plain == pytest.approx(scores, rel=0.5)
  assert every - plain == pytest.approx(3 * scores, rel=0.5)


def test_attention_is_the_softmax_of_the_scores():
  network, variables = make('gemma2')
  batch = padded(inputs('gemma2', 6), 0, 2)
  outputs = apply(network, variables, batch)
  scores = outputs['layer0_scores']
  np.testing.assert_allclose(
    outputs['layer0_attention'], jax.nn.softmax(scores), atol=1e-6
  )
  seen = scores > -100
  window = np.tri(8, 8) - np.tri(8, 8, -3)
  real = np.asarray(batch['attention_mask'], bool)
  np.testing.assert_array_equal(
    np.asarray(seen)[:, 0, :6], (window[None] > 0)[:, :6] & real[:, None]
  )
  # Queries and keys are shown as they are compared.
  products = jnp.einsum(
    'bhqd,bhkd->bhqk',
    outputs['layer0_query'],
    outputs['layer0_key'],
    precision='highest',
  )
  capped = 50 * jnp.tanh(products / 16 / 50)
  np.testing.assert_allclose(
    jnp.where(seen, capped, 0), jnp.where(seen, scores, 0), atol=1e-4
  )


@pytest.mark.slow
@pytest.mark.parametrize('name', ['bert', 'gpt2', 't5'])
def test_dropout_is_for_training(name):
  network, variables = make(name)
  batch = inputs(name, 6)

  def logits(train, seed):
    rng = jax.random.key(seed)
    return network.apply(variables, batch, train=train, rng=rng)[0]['logits']

  np.testing.assert_array_equal(logits(False, 1), logits(False, 2))
  assert float(jnp.abs(logits(True, 1) - logits(True, 2)).max()) > 1e-3
  np.testing.assert_array_equal(logits(True, 1), logits(True, 1))


@pytest.mark.slow
@pytest.mark.parametrize('name', text.NETWORKS)
def test_weights_of_two_bytes_compute_in_them(name):
  network, variables = make(name)
  batch = inputs(name, 6)
  low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables)
  outputs = apply(network, low, batch)
  assert outputs['layer0'].dtype == jnp.bfloat16
  assert (
    outputs['layer0_scores'].dtype == outputs['logits'].dtype == jnp.float32
  )
  full = apply(network, variables, batch)['logits']
  assert float(jnp.abs(outputs['logits'] - full).max()) < 0.15 * float(
    jnp.abs(full).max()
  )


@pytest.mark.slow
@pytest.mark.parametrize('name', ['bert', 'gemma3', 't5'])
def test_computed_anew_or_in_fewer_bits(name):
  network, variables = make(name)
  batch = inputs(name, 6)

  def gradient(network):
    def loss(variables):
      outputs, _ = network.apply(variables, batch, train=True, rng=KEY)
      return jnp.mean(outputs['logits'] ** 2) + outputs['layer0_scores'].mean()

    return jax.jit(jax.grad(loss))(variables)

  # That of a bias of keys is 0 but for rounding: all have one scale.
  flat = [
    jax.flatten_util.ravel_pytree(gradient(x))[0]
    for x in (compute.with_remat(network), network)
  ]
  close(*flat)
  low = compute.with_precision(network, 'bfloat16')
  outputs = apply(low, variables, batch)
  assert {x.dtype for x in outputs.values()} == {jnp.dtype('float32')}
  full = apply(network, variables, batch)['logits']
  gap = float(jnp.abs(outputs['logits'] - full).max())
  assert 0 < gap < 0.15 * float(jnp.abs(full).max())


@pytest.mark.parametrize(
  'name, options, message',
  [
    ('bert', dict(head='nsp'), "unknown head 'nsp'"),
    ('bert', dict(head='token'), "needs 'vocabulary'"),
    ('bert', dict(heads=5), 'heads must divide width: 768 by 5'),
    ('llama', dict(kv_heads=5), 'kv_heads must divide heads: 12 by 5'),
    ('llama', dict(norm='batch'), "unknown norm 'batch'"),
    ('llama', dict(rope_scaling={'kind': 'x'}), "kind of rope_scaling 'x'"),
    (
      'llama',
      dict(rope_scaling={'kind': 'linear'}),
      "needs the option 'factor'",
    ),
    ('llama', dict(activation='selu'), "unknown activation 'selu'"),
    ('gpt2', dict(biases=('all',)), "unknown bias 'all'"),
    ('t5', dict(buckets=2), "'buckets' must be at least 4"),
  ],
)
def test_options_that_do_not_fit(name, options, message):
  with pytest.raises(ValueError, match=message) as error:
    models.make_network(name, K, **options)
  assert '\n' not in str(error.value)


def test_inputs_that_do_not_fit():
  network, variables = make('gpt2', context=4)
  with pytest.raises(ValueError, match='5 tokens and the network knows 4'):
    network.apply(variables, inputs('gpt2', 5))
  with pytest.raises(ValueError, match="a dict with 'input_ids'"):
    network.apply(variables, jnp.zeros((2, 4), jnp.int32))
