"""Methods on relations: between examples of a batch, channels or tokens."""

import inspect
from collections.abc import Callable, Mapping, Sequence

from kd_jax import types
from kd_jax.losses import relations, tokens
from kd_jax.methods import adapters, base, features, layer_names


def on_relations(
  function: Callable,
  batchwise: bool = True,
  outputs: Sequence[str] = (),
  **legal,
) -> Callable:
  """Makes the maker of a method that sums a loss over pairs of features.

  Unlike `features.on_features` it has no adapters: it compares relations within
  either side, whose widths may differ.

  Args:
    function: (student [B, ...], teacher [B, ...], *, floats and static
      options) -> [B], from `kd_jax.losses`.
    batchwise: whether it couples the examples of a batch.
    outputs: options that name an output of the student, which `function` gets.
    **legal: {option: kind} where its signature does not say it.

  Returns:
    A maker (layers=[(student, teacher), ..], **options) -> Method.
  """
  hparams = base.hparams_of(function)
  name = function.__name__

  def make(*, layers=(), **options) -> base.Method:
    layers = layer_names.need(name, layers)
    defaults, options = base.divide(options, hparams)
    names = {option: options.pop(option, None) for option in outputs}

    def compare(student, ours, teacher, theirs, hparams, batch):
      arrays = _outputs_of(student, names, name) or masks_of(function, batch)
      return function(
        student[ours], teacher[theirs], **options, **arrays, **hparams
      )

    return features.unadapted(name, layers, compare, defaults, batchwise)

  taken = {'layers': layer_names.Layers, **dict.fromkeys(outputs, str)}
  return base.documented(make, function, {**legal, **taken})


def masks_of(function: Callable, batch: Mapping) -> dict:
  """What a loss on attention takes of a batch of text: its masks."""
  mask = tokens.real(batch)
  if mask is None or 'tokens' not in inspect.signature(function).parameters:
    return {}
  return {'tokens': mask, 'segments': tokens.segments(batch), 'by_query': True}


def _outputs_of(student, names, method) -> dict:
  """{option: the student's output that it names}; '' names none."""
  arrays = {}
  for option, output in names.items():
    if output and output not in student:
      raise types.unknown(f"output for {option} of '{method}'", output, student)
    if output:
      arrays[option] = student[output]
  return arrays


def on_attention(function: Callable, **legal) -> Callable:
  """Makes the maker of a method on attention, from `losses.attention`.

  Returns:
    A maker as of `on_relations`. Text says itself which tokens are real. For
    other inputs the option `tokens` names an output of the student, f32
    [B, L], that is 1 where a position counts; without it all do.
  """
  return on_relations(function, batchwise=False, outputs=('tokens',), **legal)


def ickd(
  *, layers: layer_names.Layers = (), variant: str = 'code'
) -> base.Method:
  """Inter-channel correlation: which channels of an example correlate.

  sum over the pairs of layers of |n(G_s) - n(G_t)|^2_F / C (see
  `losses.relations.ickd`), G [C, C] the Gram matrix of an example's channels
  over its places. Where the numbers of channels differ, a learned 1x1
  convolution maps the student's to the teacher's; the places may differ.

  Args:
    layers: [(student, teacher)], maps [B, H, W, C] or tokens [B, L, C].
    variant: 'code' or 'paper', of the loss.

  Returns:
    A method whose loss is f32 [B], without unit; 0 where the two sides agree.
    Weight 2.5 on the last map, as in the authors' CIFAR-100 script. Couples no
    examples.

  Raises:
    ValueError: at its init, for an unknown variant or layer.

  Source: Liu et al. 2021, "Exploring Inter-Channel Correlation for
    Diversity-Preserved Knowledge Distillation", section 3,
    https://arxiv.org/abs/2202.03680. The variants differ in the norm. The
    authors' adapter is there for equal channels too, has no bias, and a batch
    norm, which would couple the examples.
  """
  layers = layer_names.need('ickd', layers)

  def plan(student, teacher):
    return features.connect(layers, student, teacher, _channels)

  def compare(ours, theirs, hparams):
    del hparams
    return sum(
      relations.ickd(s, t, variant=variant) for s, t in zip(ours, theirs)
    )

  return features.comparing('ickd', plan, compare, {})


def _channels(student, teacher) -> adapters.Adapter:
  """The adapter from the student's channels to the teacher's."""
  adapter = adapters.make_adapter('auto', student, (*student[:-1], teacher[-1]))
  # Checkpoints hold all variables of the adapter in 'params'.
  return adapters.Adapter(
    lambda key: {'params': adapter.init(key)},
    lambda variables, x: adapter.apply(variables['params'], x),
  )
