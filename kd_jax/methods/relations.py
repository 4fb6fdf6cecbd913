"""Methods on relations: between examples of a batch, or between channels."""

from collections.abc import Callable, Mapping, Sequence

import jax

from kd_jax.losses import relations
from kd_jax.methods import adapters, base, layer_names


def named(
  name: str, layers: Sequence, student: Mapping, teacher: Mapping
) -> list[tuple[str, str]]:
  """The pairs of layers that the method `name` is told to read.

  Raises:
    ValueError: where there are none, or for names that no output has.
  """
  return layer_names.pairs(layer_names.need(name, layers), student, teacher)


def on_relations(function: Callable, batchwise: bool = True) -> Callable:
  """Makes the maker of a method that sums a loss over pairs of features.

  Unlike `features.on_features` it adapts nothing: what is compared are
  relations within either side, whose widths may differ.

  Args:
    function: (student [B, ...], teacher [B, ...], *, floats and static
      options) -> [B], from `kd_jax.losses`.
    batchwise: whether it couples the examples of a batch.

  Returns:
    A maker (layers=[(student, teacher), ..], **options) -> Method.
  """
  hparams = base.hparams_of(function)
  name = function.__name__

  def make(*, layers=(), **options) -> base.Method:
    layer_names.need(name, layers)
    numbers, options = base.divide(options, hparams)

    def compare(student, teacher, hparams):
      return sum(
        function(student[ours], teacher[theirs], **options, **hparams)
        for ours, theirs in named(name, layers, student, teacher)
      )

    def init(key, student, teacher):
      del key
      base.check(name, compare, student, teacher, numbers)
      return base.NOTHING

    def loss(variables, student, teacher, batch, hparams):
      del batch
      return compare(student, teacher, hparams), variables['state']

    return base.Method(init, loss, numbers, batchwise)

  return base.documented(make, function, {'layers': layer_names.Layers})


def ickd(
  *, layers: layer_names.Layers = (), variant: str = 'code'
) -> base.Method:
  """Inter-channel correlation: which channels of an example go together.

  sum over the pairs of layers of |n(G_s) - n(G_t)|^2_F / C (see
  `losses.relations.ickd`), G [C, C] the Gram matrix of an example's channels
  over its places. The student's channels are brought to the teacher's number
  by a learned 1x1 convolution where they differ; the places may differ.

  Args:
    layers: [(student, teacher)], maps [B, H, W, C] or tokens [B, L, C].
    variant: 'code' or 'paper', of the loss.

  Returns:
    A method whose loss is f32 [B], without unit; 0 where the two sides agree.
    Couples no examples.

  Raises:
    ValueError: another variant, or layers that no output has, at its init.

  Source: Liu et al. 2021, "Exploring Inter-Channel Correlation for
    Diversity-Preserved Knowledge Distillation", section 3,
    https://arxiv.org/abs/2202.03680. The variants differ in the norm.
  """
  layer_names.need('ickd', layers)

  def adapter(student, teacher):
    shape = (*student.shape[:-1], teacher.shape[-1])
    return adapters.make_adapter('auto', student.shape, shape)

  def compare(params, student, teacher):
    total = 0.0
    for i, (ours, theirs) in enumerate(named('ickd', layers, student, teacher)):
      s, t = student[ours], teacher[theirs]
      s, _ = adapter(s, t).apply(params[f'pair{i}'], s)
      total += relations.ickd(s, t, variant=variant)
    return total

  def init(key, student, teacher):
    params = {}
    for i, (ours, theirs) in enumerate(named('ickd', layers, student, teacher)):
      made = adapter(student[ours], teacher[theirs])
      params[f'pair{i}'] = made.init(jax.random.fold_in(key, i))
    base.check('ickd', compare, params, student, teacher)
    return {'params': params, 'state': {}}

  def loss(variables, student, teacher, batch, hparams):
    del batch, hparams
    value = compare(variables['params'], student, teacher)
    return value, variables['state']

  return base.Method(init, loss, {})
