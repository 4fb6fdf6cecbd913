"""Every key of an experiment with its default, and the check of all values."""

import ast
import importlib.util
import json
import math
import pathlib
from collections.abc import Mapping

import ml_collections
import numpy as np

from kd_jax import types

ConfigDict = ml_collections.ConfigDict
OPEN = ('data', 'networks', 'scheme', 'terms', 'views')  # take keys of any name
ALPHA_WEIGHTS = ('soft', 'hard')


def optimizer() -> ConfigDict:
  """How the parameters move."""
  c = ConfigDict()
  c.name = 'adam'  # sgd, adam, adamw
  c.learning_rate = 1e-3  # peak
  c.weight_decay = 0.0  # of weights; of all by options.decay='all'
  c.clip_norm = 0.0  # greatest global norm of the gradient; 0: none
  c.accumulate = 1  # micro-batches averaged into one update
  c.options = open_dict()  # momentum, nesterov, b1, b2, eps, decay
  c.schedule = open_dict(name='constant')  # constant, linear, cosine, step
  return c


def training() -> ConfigDict:
  """How a stage is trained."""
  c = ConfigDict()
  c.epochs = 20  # passes over the training set
  c.steps = 0  # updates; 0: from the epochs
  c.batch_size = 64  # over all devices
  c.augment = ()  # names or dicts of kd_jax.data.augment.AUGMENTS
  c.views = 0  # augmented images of an example, in turn; 0: always new ones
  c.optimizer = optimizer()
  return c


def open_dict(**values) -> ConfigDict:
  """A sub-tree that takes keys of any name (a table's options)."""
  return ConfigDict(values)


def default() -> ConfigDict:
  """Every key of an experiment; a config only changes values."""
  c = ConfigDict()
  c.seed = 0  # initialization and dropout
  c.seeds = 1  # runs with the seeds seed, seed + 1, ..: one folder each

  c.temperature = 4.0  # T, referred to by the terms
  c.alpha = 0.9  # weight of the soft loss (already times T^2)
  c.beta = 0.0  # weight of the feature loss
  c.alpha_weights = 'soft'  # 'hard': alpha*hard + (1-alpha)*soft instead

  c.data = open_dict(name='digits')  # and options of kd_jax.data.SOURCES
  c.data.seed = 0  # order of the examples and augmentation
  c.networks = open_dict()  # name -> dict(name=.., options) or dict(load=DIR)
  c.scheme = open_dict(name='offline')  # who teaches whom, and its options
  c.views = open_dict()  # name -> dict(name=.., sources=[..]): ensembles
  c.terms = open_dict()  # name -> dict(method, weight, student, teacher, ..)

  c.train = training()  # the student, and the student alone
  c.teacher = training()  # a teacher that is not loaded
  c.teacher.seed = 0  # its initialization and dropout
  c.baseline = True  # train the student alone too, same budget and seed
  c.select = 'last'  # the network that is kept: 'last', or 'best' on validation

  c.parallel = 'auto'  # one, mesh, pmap; auto: one device or pmap
  c.teacher_outputs = 'live'  # cache: of frozen teachers, stored once and read
  c.cache = ConfigDict()
  c.cache.folder = ''  # one in it for each teacher; '': cache in the workdir
  c.cache.outputs = ('logits',)  # and features, by the names of outputs
  c.cache.top_k = 0  # largest logits, the rest as one tail; 0: all
  c.cache.dtype = 'float32'  # bfloat16, int8: see kd_jax.cache.encoding
  c.steps_at_once = 0  # in one program; 0: 100 on a GPU, on CPU as is faster
  c.checkpoint_every = 0  # steps between; 0: epochs 15 s apart
  c.keep = 2  # checkpoints kept of a stage
  c.eval_every = 0  # steps between validations; 0: an epoch
  c.log_every = 10  # seconds between lines where there is no terminal
  return _locked(c)


def _locked(c: ConfigDict) -> ConfigDict:
  """`c`, where only the open sub-trees take new keys."""
  c.lock()
  for name in OPEN:
    c[name].unlock()
  for part in (c.train, c.teacher):
    part.optimizer.options.unlock()
    part.optimizer.schedule.unlock()
  return c


def resolve(c: ConfigDict) -> ConfigDict:
  """A copy without references, with alpha as the weight of the soft loss."""
  if c.alpha_weights == 'hard':
    return _hard(c)
  return c.copy_and_resolve_references()


def _hard(c):
  """The other printed convention: the terms' references see 1 - alpha."""
  alpha = c.alpha
  c.alpha = 1.0 - alpha
  resolved = c.copy_and_resolve_references()
  c.alpha = alpha
  return resolved


def validate(c: ConfigDict) -> None:
  """Refuses a value that cannot be meant, before any work.

  Tables are checked where they are read, in `build`.

  Raises:
    ValueError: one line, with the value and the legal ones.
  """
  _is_seed(c, 'seed')
  _is_seed(c.data, 'seed', 'data.')
  _is_seed(c.teacher, 'seed', 'teacher.')
  _at_least(c, 'seeds', 1)
  if not (math.isfinite(c.temperature) and c.temperature > 0):
    raise ValueError(
      f'temperature must be finite and above 0, not {c.temperature}'
    )
  if not 0 <= c.alpha <= 1:
    raise ValueError(f'alpha must lie in [0, 1], not {c.alpha}')
  _at_least(c, 'beta', 0.0)
  _one_of(c, 'alpha_weights', ALPHA_WEIGHTS)
  _one_of(c, 'select', ('last', 'best'))
  _one_of(c, 'parallel', ('auto', 'one', 'mesh', 'pmap'))
  _one_of(c, 'teacher_outputs', ('live', 'cache'))
  for name in ('steps_at_once', 'checkpoint_every', 'eval_every'):
    _at_least(c, name, 0)
  _at_least(c, 'keep', 1)
  for name in ('train', 'teacher'):
    _validate_training(c[name], name)
  for name, term in c.terms.items():
    _validate_term(name, term)


def _validate_training(c, name) -> None:
  prefix = f'{name}.'
  _at_least(c, 'epochs', 0, prefix)
  _at_least(c, 'steps', 0, prefix)
  if not c.epochs and not c.steps:
    raise ValueError(f'{name}.epochs and {name}.steps are both 0')
  _at_least(c, 'batch_size', 1, prefix)
  _at_least(c, 'views', 0, prefix)
  _at_least(c.optimizer, 'learning_rate', 0.0, f'{prefix}optimizer.')
  _at_least(c.optimizer, 'weight_decay', 0.0, f'{prefix}optimizer.')
  _at_least(c.optimizer, 'clip_norm', 0.0, f'{prefix}optimizer.')
  _at_least(c.optimizer, 'accumulate', 1, f'{prefix}optimizer.')


def _validate_term(name, term) -> None:
  if not isinstance(term, Mapping | ConfigDict) or 'method' not in term:
    raise ValueError(f"term '{name}' needs a method: dict(method='kd', ...)")
  for key, value in term.items():
    if not isinstance(value, float | int) or isinstance(value, bool):
      continue
    if not math.isfinite(value):
      raise ValueError(f'terms.{name}.{key} must be finite, not {value}')
    if key == 'weight' and value < 0:
      raise ValueError(f'terms.{name}.weight must not be negative: {value}')
    if key == 'temperature' and value <= 0:
      raise ValueError(f'terms.{name}.temperature must be above 0, not {value}')


def _at_least(c, name, low, prefix='') -> None:
  value = c[name]
  if not math.isfinite(value) or value < low:
    raise ValueError(f'{prefix}{name} must be at least {low}, not {value}')


def _is_seed(c, name, prefix='') -> None:
  """Refuses seeds that JAX would cut to 32 bits."""
  _at_least(c, name, 0, prefix)
  if c[name] >= 2**32:
    raise ValueError(f'{prefix}{name} must be below 2**32, not {c[name]}')


def _one_of(c, name, known) -> None:
  if c[name] not in known:
    raise types.unknown(name, c[name], known)


def to_json(c: ConfigDict) -> dict:
  """The config as plain JSON types."""
  return json.loads(json.dumps(c.to_dict(), default=str))


def read(path: str, changes: Mapping[str, str] = {}) -> ConfigDict:
  """The config of a file, with keys changed.

  Args:
    path: 'FILE' or 'FILE:arg'; the file has `get_config(arg)`.
    changes: {dotted key: text of the value}, a Python literal or a string.

  Raises:
    ValueError: one line, for a file, key or type that cannot be.
  """
  file, _, arg = path.partition(':')
  module = load_module(file)
  try:
    c = module.get_config(arg) if arg else module.get_config()
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    line = ' '.join(str(error).split()).split(' Other fields')[0]
    raise ValueError(f'{file}: {line}') from None
  if not isinstance(c, ConfigDict):
    raise ValueError(f'get_config of {file} returned a {type(c).__name__}')
  for key, text in changes.items():
    change(c, key, text)
  return c


def load_module(file: str):
  """A config file as a module.

  Raises:
    ValueError: where it does not exist, or is no config.
  """
  place = pathlib.Path(file)
  if not place.is_file():
    near = [str(p) for p in sorted(place.parent.glob('*.py'))]
    raise types.unknown('config file', file, near)
  spec = importlib.util.spec_from_file_location('kd_config', place)
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except SyntaxError as error:
    raise ValueError(f'{file}:{error.lineno}: {error.msg}') from None
  if not hasattr(module, 'get_config'):
    raise ValueError(f'{file} has no get_config()')
  return module


def change(c: ConfigDict, key: str, value) -> None:
  """Sets a dotted key; a text is read as the Python literal that it writes.

  Raises:
    ValueError: for an unknown key, with the near ones, or a wrong type.
  """
  assign(c, key, _literal(value) if isinstance(value, str) else value)


def assign(c: ConfigDict, key: str, value) -> None:
  """Sets a dotted key to a value as it is; raises as `change`."""
  value = value.item() if isinstance(value, np.generic) else value
  *parents, last = key.split('.')
  node, path = c, ''
  for parent in parents:
    if not isinstance(node.get(parent), ConfigDict):
      raise _unknown_key(key, node, path)
    node, path = node[parent], f'{path}{parent}.'
  if last not in node and node.is_locked:
    raise _unknown_key(key, node, path)
  if value is None and node.get(last) is not None:
    kind = type(node[last]).__name__
    raise ValueError(f'{key} must be of type {kind}, not None')
  try:
    if parents and parents[0] in OPEN and isinstance(node.get(last), float):
      # Its own number from now on: alpha must not follow a term's weight.
      value = float(value)
      del node[last]
    node[last] = value
  except (TypeError, ValueError):
    kind = type(node[last]).__name__
    raise ValueError(
      f'{key} must be of type {kind}, not {type(value).__name__}: {value}'
    ) from None


def _unknown_key(key, node, path) -> ValueError:
  return types.unknown('config key', key, [f'{path}{k}' for k in node])


def _literal(text: str):
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text
