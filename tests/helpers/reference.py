"""Float64 NumPy for the tests of the logit losses, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np


def draw(seed: int, *shape: int, scale: float = 3.0) -> np.ndarray:
  """Normal numbers in f64 that f32 holds exactly."""
  numbers = np.random.default_rng(seed).normal(size=shape) * scale
  return numbers.astype(np.float32).astype(np.float64)


def log_probs(z: np.ndarray, temperature: float = 1.0) -> np.ndarray:
  """log softmax(z / T) over the last axis."""
  z = z / temperature
  z = z - z.max(-1, keepdims=True)
  return z - np.log(np.exp(z).sum(-1, keepdims=True))


def probs(z: np.ndarray, temperature: float = 1.0) -> np.ndarray:
  """softmax(z / T) over the last axis."""
  return np.exp(log_probs(z, temperature))


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
  """sum p log(p / q) over the last axis."""
  return (p * (np.log(p) - np.log(q))).sum(-1)


def slope(function, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
  """The gradient of sum(function(x)) by central differences."""
  gradient = np.zeros_like(x)
  for place in np.ndindex(x.shape):
    up, down = x.copy(), x.copy()
    up[place] += step
    down[place] -= step
    change = np.sum(function(up)) - np.sum(function(down))
    gradient[place] = change / (2 * step)
  return gradient


def apart(got, expected) -> float:
  """|got - expected| / |expected|, over all elements."""
  got = np.asarray(got, np.float64)
  assert got.shape == np.shape(expected), (got.shape, np.shape(expected))
  return np.linalg.norm(got - expected) / np.linalg.norm(expected)


def value_and_slope(loss, student: np.ndarray):
  """The values of `loss` in f32 and the gradient of their sum, compiled."""

  def total(x):
    values = loss(x)
    return jnp.sum(values), values

  gradient = jax.value_and_grad(total, has_aux=True)
  compute = jax.jit(gradient)
  (_, values), gradient = compute(jnp.asarray(student, jnp.float32))
  return values, gradient


def agree(loss, reference, student: np.ndarray, bound: float = 3e-6) -> None:
  """Asserts that f32 `loss` is `reference`, in each value and in gradient."""
  values, gradient = value_and_slope(loss, student)
  assert apart(values, reference(student)) < bound
  assert apart(gradient, slope(reference, student)) < 3 * bound


def finite(loss, student: np.ndarray) -> None:
  """Asserts that the values and their gradient by the student are finite."""
  values, gradient = value_and_slope(loss, student)
  assert np.isfinite(values).all(), values
  assert np.isfinite(gradient).all(), gradient
