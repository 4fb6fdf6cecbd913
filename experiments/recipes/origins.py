"""Where the settings of a recipe stand, by method and pair."""

from experiments.configs import pairs
from experiments.recipes import cifar100, imagenet, sources
from kd_jax import types


def origin(method: str, teacher: str, student: str) -> sources.Origin:
  """Where the settings of a recipe stand.

  Args:
    method: a key of `weights.CIFAR100` or `weights.IMAGENET`.
    teacher, student: a pair of `pairs`.

  Raises:
    ValueError: for a method without a source.
  """
  on_imagenet = (teacher, student) in pairs.IMAGENET
  table = imagenet.IMAGENET if on_imagenet else cifar100.CIFAR100
  if method not in table:
    raise types.unknown('method with a source', method, table)
  return table[method](teacher, student)
