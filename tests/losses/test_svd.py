"""Tests of KDSVD beside NumPy's singular value decomposition in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import svd

SHAPES = ((3, 4, 4, 5), (3, 3, 3, 12))


def _layers(seed, relu=False):
  rng = np.random.default_rng(seed)
  layers = [rng.normal(size=shape) for shape in SHAPES]
  return [np.maximum(x, 0) for x in layers] if relu else layers


def _f32(layers):
  return [x.astype(np.float32) for x in layers]


def _matrix(x, variant):
  if variant == 'mdistiller':
    x = x.transpose(0, 3, 1, 2)
  return x.reshape(len(x), -1, x.shape[-1])


def _vectors(s, t, k, variant):
  """One example: the teacher's k vectors, and the student's nearest."""
  _, _, right_s = np.linalg.svd(_matrix(s, variant)[0])
  _, values, right_t = np.linalg.svd(_matrix(t, variant)[0])
  weights = values[:k] / np.linalg.norm(values[:k])
  chosen_s, chosen_t = [], []
  for weight, v in zip(weights, right_t[:k]):
    v = v if v.sum() >= 0 else -v
    cosines = right_s[: k + 3] @ v
    best = np.argmax(abs(cosines))
    chosen_s.append(weight * np.sign(cosines[best]) * right_s[best])
    chosen_t.append(weight * v)
  return np.stack(chosen_s, 1), np.stack(chosen_t, 1)


def _reference(students, teachers, k, variant):
  losses = []
  for i in range(len(students[0])):
    (s0, t0), (s1, t1) = (
      _vectors(s[i : i + 1], t[i : i + 1], k, variant)
      for s, t in zip(students, teachers)
    )
    relation_s = np.exp(-((s1[:, None] - s0[None]) ** 2) / 8)
    relation_t = np.exp(-((t1[:, None] - t0[None]) ** 2) / 8)
    losses.append(((relation_s - relation_t) ** 2).sum())
  return losses


@functools.cache
def _compiled(k, variant):
  def mean(students, teachers):
    values = svd.kdsvd(students, teachers, components=k, variant=variant)
    return jnp.mean(values), values

  return jax.jit(jax.grad(mean, has_aux=True))


@pytest.mark.parametrize('variant', ['repdistiller', 'mdistiller'])
@pytest.mark.parametrize('k', [1, 2])
def test_kdsvd(variant, k):
  students, teachers = _layers(0), _layers(1)
  expected = _reference(students, teachers, k, variant)
  _, found = _compiled(k, variant)(_f32(students), _f32(teachers))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_f32_slopes_are_those_of_f64():
  students, teachers = _layers(0), _layers(1)
  slope, _ = _compiled(2, 'repdistiller')(_f32(students), _f32(teachers))
  with jax.enable_x64(True):
    exact, _ = _compiled(2, 'repdistiller')(students, teachers)
  for wide, narrow in zip(exact, slope):
    gap = np.linalg.norm(np.asarray(wide) - narrow)
    assert gap < 1e-4 * np.linalg.norm(wide)


def test_the_variants_are_other_mathematics():
  sides = _f32(_layers(0)), _f32(_layers(1))
  _, channels = _compiled(1, 'repdistiller')(*sides)
  _, columns = _compiled(1, 'mdistiller')(*sides)
  assert not np.allclose(channels, columns, rtol=0.1)


def test_scale_of_either_map_does_not_matter():
  students, teachers = _f32(_layers(2, relu=True)), _f32(_layers(3, relu=True))
  _, plain = _compiled(1, 'repdistiller')(students, teachers)
  scaled = [100 * students[0], students[1] / 100], [3 * t for t in teachers]
  _, found = _compiled(1, 'repdistiller')(*scaled)
  np.testing.assert_allclose(found, plain, rtol=1e-5)


def test_slope_is_finite_where_singular_values_are_equal():
  # Rank one, and two equal leading values: NaN in the sources.
  rank_one = [np.ones(shape) * np.arange(1, shape[-1] + 1) for shape in SHAPES]
  even = [np.zeros(shape) for shape in SHAPES]
  for x in even:
    x[:, 0, 0, 0] = x[:, 1, 1, 1] = 1
  teachers = _f32(_layers(4))
  for layers in (rank_one, even):
    slope, values = _compiled(2, 'repdistiller')(_f32(layers), teachers)
    assert np.isfinite(values).all()
    assert all(np.isfinite(x).all() for x in slope)
    assert max(abs(x).max() for x in slope) < 1e3


def test_leading_has_the_slope_of_eigh_where_values_are_apart():
  rng = np.random.default_rng(5)
  basis, _ = np.linalg.qr(rng.normal(size=(2, 4, 4)))
  gram = np.einsum('bij,j,bkj->bik', basis, [0.1, 0.2, 0.3, 0.4], basis)
  change = rng.normal(size=(2, 4, 4))
  change = change + change.transpose(0, 2, 1)

  def usual(gram):
    values, vectors = jnp.linalg.eigh(gram)
    return values[:, ::-1][:, :2], vectors[:, :, ::-1][:, :, :2]

  with jax.enable_x64(True):
    ours = jax.jvp(lambda g: svd.leading(g, 2), (gram,), (change,))
    theirs = jax.jvp(usual, (gram,), (change,))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9),
    ours,
    theirs,
  )


@pytest.mark.parametrize(
  ('teachers', 'arguments', 'message'),
  [
    (SHAPES, {'variant': 'mdistil'}, "did you mean 'mdistiller'"),
    (SHAPES[:1], {}, '2 student and 1 teacher layers'),
    (SHAPES, {'components': 6}, 'components=6 of a map with 5'),
    (((3, 4, 4, 4), SHAPES[1]), {}, 'differ in shape'),
  ],
)
def test_bad_arguments_are_refused(teachers, arguments, message):
  sides = [[jax.ShapeDtypeStruct(s, jnp.float32) for s in SHAPES]]
  sides.append([jax.ShapeDtypeStruct(s, jnp.float32) for s in teachers])
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(lambda s, t: svd.kdsvd(s, t, **arguments), *sides)


@pytest.mark.parametrize('lanes', [False, True])
def test_on_cpu_a_matrix_is_solved_after_the_other(lanes):
  """Two batches at once would wait for each other's threads forever."""
  solve = lambda x: svd.leading(x, 1)  # noqa: E731
  shape = (3, 5, 4, 4) if lanes else (5, 4, 4)
  text = (
    jax.jit(jax.vmap(solve) if lanes else solve)
    .lower(jax.ShapeDtypeStruct(shape, jnp.float32))
    .as_text()
  )
  calls = [x for x in text.splitlines() if '@lapack_ssyevd_ffi' in x]
  assert calls
  assert all('(tensor<4x4xf32>)' in call for call in calls), calls
