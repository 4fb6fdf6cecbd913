"""What a method is: a pair of pure functions, and makers of the usual kinds."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from kd_jax import kinds, types
from kd_jax.losses import logits as logit_losses
from kd_jax.losses import numerics, spatial, tokens
from kd_jax.methods import chunks, known

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


def check_logits(
  name: str, student: Mapping, teacher: Mapping, places: bool = True
) -> None:
  """Refuses a teacher without logits, or with those of other classes.

  Args:
    name: of the method.
    student, teacher: outputs or their shapes.
    places: whether maps of logits must be of one size.
  """
  known.check(name, teacher, known.NONE, {}, {})
  if chunks.FINAL in teacher and 'logits' not in teacher:
    raise ValueError(
      f"method '{name}' needs chunk= (such as 256): the cache of its teacher "
      'holds hidden states, of which it makes the logits of some tokens at a '
      'time'
    )
  if 'logits' not in teacher:
    raise ValueError(f"method '{name}' needs a teacher that has logits")
  ours, theirs = student['logits'].shape, teacher['logits'].shape
  alike = len(ours) == len(theirs) and ours[-1] == theirs[-1]
  if not alike or (places and ours != theirs):
    remedy = "; 'pixel_kd' resizes maps" if alike and len(ours) == 4 else ''
    raise ValueError(
      f"method '{name}': the student's logits are {ours}, the teacher's "
      f'{theirs}{remedy}'
    )


def check_counts(name: str, counts: Mapping[str, int], classes: int) -> None:
  """Refuses options that count more classes than there are."""
  for option, count in counts.items():
    if count > classes:
      raise ValueError(
        f"method '{name}': {option}={count} of {classes} classes; legal: 1 to "
        f'{classes}'
      )


def on_logits(
  function: Callable,
  batchwise: bool = False,
  counted: Sequence[str] = (),
  binned: tuple[str, ...] = known.NONE,
  **legal,
) -> Callable:
  """Makes the maker of a method that compares two logits.

  Args:
    function: (student [B, ..., K], teacher [B, ..., K], [labels], *, floats
      and static options) -> [B, ...], from `kd_jax.losses`.
    batchwise: whether it couples the examples of a batch.
    counted: options that count classes: at most K of them, where given.
    binned: what it reads of a teacher that has some classes in place of logits,
      as a cache of tokens holds: `known.TAIL`, with the others as one class,
      or in every way (`known.FORWARD`), which only a divergence from the
      teacher may: one that reads the student's probabilities falls as the
      student moves its mass out of the classes.
    **legal: {option: kind} where `LEGAL` does not say it.

  Returns:
    A maker (**static options) -> Method. `standardize=True` z-scores both
    logits first (logit standardization, Sun et al. 2024). `chunk=n` computes
    the logits of n predictions at a time out of the outputs `hidden` ('final')
    and the heads: for vocabularies so large that no array of all logits should
    be alive. What couples the examples has neither. `others` says what becomes
    of the classes that a cache does not hold: one of `binned`.
  """
  hparams = hparams_of(function)
  labelled = wants_labels(function)
  name = function.__name__
  counting = 'counts' in inspect.signature(function).parameters

  def make(**options) -> Method:
    numbers, options = divide(options, hparams)
    standardize = options.pop('standardize', False)
    chunk = options.pop('chunk', None)
    hidden = options.pop('hidden', None) or chunks.FINAL
    others = options.pop('others', None)
    numerics.need_variant(others or known.TAIL[0], binned or known.TAIL)

    def compare(student, teacher, labels, hparams, **masks):
      if standardize:
        student = logit_losses.standardize(student)
        teacher = logit_losses.standardize(teacher)
      extra = (labels,) if labelled else ()
      return function(student, teacher, *extra, **options, **hparams, **masks)

    def init(key, student, teacher):
      del key
      sides = {'student': student, 'teacher': teacher}
      known.check(name, teacher, binned, numbers, options)
      if known.names(teacher):
        sides.pop('teacher')
      elif others:
        raise ValueError(
          f"method '{name}' with others= needs a teacher of which a cache "
          "holds the largest classes: cache.distribution=dict(name='top_k')"
        )
      if chunk:
        chunks.check(name, hidden, **sides)
      if known.names(teacher):
        batch = {'labels': None}
        check(
          name, lambda *x: loss(NOTHING, *x, batch, numbers), student, teacher
        )
        return NOTHING
      if chunk:
        teacher = chunks.with_logits(teacher, hidden)
      check_logits(name, student, teacher)
      shape = student['logits'].shape
      counts = {k: v for k, v in options.items() if k in counted}
      check_counts(name, counts, shape[-1])
      labels = jax.ShapeDtypeStruct(shape[:-1], 'int32')
      check(
        name, compare, student['logits'], teacher['logits'], labels, numbers
      )
      return NOTHING

    def loss(variables, student, teacher, batch, hparams):
      labels = batch['labels'] if labelled else None
      if known.names(teacher):
        value = known.values(
          lambda *sides: compare(*sides, labels, hparams),
          student,
          teacher,
          others or known.TAIL[0],
          chunk,
          hidden,
        )
        return value, variables['state']
      if chunk:
        value = chunks.values(
          lambda z, rest: compare(
            z['student'], z['teacher'], rest.get('labels'), hparams
          ),
          chunk,
          hidden,
          {'labels': labels} if labelled else {},
          student=student,
          teacher=teacher,
        )
        return value, variables['state']
      pair = student['logits'], teacher['logits']
      if labelled:
        pair = (spatial.at_labels(logits, labels) for logits in pair)
      masks = {}
      if counting and tokens.real(batch) is not None:
        masks = {'counts': batch.get('mask')}
      # Of tokens there may be so many logits that keeping what a divergence
      # makes of them costs more memory than computing it again takes time.
      by_token = student['logits'].ndim == 3
      computed = jax.checkpoint(compare) if by_token else compare
      value = computed(*pair, labels, hparams, **masks)
      return value, variables['state']

    return Method(
      init, loss, numbers, batchwise, chunk=chunk and (chunk, hidden)
    )

  chunked = {} if batchwise else chunks.OPTIONS
  ways = known.OPTIONS if binned == known.FORWARD else {}
  legal = {**legal, 'standardize': bool, **chunked, **ways}
  return documented(make, function, legal)


def on_labels(function: Callable) -> Callable:
  """Makes the maker of a method that compares logits with the labels alone.

  Args:
    function: (student [B, ..., K], labels, *, floats) -> [B, ...].

  Returns:
    A maker as of `on_logits`, with its options `chunk` and `hidden`.
  """
  hparams = hparams_of(function)
  name = function.__name__

  def make(**options) -> Method:
    numbers, options = divide(options, hparams)
    chunk = options.pop('chunk', None)
    hidden = options.pop('hidden', None) or chunks.FINAL

    def init(key, student, teacher):
      del key, teacher
      if chunk:
        chunks.check(name, hidden, student=student)
      return NOTHING

    def loss(variables, student, teacher, batch, hparams):
      del teacher
      labels = batch['labels']
      if chunk:
        value = chunks.values(
          lambda z, rest: function(
            z['student'], rest['labels'], **options, **hparams
          ),
          chunk,
          hidden,
          {'labels': labels},
          student=student,
        )
        return value, variables['state']
      logits = spatial.at_labels(student['logits'], labels)
      value = function(logits, labels, **options, **hparams)
      return value, variables['state']

    return Method(init, loss, numbers, chunk=chunk and (chunk, hidden))

  return documented(make, function, chunks.OPTIONS)
