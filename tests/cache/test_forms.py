"""Forms of a cache: what a term reads of it is what a live teacher gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.cache import encoding, forms
from kd_jax.losses import divergences, sparse

V, SHAPE = 40, (3, 5)
RNG = np.random.default_rng(0)
T, S = (RNG.normal(size=(*SHAPE, V), scale=3).astype(np.float32) for _ in 'ts')
INDEX = np.arange(3, dtype=np.int32)


def stored(distribution, index=INDEX, logits=T):
  """The signal of a teacher after a cache, and the layout of its records."""
  layout = encoding.Layout({'logits': (5, V)}, distribution=distribution)
  outputs = forms.reduce(distribution, logits, index, 0)
  rows = encoding.pack(layout, jax.device_get(outputs))
  rows = np.frombuffer(rows.tobytes(), encoding.record(layout))
  return encoding.unpack(layout, rows), layout


def loss(teacher, name='forward_kl', **options):
  method = methods.make_method(name, **options)
  student = {'logits': S}
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (student, teacher)
  )
  variables = method.init(jax.random.key(0), *shapes)
  args = student, teacher, {'labels': INDEX}, method.hparams
  return np.asarray(method.loss(variables, *args)[0])


def top_k(k, dtype='float16'):
  return {'name': 'top_k', 'k': k, 'dtype': dtype}


@pytest.mark.parametrize('others', [None, *sparse.VARIANTS])
def test_of_all_classes_it_is_the_live_loss_but_for_rounding(others):
  teacher, layout = stored(top_k(V))
  # f16 of a log probability x: |x| / 2048, on either side of a log-ratio.
  bound = 2 * np.abs(jax.nn.log_softmax(T)).max() / 2048
  for temperature in (1.0, 3.0):
    live = loss({'logits': T}, 'kd', temperature=temperature)
    cached = loss(teacher, 'kd', temperature=temperature, others=others)
    entropy = np.log(V) * temperature**2
    limit = live * np.expm1(bound) + np.expm1(bound) * (1 + entropy)
    assert np.all(np.abs(cached - live) <= limit)
  assert encoding.record(layout).itemsize == 5 * (V * 3 + 2)


def test_each_way_with_the_others_has_its_documented_bound():
  """'tail': below the live KL, by at most what it leaves within the tail."""
  live, k = loss({'logits': T}), 6
  teacher, _ = stored(top_k(k))
  value = {way: loss(teacher, others=way) for way in sparse.VARIANTS}
  p, log_s = jax.nn.softmax(T), jax.nn.log_softmax(S)
  order = np.argsort(-T, axis=-1)
  rest, ours = (
    np.take_along_axis(np.asarray(x), order[..., k:], axis=-1)
    for x in (jnp.log(p), log_s)
  )
  mass = np.exp(rest).sum(-1)
  within = mass * np.asarray(divergences.forward_kl(ours, rest))
  rounding = 0.03
  assert np.all(value['tail'] <= live + rounding)
  np.testing.assert_allclose(value['tail'] + within, live, atol=rounding)
  top, classes = (teacher[n] for n in sparse.KNOWN[:2])
  for way in sparse.VARIANTS[1:]:
    want = sparse.topk_kl(S, top, classes, variant=way)
    np.testing.assert_allclose(value[way], want, rtol=1e-4, atol=1e-5)


def test_draws_are_those_of_an_example_and_unbiased():
  distribution = {'name': 'sampled', 'n': 64, 'seed': 0}
  first, _ = stored(distribution)
  back, _ = stored(distribution, INDEX[::-1], T[::-1])
  for name in sparse.DRAWN:
    np.testing.assert_array_equal(first[name], back[name][::-1])
  how = dict(variant='cross_entropy', temperature=1.0)
  live = loss({'logits': T}, **how)
  values = [
    loss(stored({**distribution, 'seed': seed})[0], **how) for seed in range(20)
  ]
  error = np.std(values, axis=0).mean() / np.sqrt(20 * live.size)
  assert abs(np.mean(values) - live.mean()) < 4 * error


@pytest.mark.parametrize(
  ('distribution', 'method', 'options', 'words'),
  [
    (top_k(4), 'dkd', {}, "'dkd' reads the logits of all classes"),
    (top_k(4), 'ttm', {}, "'ttm' reads the logits of all classes"),
    (top_k(4), 'ctkd', {}, "'ctkd' reads the logits of all classes"),
    (top_k(4), 'reverse_kl', {'others': 'tail'}, "no option 'others'"),
    (top_k(4), 'kd', {'others': 'drop'}, "unknown variant 'drop'"),
    (None, 'kd', {'others': 'tail'}, 'needs a teacher of which a cache'),
    ({'name': 'sampled'}, 'kd', {}, "legal with it: 'forward_kl' with"),
    ({'name': 'sampled'}, 'js', {}, "legal with it: 'forward_kl' with"),
  ],
)
def test_what_a_method_cannot_read_is_one_line(
  distribution, method, options, words
):
  teacher = stored(distribution)[0] if distribution else {'logits': T}
  with pytest.raises(ValueError, match=words) as refused:
    loss(teacher, method, **options)
  assert '\n' not in str(refused.value)
