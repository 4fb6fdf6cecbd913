"""Makes optimizers and schedules by name; updates carry their numbers."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kd_jax import kinds, memoize, types


def from_hparams(make: Callable) -> optax.GradientTransformationExtraArgs:
  """A stateless transformation whose numbers come with each update.

  Args:
    make: hparams -> a stateless `optax.GradientTransformation`.

  Returns:
    A transformation whose `update` takes `hparams`; a learning rate or a
    decay is then data: it never recompiles, and differs by lane of a grid.
  """

  def update(updates, state, params=None, *, hparams, **_):
    tx = make(hparams)
    updates, _ = tx.update(updates, tx.init(params), params)
    return updates, state

  return optax.GradientTransformationExtraArgs(
    lambda params: optax.EmptyState(), update
  )


def decayed(params) -> types.PyTree:
  """True for the weights that decay: not biases, norms or scalars."""
  return jax.tree.map(lambda x: x.ndim > 1, params)


DECAYS = {'weights': decayed, 'all': None}


def _decay(which):
  if which not in DECAYS:
    raise types.unknown('decay', which, DECAYS)
  return from_hparams(
    lambda h: optax.add_decayed_weights(h['weight_decay'], mask=DECAYS[which])
  )


def _descend():
  return from_hparams(lambda h: optax.scale(-h['learning_rate']))


def sgd(*, momentum: kinds.Fraction = 0.0, nesterov=False, decay='weights'):
  """SGD; weight decay is added to the gradient, as in PyTorch's SGD."""
  if nesterov and not momentum:
    raise ValueError("optimizer 'sgd': nesterov needs a momentum above 0")
  steps = [_decay(decay)]
  if momentum:
    steps.append(optax.trace(momentum, nesterov))
  return steps


def adam(
  *,
  b1: kinds.Fraction = 0.9,
  b2: kinds.Fraction = 0.999,
  eps: kinds.Positive = 1e-8,
  decay='weights',
):
  """Adam; weight decay is added to the gradient (L2), as in PyTorch's Adam."""
  return [_decay(decay), optax.scale_by_adam(b1, b2, eps)]


def adamw(
  *,
  b1: kinds.Fraction = 0.9,
  b2: kinds.Fraction = 0.999,
  eps: kinds.Positive = 1e-8,
  decay='weights',
):
  """AdamW: weight decay apart from the gradient's moments."""
  return [optax.scale_by_adam(b1, b2, eps), _decay(decay)]


def apart(
  tx: optax.GradientTransformationExtraArgs,
  name: str,
  own: optax.GradientTransformationExtraArgs,
  learning_rate: float,
) -> optax.GradientTransformationExtraArgs:
  """An optimizer for all parameters but those of a network with its own.

  Args:
    tx: of all others.
    name: of the network; parameters are {'networks': {name: ..}, ..}.
    own: its optimizer.
    learning_rate: of it, constant; its weights do not decay.

  Raises:
    ValueError: `tx` takes the gradient in parts.
  """
  if isinstance(tx, OnParts):
    raise ValueError(
      f"optimizer '{', '.join(ON_PARTS)}' moves no network beside another; "
      f'legal here: {", ".join(n for n in OPTIMIZERS if n not in ON_PARTS)}'
    )

  def cut(tree):
    networks = {k: v for k, v in tree['networks'].items() if k != name}
    return {**tree, 'networks': networks}, tree['networks'][name]

  def init(params):
    return tuple(t.init(p) for t, p in zip((tx, own), cut(params), strict=True))

  def update(updates, state, params=None, *, hparams, **extra):
    alone = {
      'learning_rate': jnp.float32(learning_rate),
      'weight_decay': jnp.float32(0),
    }
    (rest, its), states = zip(
      *(
        t.update(u, s, p, hparams=h, **extra)
        for t, u, s, p, h in zip(
          (tx, own), cut(updates), state, cut(params), (hparams, alone)
        )
      )
    )
    return {**rest, 'networks': {**rest['networks'], name: its}}, states

  return optax.GradientTransformationExtraArgs(init, update)


class Parts(NamedTuple):
  """The gradient in two: of the terms that read the labels, of the others."""

  task: types.PyTree
  distilled: types.PyTree


class OnParts(optax.GradientTransformationExtraArgs):
  """An optimizer whose `update` takes `Parts`, or a whole gradient."""


def dot(
  *,
  momentum: kinds.Fraction = 0.9,
  delta: kinds.NonNegative = 0.075,
  decay='weights',
):
  """Distillation-oriented SGD: momentum apart for hard and soft gradients.

    m_task = (mu - delta) m_task + g_task + wd p
    m_soft = (mu + delta) m_soft + g_soft
    p = p - lr (m_task + m_soft)
  g_task is the gradient of the terms whose teacher is the labels, g_soft that
  of all others: what the teacher says has the longer memory. The gradient of
  the loss is taken twice in a step. In a stage whose terms are of one kind,
  as of the student alone, it is SGD with the momentum mu.

  Args:
    momentum: mu.
    delta: 0.075 for CIFAR-100, 0.09 for ImageNet.
    decay: of what: 'weights' or 'all'.

  Raises:
    ValueError: mu - delta below 0, or mu + delta not below 1.

  Source: Zhao et al. 2023, "DOT: A Distillation-Oriented Trainer", algorithm 1,
    https://arxiv.org/abs/2307.08436. The decay belongs to the task's gradient,
    as in its code (mdistiller), where the two updates follow each other.
  """
  if not (delta <= momentum and momentum + delta < 1):
    raise ValueError(
      f"optimizer 'dot': momentum={momentum} with delta={delta}; legal: "
      'momentum - delta at least 0 and momentum + delta below 1'
    )
  decayed_by = _decay(decay)

  def init(params):
    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    return Parts(*zeros)

  def update(updates, state, params=None, **extra):
    apart = isinstance(updates, Parts)
    task, soft = updates if apart else (updates, None)
    task, _ = decayed_by.update(task, optax.EmptyState(), params, **extra)
    task = _remember(state.task, task, momentum - delta if apart else momentum)
    if not apart:
      return task, state._replace(task=task)
    soft = _remember(state.distilled, soft, momentum + delta)
    return jax.tree.map(jnp.add, task, soft), Parts(task, soft)

  return [optax.GradientTransformationExtraArgs(init, update)]


def _remember(trace, gradient, momentum: float):
  return jax.tree.map(lambda m, g: momentum * m + g, trace, gradient)


OPTIMIZERS = {'sgd': sgd, 'adam': adam, 'adamw': adamw, 'dot': dot}
ON_PARTS = ('dot',)


@memoize.memoize
def make_optimizer(
  name: str, /, *, clip_norm: float = 0.0, accumulate: int = 1, **options
) -> optax.GradientTransformationExtraArgs:
  """An optimizer whose updates take hparams (learning_rate, weight_decay).

  With `accumulate` an update is the mean over some steps, each of one batch,
  weighted by the `count` that updates also take: the predictions of the batch
  that count. Where values of predictions are averaged, that equals one step of
  a batch so many times as large. It does not where a batch is more than its
  examples: BatchNorm normalizes over the batch of a step and moves its running
  statistics at every step; a `batchwise` method (relations, contrast, DIST)
  sees no pair of examples out of different steps; memories and EMA copies move
  at every step.

  Args:
    name: a key of `OPTIMIZERS`.
    clip_norm: greatest global norm of the (mean) gradient; 0 leaves it.
    accumulate: steps of an update.
    **options: of the optimizer (momentum, nesterov, delta, b1, b2, eps), and
      what decays: 'weights' (default) or 'all', biases and norms as well, as in
      the sources of most recipes (PyTorch's default).

  Returns:
    The transformation; `OnParts` for the names in `ON_PARTS`.

  Raises:
    ValueError: for an unknown name or option, or an invalid value of an
      option; for clipping or micro-batches with a name in `ON_PARTS`.
  """
  maker = kinds.entry('optimizer', OPTIMIZERS, name)
  kinds.options(f"optimizer '{name}'", maker, options)
  if name in ON_PARTS:
    if clip_norm or accumulate > 1:
      raise ValueError(
        f"optimizer '{name}' has neither clip_norm={clip_norm} nor "
        f'accumulate={accumulate}; legal: 0 and 1'
      )
    return OnParts(*optax.chain(*maker(**options), _descend()))
  clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
  tx = optax.chain(*clip, *maker(**options), _descend())
  if accumulate > 1:
    return _accumulate(optax.MultiSteps(tx, accumulate))
  return optax.with_extra_args_support(tx)


class Accumulated(NamedTuple):
  """State of an update from micro-batches.

  Attributes:
    count: of the predictions of its micro-batches so far, f32 [].
    inner: of optax.MultiSteps.
  """

  count: jax.Array
  inner: optax.MultiStepsState


def _accumulate(multi: optax.MultiSteps):
  """The gradients' mean over micro-batches, each weighted by its predictions.

  sum_i n_i g_i / sum_i n_i, n_i the predictions of micro-batch i that count:
  the gradient of the mean over all of them, where a term counts predictions.
  `update` takes n_i as `count`; equal ones give optax's mean, bit for bit.
  """

  def init(params):
    return Accumulated(jnp.float32(0), multi.init(params))

  def update(grads, state, params=None, *, count=1.0, **extra):
    number = state.inner.mini_step
    total = jnp.where(number == 0, 0, state.count) + count
    # optax adds (g - mean) / (number + 1) to the mean.
    share = (number + 1) * count / jnp.maximum(total, 1)
    grads = jax.tree.map(
      lambda g, mean: jnp.where(share == 1, g, mean + share * (g - mean)),
      grads,
      state.inner.acc_grads,
    )
    updates, inner = multi.update(grads, state.inner, params, **extra)
    return updates, Accumulated(total, inner)

  return optax.GradientTransformationExtraArgs(init, update)


def constant(step, steps):
  """1 at every step."""
  del steps
  return jnp.ones_like(step, jnp.float32)


def linear(step, steps, *, end: kinds.NonNegative = 0.0):
  """From 1 to `end` in a straight line."""
  return 1 + (end - 1) * jnp.clip(step / steps, 0, 1)


def cosine(
  step, steps, *, end: kinds.NonNegative = 0.0, start: kinds.Fraction = 0.0
):
  """From 1 to `end` along half a cosine, after the fraction `start` at 1."""
  part = step / steps
  if start:
    part = (part - start) / (1 - start)
  fall = 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(part, 0, 1)))
  return end + (1 - end) * fall


def poly(
  step, steps, *, power: kinds.Positive = 0.9, end: kinds.NonNegative = 0.0
):
  """From 1 to `end` as (1 - step / steps)^power; usual in segmentation."""
  return end + (1 - end) * (1 - jnp.clip(step / steps, 0, 1)) ** power


_RISING = kinds.Rule(
  'rise', lambda x: all(a < b for a, b in itertools.pairwise(x))
)
Boundaries = Annotated[Sequence[kinds.Inside], kinds.NOT_EMPTY, _RISING]


def staircase(
  step, steps, *, boundaries: Boundaries, factor: kinds.Positive = 0.1
):
  """Times `factor` at each boundary, given as fractions of the steps."""
  passed = sum((step >= b * steps) * 1.0 for b in boundaries)
  return jnp.float32(factor) ** passed


SCHEDULES = {
  'constant': constant,
  'linear': linear,
  'cosine': cosine,
  'poly': poly,
  'step': staircase,
}


def make_schedule(
  spec: Mapping, steps: int, accumulate: int = 1
) -> Callable[[jax.Array], jax.Array]:
  """step -> multiplier f32 [], from {'name', 'warmup', options}.

  Args:
    spec: 'name' is a key of `SCHEDULES`; 'warmup' the steps of a linear rise
      from 0 (a fraction of all steps where it is below 1); 'delay' the steps
      at 0 before it; the rest are options of the schedule.
    steps: of the whole stage.
    accumulate: steps of an update, within which the multiplier is constant.

  Raises:
    ValueError: for an unknown name or option, or an invalid value of an
      option.
  """
  kinds.check('a schedule', spec, Mapping)
  options = dict(spec)
  name = options.pop('name', 'constant')
  shape = kinds.entry('schedule', SCHEDULES, name)
  kinds.options(
    f"schedule '{name}'",
    shape,
    options,
    further={'warmup': kinds.NonNegative, 'delay': kinds.Steps},
    passed=('step', 'steps'),
  )
  warmup, delay = options.pop('warmup', 0), options.pop('delay', 0)
  rise = warmup * steps if 0 < warmup < 1 else warmup

  def schedule(step):
    step = jnp.asarray(step) // accumulate * accumulate
    value = shape(step, steps, **options)
    if rise:
      value *= jnp.clip((step - delay + 1) / rise, 0, 1)
    return value * (step >= delay) if delay else value

  return schedule
