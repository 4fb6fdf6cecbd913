"""The recipes of the literature: `python -m tests.recipes [NAME ..]`.

Every method on every pair, or those whose 'file.py:METHOD,TEACHER,STUDENT'
holds one of the names; images are drawn. Each is traced: what its terms learn,
and their losses. With --build its whole experiment is made, which takes some
seconds each, and with --train its student makes a few steps, taught by weights
that are drawn. Prints one line each with the seconds, and exits with 1 where
one fails.
"""

import argparse
import functools
import json
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import ours
from experiments.configs import pairs, weights
from kd_jax import (
  build,
  config,
  errors,
  metrics,
  models,
  network_files,
  state,
  terms,
  training,
)
from kd_jax.build import terms as build_terms
from kd_jax.data import sources
from kd_jax.training import finished

TABLES = {
  'cifar100': (weights.CIFAR100, pairs.CIFAR100),
  'imagenet': (weights.IMAGENET, pairs.IMAGENET),
}
CLASSES = {'cifar100': 100, 'imagenet': 1000}
SIDE = {'cifar100': 32, 'imagenet': 224}
SIZE = 8  # of a batch
_TRACED = set()  # what was good is not traced again


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


def file_of(recipe: str) -> str:
  """'cifar100' or 'imagenet'."""
  return recipe.partition('.py')[0].rpartition('/')[2]


@functools.cache
def data(file: str) -> sources.Data:
  """A few drawn images in the shape of the recipe's."""
  rng, side = np.random.default_rng(0), SIDE[file]
  images = rng.integers(0, 256, (2 * SIZE, side, side, 3), np.uint8)
  labels = np.arange(2 * SIZE, dtype=np.int32) % 5
  return sources.make_data(
    'arrays',
    train=(images, labels),
    test=(images, labels),
    validation=0,
    classes=CLASSES[file],
  )


@functools.cache
def signal(name: str, file: str):
  """The outputs of a network and its classifier, as shapes."""
  network = models.make_network(name, CLASSES[file])
  shape = (SIZE, SIDE[file], SIDE[file], 3)

  def outputs(inputs):
    variables = network.init(jax.random.key(0), inputs)
    return state.signal_of(network, variables, inputs)

  return jax.eval_shape(outputs, jax.ShapeDtypeStruct(shape, jnp.float32))


def trace(recipe: str) -> None:
  """Traces what every term of a recipe learns, and its loss.

  Raises:
    ValueError: one line, for layers or options that do not fit.
  """
  file = file_of(recipe)
  c = config.resolve(config.read(f'{recipe},smoke'))
  signals = {n: signal(spec.name, file) for n, spec in c.networks.items()}
  kinds = {'labels': jnp.int32, 'index': jnp.int32, 'mask': jnp.float32}
  batch = {k: jax.ShapeDtypeStruct((SIZE,), kind) for k, kind in kinds.items()}
  trained = build_terms.make_recipe(
    c.train.to_dict(), 'train', 0, data(file), 0
  )
  for name, spec in c.terms.items():
    spec = spec.to_dict()
    seen = [_seen(spec, signals[side], side) for side in ('student', 'teacher')]
    # Most pairs have logits of one shape, and some have layers of one shape.
    key = json.dumps([file, spec, *map(repr, seen)], sort_keys=True)
    if key in _TRACED:
      continue
    method = build_terms.make_term(name, spec, trained, data(file)).method

    def value(student, teacher, batch, method=method):
      variables = method.init(jax.random.key(0), student, teacher)
      return method.loss(variables, student, teacher, batch, method.hparams)[0]

    found = jax.eval_shape(value, *seen, batch)
    if found.shape != (SIZE,):
      raise ValueError(f"term '{name}' is {found.shape}")
    _TRACED.add(key)


def _seen(spec, signal, side: str) -> dict:
  """What a term can read of a signal: its logits, its head, its layers."""
  layers = {pair[side == 'teacher'] for pair in spec.get('layers', ())}
  return {k: signal[k] for k in ('logits', terms.HEAD, *layers) if k in signal}


def make(recipe: str, *words: str, **changes) -> build.Experiment:
  """The experiment of a recipe, shortened, on the drawn images.

  Args:
    recipe: see `named`.
    *words: further parts of its argument, such as load=DIR.
    **changes: {key of the config: text}.
  """
  c = config.read(','.join([recipe, 'smoke', *words]), changes)
  return build.make_experiment(c, data(file_of(recipe)))


@functools.cache
def drawn(file: str, name: str) -> tempfile.TemporaryDirectory:
  """Holds a network with weights that are drawn, not trained."""
  folder, shape = tempfile.TemporaryDirectory(), [SIDE[file], SIDE[file], 3]
  network = models.make_network(name, CLASSES[file])
  variables = ours.initialize(network, jnp.zeros((1, *shape)), 0)
  built = {'name': name, 'classes': CLASSES[file], 'inputs': shape}
  network_files.save_network(
    folder.name + '/network', variables, {'build': built}
  )
  return folder


def run(recipe: str) -> list[dict]:
  """Trains the student of a shortened recipe, its teacher drawn.

  Returns:
    The metrics of every validation.
  """
  rows, teacher = [], recipe.split(',')[1]

  def write(stage, step, values):
    rows.append({'stage': stage, 'step': step, **values})

  writer = metrics.Writer(write, lambda: None)
  load = f'load={drawn(file_of(recipe), teacher).name}/network'
  made = make(recipe, load, baseline='False')
  training.run(made, finished.Session(None, writer))
  return rows


def main(arguments: list[str]) -> int:
  """The exit code."""
  parser = argparse.ArgumentParser(prog='python -m tests.recipes')
  parser.add_argument('names', nargs='*')
  parser.add_argument('--build', action='store_const', dest='do', const=make)
  parser.add_argument('--train', action='store_const', dest='do', const=run)
  options = parser.parse_args(arguments)
  chosen = [
    r
    for r in every()
    if not options.names or any(name in r for name in options.names)
  ]
  bad = 0
  for recipe in chosen:
    begun, line = time.perf_counter(), 'good'
    try:
      (options.do or trace)(recipe)
    except (ValueError, errors.DivergedError) as error:
      bad, line = bad + 1, f'FAILS: {error}'
    seconds = time.perf_counter() - begun
    print(f'{recipe.rpartition("/")[2]} {line} {seconds:.1f} s', flush=True)
  print(f'{len(chosen) - bad} of {len(chosen)} recipes are good')
  return int(bad > 0 or not chosen)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
