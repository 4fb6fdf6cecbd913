"""Every stored format decodes within the error that it promises."""

import numpy as np
import pytest
from scipy import special

from kd_jax.cache import encoding

K = 12


def outputs(seed=0, batch=64, scale=4.0) -> dict:
  """Logits, a feature map and zeros; examples differ in magnitude."""
  rng = np.random.default_rng(seed)
  sizes = np.exp(rng.normal(size=batch)).astype(np.float32)
  shapes = {'logits': (K,), 'map': (3, 3, 2), 'zero': (4,)}
  values = {
    name: scale
    * rng.normal(size=(batch, *shape)).astype(np.float32)
    * sizes.reshape(-1, *(1,) * len(shape))
    for name, shape in shapes.items()
  }
  values['zero'][:] = 0
  return values


def layout(given, **options) -> encoding.Layout:
  return encoding.Layout(
    {name: value.shape[1:] for name, value in given.items()}, **options
  )


def through(given, **options):
  """The records of outputs, and the decoded outputs."""
  form = layout(given, **options)
  rows = encoding.pack(form, given)
  # As from a file: bytes that nothing writes to.
  rows = np.frombuffer(rows.tobytes(), encoding.record(form))
  return rows, encoding.unpack(form, rows)


def test_f32_is_exact():
  given = outputs()
  rows, back = through(given)
  for name, value in given.items():
    np.testing.assert_array_equal(back[name], value)
  assert rows.dtype.itemsize == 4 * (K + 18 + 4)


def test_bf16_keeps_eight_bits():
  given = outputs()
  rows, back = through(given, dtype='bfloat16')
  error = np.abs(back['logits'] - given['logits'])
  assert (error <= 2.0**-8 * np.abs(given['logits'])).all()
  # The bound is not a loose one: rounding comes near to it.
  assert (error / np.abs(given['logits'])).max() > 0.0037
  assert rows.dtype.itemsize == 2 * (K + 18 + 4)


def test_int8_is_half_a_step_off_at_most():
  given = outputs()
  rows, back = through(given, dtype='int8')
  for name, value in given.items():
    step = np.abs(value).reshape(len(value), -1).max(1) / 127
    np.testing.assert_allclose(rows[f'{name}.scale'], step, rtol=1e-6)
    error = np.abs(back[name] - value).reshape(len(value), -1).max(1)
    # f32 rounds the product, by 127 steps of 2^-24.
    assert (error <= step * (0.5 + 1e-5)).all()
  assert np.abs(back['logits'] - given['logits']).max() > 0
  assert rows.dtype.itemsize == K + 18 + 4 + 3 * 4


@pytest.mark.parametrize('dtype', encoding.DTYPES)
def test_infinities_and_nans_stay_so(dtype):
  given = {'logits': np.zeros((3, K), np.float32)}
  given['logits'][0, 2], given['logits'][1, 5] = np.nan, np.inf
  _, back = through(given, dtype=dtype)
  assert not np.isfinite(back['logits'][:2]).all(axis=1).any()
  assert (back['logits'][2] == 0).all()


@pytest.mark.parametrize('scale', [1.0, 1e4])
def test_the_largest_k_and_the_mass_of_the_rest(scale):
  given = {'logits': outputs(scale=scale)['logits']}
  rows, back = through(given, top_k=3)
  z, decoded = (x['logits'].astype(np.float64) for x in (given, back))
  p, q = special.softmax(z, -1), special.softmax(decoded, -1)
  top = np.argsort(-z, -1)[:, :3]
  at = lambda x: np.take_along_axis(x, top, -1)  # noqa: E731
  np.testing.assert_array_equal(at(decoded), at(z))
  np.testing.assert_allclose(at(q), at(p), atol=1e-6)
  np.testing.assert_array_equal(np.argsort(-decoded, -1)[:, 0], top[:, 0])
  mass = 1 - at(p).sum(-1)
  assert (np.abs(p - q).sum(-1) <= 2 * mass + 1e-6).all()
  lost = special.rel_entr(p, q).sum(-1)
  assert (lost <= mass * np.log(K - 3) + 1e-6).all()
  assert rows.dtype.itemsize == 3 + 4 * 4


def test_the_tail_is_one_bin():
  """KL over the k classes and the rest: no more than over all classes."""
  rng = np.random.default_rng(1)
  given = {'logits': outputs()['logits']}
  _, back = through(given, top_k=4)
  teacher, decoded = (special.softmax(x['logits'], -1) for x in (given, back))
  student = special.softmax(rng.normal(size=teacher.shape), -1)
  classes = np.argsort(-given['logits'], -1)[:, :4]

  def binned(p):
    top = np.take_along_axis(p, classes, -1)
    return np.concatenate([top, 1 - top.sum(-1, keepdims=True)], -1)

  full = special.rel_entr(teacher, student).sum(-1)
  bins = special.rel_entr(binned(decoded), binned(student)).sum(-1)
  assert (bins <= full + 1e-6).all()
  assert (bins < full - 1e-3).any()
  # It equals the KL of the exact teacher: storing loses nothing of the bins.
  exact = special.rel_entr(binned(teacher), binned(student)).sum(-1)
  np.testing.assert_allclose(bins, exact, atol=1e-5)


@pytest.mark.parametrize('dtype', ['bfloat16', 'int8'])
def test_the_largest_k_of_a_sequence_in_fewer_bits(dtype):
  rng = np.random.default_rng(2)
  given = {'logits': rng.normal(size=(5, 7, 300)).astype(np.float32)}
  rows, back = through(given, top_k=2, dtype=dtype)
  assert rows['logits.classes'].dtype == np.uint16
  assert back['logits'].shape == (5, 7, 300)
  top = np.sort(given['logits'], -1)[..., -2:]
  error = np.abs(np.sort(back['logits'], -1)[..., -2:] - top)
  assert 0 < error.max() < 0.02


@pytest.mark.parametrize(
  'options, words',
  [
    ({'dtype': 'int9'}, "int9.*'int8'"),
    ({'top_k': K}, f'{K} of {K} classes.*{K - 1}'),
    ({'top_k': -1}, '-1'),
  ],
)
def test_a_layout_that_cannot_be_stored(options, words):
  with pytest.raises(ValueError, match=words):
    encoding.check(layout(outputs(), **options))


def test_the_largest_k_of_nothing():
  with pytest.raises(ValueError, match='logits'):
    encoding.check(encoding.Layout({'map': (3, 3)}, top_k=2))
  with pytest.raises(ValueError, match='no output'):
    encoding.check(encoding.Layout({}))
