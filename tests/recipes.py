"""Builds the recipes of the literature: `python -m tests.recipes [NAME ..]`.

Every method on every pair, or those whose 'file.py:METHOD,TEACHER,STUDENT'
holds one of the names; images are drawn, and nothing is trained. Prints one
line each with the seconds, and exits with 1 where one does not build.
"""

import functools
import sys
import time

import numpy as np

from experiments.configs import pairs, weights
from kd_jax import build, config
from kd_jax.data import sources

TABLES = {
  'cifar100': (weights.CIFAR100, pairs.CIFAR100),
  'imagenet': (weights.IMAGENET, pairs.IMAGENET),
}
CLASSES = {'cifar100': 100, 'imagenet': 1000}
SIDE = {'cifar100': 32, 'imagenet': 224}


def every() -> list[str]:
  """All recipes as 'experiments/configs/FILE.py:METHOD,TEACHER,STUDENT'."""
  return [
    named(file, method, *pair)
    for file, (methods, known) in TABLES.items()
    for method in methods
    for pair in known
  ]


def named(file: str, method: str, teacher: str, student: str) -> str:
  """The recipe as `config.read` takes it."""
  return f'experiments/configs/{file}.py:{method},{teacher},{student}'


@functools.cache
def data(file: str) -> sources.Data:
  """A few drawn images in the shape of the recipe's."""
  rng, side = np.random.default_rng(0), SIDE[file]
  images = rng.integers(0, 256, (16, side, side, 3), np.uint8)
  labels = np.arange(16, dtype=np.int32) % 5
  return sources.make_data(
    'arrays', train=(images, labels), test=(images, labels), validation=0,
    classes=CLASSES[file],
  )


def make(recipe: str) -> build.Experiment:
  """The experiment of a recipe, shortened, on the drawn images."""
  file = recipe.partition('.py')[0].rpartition('/')[2]
  return build.make_experiment(config.read(f'{recipe},smoke'), data(file))


def main(arguments: list[str]) -> int:
  """The exit code."""
  chosen = [
    r for r in every() if not arguments or any(a in r for a in arguments)
  ]
  bad = 0
  for recipe in chosen:
    begun, line = time.perf_counter(), 'builds'
    try:
      make(recipe)
    except ValueError as error:
      bad, line = bad + 1, f'FAILS: {error}'
    seconds = time.perf_counter() - begun
    print(f'{recipe.rpartition("/")[2]} {line} {seconds:.1f} s', flush=True)
  print(f'{len(chosen) - bad} of {len(chosen)} recipes build')
  return int(bad > 0 or not chosen)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
