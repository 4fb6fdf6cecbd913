"""What a method is: a pair of pure functions, and makers of the usual kinds."""

import inspect
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from kd_jax import types
from kd_jax.losses import logits as logit_losses

NOTHING = {'params': {}, 'state': {}}


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
  """

  init: Callable[..., types.Variables]
  loss: Callable[..., tuple[jax.Array, types.PyTree]]
  hparams: Mapping[str, float]
  batchwise: bool = False
  predict: Callable[..., jax.Array] | None = None


def nothing(key, student, teacher) -> types.Variables:
  """The init of a method that learns and remembers nothing."""
  del key, student, teacher
  return NOTHING


def split_options(function: Callable) -> tuple[dict, dict]:
  """The keyword-only parameters: floats (hparams) and the rest (static)."""
  floats, static = {}, {}
  for name, parameter in inspect.signature(function).parameters.items():
    if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
      continue
    is_float = isinstance(parameter.default, float)
    (floats if is_float else static)[name] = parameter.default
  return floats, static


def divide(
  name: str, options: Mapping, hparams: Mapping, static: Mapping
) -> tuple[dict, dict]:
  """The options of the method `name` as (hyperparameters, static options).

  Args:
    name: of the method, for the error.
    options: given.
    hparams: the known hyperparameters and their defaults.
    static: the known static options and their defaults.

  Returns:
    All hyperparameters, as floats; the static options that were given.

  Raises:
    ValueError: for the first unknown option, with the known ones.
  """
  numbers, rest = dict(hparams), {}
  for option, value in options.items():
    if option in hparams:
      numbers[option] = float(value)
    elif option in static:
      rest[option] = value
    else:
      raise types.unknown(
        f"option of method '{name}'", option, {**hparams, **static}
      )
  return numbers, rest


def wants_labels(function: Callable) -> bool:
  """Whether a loss takes the labels as its third argument."""
  return 'labels' in inspect.signature(function).parameters


def documented(maker: Callable, function: Callable) -> Callable:
  """The maker under the name and with the docstring of its loss."""
  maker.__name__, maker.__doc__ = function.__name__, function.__doc__
  return maker


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


def check_logits(name: str, student: Mapping, teacher: Mapping) -> None:
  """Refuses a teacher without logits, or with those of other classes."""
  if 'logits' not in teacher:
    raise ValueError(f"method '{name}' needs a teacher that has logits")
  ours, theirs = student['logits'].shape, teacher['logits'].shape
  if ours != theirs:
    raise ValueError(
      f"method '{name}': the student's logits are {ours}, the teacher's "
      f'{theirs}'
    )


def on_logits(function: Callable, batchwise: bool = False) -> Callable:
  """Makes the maker of a method that compares two logits.

  Args:
    function: (student [B, ..., K], teacher [B, ..., K], [labels], *, floats
      and static options) -> [B, ...], from `kd_jax.losses`.
    batchwise: whether it couples the examples of a batch.

  Returns:
    A maker (**static options) -> Method. `standardize=True` z-scores both
    logits first (logit standardization, Sun et al. 2024).
  """
  hparams, static = split_options(function)
  known = {**static, 'standardize': False}
  labelled = wants_labels(function)
  name = function.__name__

  def make(**options) -> Method:
    numbers, options = divide(name, options, hparams, known)
    standardize = options.pop('standardize', False)

    def compare(student, teacher, labels, hparams):
      if standardize:
        student = logit_losses.standardize(student)
        teacher = logit_losses.standardize(teacher)
      extra = (labels,) if labelled else ()
      return function(student, teacher, *extra, **options, **hparams)

    def init(key, student, teacher):
      del key
      check_logits(name, student, teacher)
      shape = student['logits'].shape
      labels = jax.ShapeDtypeStruct(shape[:-1], 'int32')
      check(
        name, compare, student['logits'], teacher['logits'], labels, numbers
      )
      return NOTHING

    def loss(variables, student, teacher, batch, hparams):
      value = compare(
        student['logits'], teacher['logits'], batch['labels'], hparams
      )
      return value, variables['state']

    return Method(init, loss, numbers, batchwise)

  return documented(make, function)


def on_labels(function: Callable) -> Callable:
  """Makes the maker of a method that compares logits with the labels alone.

  Args:
    function: (student [B, ..., K], labels, *, floats) -> [B, ...].
  """
  hparams, static = split_options(function)

  def make(**options) -> Method:
    numbers, options = divide(function.__name__, options, hparams, static)

    def loss(variables, student, teacher, batch, hparams):
      del teacher
      labels = batch['labels']
      value = function(student['logits'], labels, **options, **hparams)
      return value, variables['state']

    return Method(nothing, loss, numbers)

  return documented(make, function)
