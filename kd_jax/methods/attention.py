"""Methods on transformers' attention, by the names of layers."""

from collections.abc import Callable

from kd_jax import types
from kd_jax.methods import base, layer_names, relations


def on_attention(function: Callable, **legal) -> Callable:
  """Makes the maker of a method that sums a loss over pairs of layers.

  Args:
    function: (student, teacher, *, tokens, static options) -> [B], from
      `kd_jax.losses.attention`.
    **legal: {option: kind} where its signature does not say it.

  Returns:
    A maker (layers=[(student, teacher), ..], tokens='', **options) -> Method.
    `tokens` names an output of the student, f32 [B, L], that is 1 at real
    tokens; without it every position counts.
  """
  name = function.__name__

  def make(*, layers=(), tokens: str = '', **options) -> base.Method:
    layer_names.need(name, layers)

    def compare(student, teacher):
      pairs = relations.named(name, layers, student, teacher)
      real = _real(name, tokens, student)
      return sum(
        function(student[ours], teacher[theirs], tokens=real, **options)
        for ours, theirs in pairs
      )

    def init(key, student, teacher):
      del key
      base.check(name, compare, student, teacher)
      return base.NOTHING

    def loss(variables, student, teacher, batch, hparams):
      del batch, hparams
      return compare(student, teacher), variables['state']

    return base.Method(init, loss, {})

  taken = {'layers': layer_names.Layers, 'tokens': str}
  return base.documented(make, function, {**legal, **taken})


def _real(name, tokens, student):
  """The output that says which tokens are real, or None."""
  if not tokens:
    return None
  if tokens not in student:
    raise types.unknown(f"output for tokens of '{name}'", tokens, student)
  return student[tokens]
