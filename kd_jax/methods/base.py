"""What a method is: a pair of pure functions, and makers of the usual kinds."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from kd_jax import kinds, types

NOTHING = {'params': {}, 'state': {}}

# What the losses' hyperparameters may be, by name. A method of which one means
# something else says so where it is made.
LEGAL: Mapping[str, Any] = {
  'temperature': kinds.Temperature,
  'smoothing': kinds.Fraction,
  'mix': kinds.Share,
  'skew': kinds.Share,
  'alpha': kinds.NonNegative,
  'beta': kinds.NonNegative,
  'gamma': kinds.NonNegative,
  'eps': kinds.NonNegative,
  'epsilon': kinds.Positive,
  'instance_weight': kinds.NonNegative,
  'class_weight': kinds.NonNegative,
  'batch_weight': kinds.NonNegative,
  'distance_weight': kinds.NonNegative,
  'angle_weight': kinds.NonNegative,
}

# What a loss takes of a batch of text: no options, unless a maker says so.
MASKS = ('tokens', 'segments', 'by_query', 'counts')

# The axes of the logits that a method compares, by its `predictions`.
_AXES = {'image': '[B, K]', 'pixel': '[B, H, W, K]'}


class Method(NamedTuple):
  """How a student's outputs are compared with a teacher's.

  Attributes:
    init: (key, student, teacher) -> {'params', 'state'}: what must be learnt
      (adapters) or remembered (memories) to compare them. The two outputs
      arrive as `jax.ShapeDtypeStruct`s; 'head' of a teacher, where there is
      one, as shapes too.
    loss: (variables, student, teacher, batch, hparams) -> value per
      prediction f32 [B, ...] in nats or squared units, and the new 'state'.
    hparams: numeric knobs with their defaults; they become arrays of the
      training state and never recompile.
    batchwise: whether the value couples the examples of a batch; several
      devices then gather both sides before they compare.
    predict: (variables, student) -> logits f32 [B, K] for a method that
      replaces the student's classifier (what it needs of the teacher's is in
      its 'state'), else None.
    trains: ('state') -> bools [] over 'params', a tree or a prefix of it:
      which of them have a part in the loss at this step; the others neither
      decay nor move. None: all that a gradient reaches.
    predictions: which it compares: 'any', or 'image' (logits [B, K]) or 'pixel'
      (logits [B, H, W, K]) alone; its init refuses the others.
    needs: keys of a batch that an augmentation must have made.
    tokens: whether values [B, L] of text are of its tokens: the real ones
      count, with or without a label.
    chunk: (predictions, output): it makes the student's logits of so many
      predictions at a time out of this output; None: it reads them whole.
  """

  init: Callable[..., types.Variables]
  loss: Callable[..., tuple[jax.Array, types.PyTree]]
  hparams: Mapping[str, float]
  batchwise: bool = False
  predict: Callable[..., jax.Array] | None = None
  trains: Callable[[types.PyTree], types.PyTree] | None = None
  predictions: str = 'any'
  needs: tuple[str, ...] = ()
  tokens: bool = False
  chunk: tuple[int, str] | None = None


def nothing(key, student, teacher) -> types.Variables:
  """The init of a method that learns and remembers nothing."""
  del key, student, teacher
  return NOTHING


def hparams_of(function: Callable) -> dict[str, float]:
  """The hyperparameters of a loss, with their defaults.

  They are its keyword-only parameters that are annotated `float`, whether the
  default is written 4.0 or 4; the others are static.
  """
  return {
    name: float(parameter.default)
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
    and parameter.annotation is float
  }


def divide(options: Mapping, hparams: Mapping) -> tuple[dict, dict]:
  """Options as (all hyperparameters, as floats; the others as given).

  Args:
    options: given; `make_method` has looked at them.
    hparams: the hyperparameters and their defaults.
  """
  numbers = {k: float(options.get(k, v)) for k, v in hparams.items()}
  return numbers, {k: v for k, v in options.items() if k not in hparams}


def wants_labels(function: Callable) -> bool:
  """Whether a loss takes the labels as its third argument."""
  return 'labels' in inspect.signature(function).parameters


def documented(
  maker: Callable, function: Callable, legal: Mapping[str, Any] = {}
) -> Callable:
  """The maker under the name of its loss, with its docstring and options.

  Args:
    maker: (**options) -> Method.
    function: the loss, whose keyword-only parameters are options.
    legal: {option: kind}, in place of `LEGAL`, and of further options.
  """
  kinds_of = {**LEGAL, **legal}
  parameters = {
    p.name: p.replace(annotation=kinds_of.get(p.name, p.annotation))
    for p in inspect.signature(function).parameters.values()
    if p.kind is p.KEYWORD_ONLY and (p.name in legal or p.name not in MASKS)
  }
  for name in legal.keys() - parameters.keys():
    parameters[name] = inspect.Parameter(
      name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=legal[name]
    )
  maker.__name__, maker.__doc__ = function.__name__, function.__doc__
  maker.__signature__ = inspect.Signature([*parameters.values()])
  return maker


def only(predictions: str, maker: Callable) -> Callable:
  """The maker of a method that compares one kind of predictions alone.

  Args:
    predictions: 'image' or 'pixel'.
    maker: (**options) -> Method.

  Returns:
    A maker of the same methods, whose init refuses a student of another kind.
  """
  name, axes = maker.__name__, _AXES[predictions]

  @functools.wraps(maker)
  def make(**options) -> Method:
    method = maker(**options)

    def init(key, student, teacher):
      shape = student['logits'].shape
      if len(shape) != axes.count(',') + 1:
        raise ValueError(
          f"method '{name}' compares one prediction for each {predictions}: "
          f"logits {axes}; the student's are {shape}"
        )
      return method.init(key, student, teacher)

    return method._replace(init=init, predictions=predictions)

  return make


def check(name: str, loss: Callable, *shapes) -> None:
  """Traces a loss on shapes alone: a mistake is then seen before any work.

  Raises:
    ValueError: what the loss raises (a variant, shapes), naming the method.
  """
  try:
    jax.eval_shape(loss, *shapes)
  except ValueError as error:
    where = f"method '{name}'"
    text = str(error)
    if not text.startswith(where):
      text = f'{where}: {text}'
    raise ValueError(text) from None
