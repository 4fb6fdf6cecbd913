"""VIEWS: signals that are functions of other signals (ensembles, exits, ..)."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from kd_jax import kinds, terms, types
from kd_jax.losses import logits as losses
from kd_jax.losses import spatial


def mean_logits(sources: kinds.Names) -> terms.View:
  """The mean of the sources' logits: a geometric mean of probabilities."""
  return _weighted(sources, lambda stack, batch: _even(stack))


def mean_probs(sources: kinds.Names) -> terms.View:
  """The mean of the sources' probabilities, as logits (their logarithm).

  A temperature T softens the mixture p: softmax(log p / T).
  """

  def combine(outputs, batch):
    del batch
    stack = jax.nn.log_softmax(_stack(outputs), -1)
    mixed = jax.nn.logsumexp(stack, 0) - jnp.log(len(outputs))
    return {'logits': mixed}

  return terms.View(tuple(sources), combine)


def weighted(sources: kinds.Names, weights: Sequence[float]) -> terms.View:
  """sum_i weights_i logits_i, with weights that sum to one.

  Raises:
    ValueError: for a wrong number of weights, or a sum that is not one.
  """
  weights = tuple(map(float, weights))
  if len(weights) != len(sources):
    raise ValueError(f'{len(weights)} weights for {len(sources)} signals')
  if min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
    raise ValueError(
      f'weights must sum to one, not {sum(weights):g}: {weights}'
    )

  def constant(stack, batch):
    del batch
    column = jnp.asarray(weights).reshape((-1,) + (1,) * (stack.ndim - 2))
    return jnp.broadcast_to(column, stack.shape[:-1])

  return _weighted(sources, constant)


def by_confidence(
  sources: kinds.Names, temperature: kinds.Temperature = 1.0
) -> terms.View:
  """Weights teachers by their confidence: low entropy, high weight.

  weights = softmax over sources of -H(p_i) / temperature.
  """

  def confident(stack, batch):
    del batch
    log_p = jax.nn.log_softmax(stack, -1)
    entropy = -(jnp.exp(log_p) * log_p).sum(-1)
    return jax.nn.softmax(-entropy / temperature, 0)

  return _weighted(sources, confident)


def by_label(
  sources: kinds.Names, temperature: kinds.Temperature = 1.0
) -> terms.View:
  """Weights teachers by their cross-entropy on the label, per example.

  weights = softmax over sources of -CE(p_i, label) / temperature.

  Source: Zhang, Chen, Wang, Confidence-aware multi-teacher knowledge
    distillation, 2022, https://arxiv.org/abs/2201.00007, equation 3, which
    uses (1 - softmax(CE)) / (number - 1), with the same order of weights.
  """

  def accurate(stack, batch):
    labels = batch['labels']
    if labels.ndim == 3 and stack.ndim == 5:  # maps, at the size of the logits
      labels = spatial.upsample(labels, stack.shape[2:4])
    cost = jax.vmap(lambda z: losses.cross_entropy(z, labels))(stack)
    return jax.nn.softmax(-cost / temperature, 0)

  return _weighted(sources, accurate)


def output(sources: kinds.Names, key: str) -> terms.View:
  """Another output of a network as its logits: an exit or a branch."""

  def pick(outputs, batch):
    del batch
    if key not in outputs[0]:
      raise types.unknown(f"output of '{sources[0]}'", key, outputs[0])
    return {**outputs[0], 'logits': outputs[0][key]}

  return terms.View(tuple(sources), pick)


def virtual(classes: int, correct: float = 0.99) -> terms.View:
  """A virtual teacher: probability `correct` on the label, the rest uniform.

  At T = 1 and alpha = a, its soft loss is that of label smoothing with
  s = a (1 - correct) K / (K - 1), up to a constant.

  Source: Yuan, Tay, Li, Wang, Feng, Revisiting knowledge distillation via
    label smoothing regularization, 2020, https://arxiv.org/abs/1909.11723,
    equation 8 (tf-KD_reg; T = 20 and correct = 0.99 there).

  Raises:
    ValueError: for `correct` outside (1 / classes, 1).
  """
  if not 1 / classes < correct < 1:
    raise ValueError(
      f'correct must lie in (1/{classes}, 1), not {correct}: the label is '
      'the likeliest class'
    )

  def combine(outputs, batch):
    del outputs
    labels = batch['labels']
    if not jnp.issubdtype(labels.dtype, jnp.integer):
      labels = labels.argmax(-1)
    hit = jax.nn.one_hot(labels, classes, dtype=bool)
    rest = (1 - correct) / (classes - 1)
    return {'logits': jnp.where(hit, jnp.log(correct), jnp.log(rest))}

  return terms.View((terms.LABELS,), combine)


VIEWS: Mapping[str, Callable[..., terms.View]] = {
  'mean_logits': mean_logits,
  'mean_probs': mean_probs,
  'weighted': weighted,
  'by_confidence': by_confidence,
  'by_label': by_label,
  'output': output,
}


def make_view(name: str, **options) -> terms.View:
  """The view `name` of its `sources`.

  Raises:
    ValueError: for an unknown name or option, or a value that an option
      cannot have.
  """
  maker = kinds.entry('view', VIEWS, name)
  kinds.options(f"view '{name}'", maker, options)
  return maker(**options)


def _stack(outputs) -> jax.Array:
  """The logits of the sources, [sources, B, ..., K]."""
  logits = [o['logits'] for o in outputs]
  classes = {z.shape[-1] for z in logits}
  if len(classes) > 1:
    raise ValueError(f'teachers disagree in classes: {sorted(classes)}')
  return jnp.stack(logits).astype(jnp.float32)


def _even(stack) -> jax.Array:
  return jnp.full(stack.shape[:-1], 1 / stack.shape[0])


def _weighted(sources: Sequence[str], weigh: Callable) -> terms.View:
  """sum_i w_i logits_i with w = weigh(stack, batch) [sources, B, ...]."""

  def combine(outputs, batch):
    stack = _stack(outputs)
    return {'logits': (weigh(stack, batch)[..., None] * stack).sum(0)}

  return terms.View(tuple(sources), combine)
