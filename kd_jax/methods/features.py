"""Methods that compare features by name."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence

from kd_jax import types
from kd_jax.methods import base


def pairs(
  layers: Sequence[tuple[str, str]], student: Mapping, teacher: Mapping
) -> list[tuple[str, str]]:
  """The (student, teacher) names that `layers` means, globs written out.

  Args:
    layers: pairs of names or globs; a glob pairs what it matches in order.
    student: the student's outputs or their shapes.
    teacher: the teacher's.

  Raises:
    ValueError: for a name that no output has, with the known ones and their
      shapes, or for globs that match different numbers of layers.
  """
  found = []
  for ours, theirs in layers:
    left = _named(ours, student, 'student')
    right = _named(theirs, teacher, 'teacher')
    if len(left) != len(right):
      raise ValueError(
        f"layers ('{ours}', '{theirs}') match {len(left)} of the student and "
        f'{len(right)} of the teacher: {left} and {right}'
      )
    found += zip(left, right)
  return found


def _named(pattern: str, outputs: Mapping, who: str) -> list[str]:
  known = {n: x.shape for n, x in outputs.items() if hasattr(x, 'shape')}
  names = [n for n in known if fnmatch.fnmatchcase(n, pattern)]
  if not names:
    shown = [f"{name} {'x'.join(map(str, s[1:]))}" for name, s in known.items()]
    error = types.unknown(f'layer of the {who}', pattern, known)
    raise ValueError(f"{str(error).split(' known:')[0]} known: "
                     f"{', '.join(shown)}")
  return names


def on_features(function: Callable, batchwise: bool = False) -> Callable:
  """Makes the maker of a method that sums a loss over pairs of features.

  Args:
    function: (student [B, ...], teacher [B, ...], *, floats and static
      options) -> [B], from `kd_jax.losses`.
    batchwise: whether it couples the examples of a batch.

  Returns:
    A maker (layers=[(student, teacher), ..], **static options) -> Method.
  """
  hparams, static = base.split_options(function)

  def make(*, layers=(), **options) -> base.Method:
    name = function.__name__
    numbers, options = base.divide(name, options, hparams, static)
    if not layers:
      raise ValueError(
        f"method '{name}' needs layers=[('student layer', 'teacher layer')]"
      )

    def init(key, student, teacher):
      del key
      for ours, theirs in pairs(layers, student, teacher):
        if student[ours].shape != teacher[theirs].shape:
          raise ValueError(
            f"'{ours}' {student[ours].shape} of the student and '{theirs}' "
            f'{teacher[theirs].shape} of the teacher differ in shape'
          )
      return base.NOTHING

    def loss(variables, student, teacher, batch, hparams):
      del batch
      values = [
        function(student[ours], teacher[theirs], **options, **hparams)
        for ours, theirs in pairs(layers, student, teacher)
      ]
      return sum(values), variables['state']

    return base.Method(init, loss, numbers, batchwise)

  return make
