"""Holds every key of an experiment with its default, and validates configs."""

import ast
import functools
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import ml_collections
import numpy as np

from kd_jax import kinds, types, user_file

ConfigDict = ml_collections.ConfigDict
OPEN = ('data', 'networks', 'scheme', 'terms', 'views')  # take keys of any name
# And so do these.
OPEN_ENDS = ('optimizer.options.', 'optimizer.schedule.', 'cache.distribution.')
ALPHA_WEIGHTS = ('soft', 'hard')
# Read through references alone: they say nothing of a config without these.
REFERRED = ('temperature', 'alpha', 'beta', 'alpha_weights')

# The kinds of the plain keys; all others have the type of their default.
TRAINING = {
  'epochs': kinds.Whole,
  'steps': kinds.Steps,
  'batch_size': kinds.Count,
  'augment': Sequence,
  'views': kinds.Whole,
  'optimizer.learning_rate': kinds.NonNegative,
  'optimizer.weight_decay': kinds.NonNegative,
  'optimizer.clip_norm': kinds.NonNegative,
  'optimizer.accumulate': kinds.Count,
}
KEYS = {
  'seed': kinds.Seed,
  'seeds': Annotated[int, kinds.within(1, 10_000)],
  'temperature': kinds.Temperature,
  'alpha': kinds.Share,
  'beta': kinds.NonNegative,
  'data.seed': kinds.Seed,
  'teacher.seed': kinds.Seed,
  'cache.folder': kinds.Local,
  'cache.outputs': kinds.Names,
  'cache.top_k': kinds.Whole,
  'steps_at_once': kinds.Whole,
  'checkpoint_every': kinds.Whole,
  'keep': kinds.Count,
  'eval_every': kinds.Whole,
  'log_every': kinds.Whole,
  'profile': kinds.Window,
  **{
    f'{part}.{key}': kind
    for part in ('train', 'teacher')
    for key, kind in TRAINING.items()
  },
}
CHOICES = {
  'alpha_weights': ALPHA_WEIGHTS,
  'select': ('last', 'best'),
  'precision': kinds.PRECISIONS,
  'parallel': ('auto', 'one', 'mesh', 'pmap'),
  'teacher_outputs': ('live', 'cache'),
}
# The keys of a term that are not options of its method.
TERM = {
  'method': str,
  'student': str,
  'teacher': str,
  'weight': kinds.NonNegative,
  'schedule': Mapping,
  'void': bool,
  'reduction': str,
}
# The keys that an entry of an open sub-tree needs, and an example.
NEEDS = {
  'networks': (
    ('name', 'load', 'given'),
    "a name or a folder: dict(name='cnn', ...) or dict(load='DIR')",
  ),
  'terms': (('method',), "a method: dict(method='kd', ...)"),
  'views': (('name',), "a name: dict(name='mean_probs', sources=[...])"),
}


def optimizer() -> ConfigDict:
  """How the parameters move."""
  c = ConfigDict()
  c.name = 'adam'  # sgd, adam, adamw, dot
  c.learning_rate = 1e-3  # peak
  c.weight_decay = 0.0  # of weights; of all by options.decay='all'
  c.clip_norm = 0.0  # greatest global norm of the gradient; 0: none
  c.accumulate = 1  # steps whose gradients are averaged into one update
  c.options = open_dict()  # momentum, nesterov, delta, b1, b2, eps, decay
  c.schedule = open_dict(name='constant')  # or linear, cosine, poly, step
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

  c.task = ''  # a key of kd_jax.tasks.TASKS; '': that of the data set
  # And options of kd_jax.data.make_data: data.ignore, the label of pixels that
  # do not count, such as 255 (a data set that has such a label knows it).
  c.data = open_dict(name='digits')
  c.data.seed = 0  # order of the examples and augmentation
  # name -> dict(name=.., options) or dict(load=DIR). backbone=DIR: a finished
  # network for images, where the part 'backbone' of a new network starts. Its
  # own precision; remat=True keeps less in training, microbatches=N if frozen.
  # init_from=dict(network=.., layers=[..]): a loaded one, of whose layers a
  # network for text starts. load=DIR reads Hugging Face's folders too.
  c.networks = open_dict()
  c.scheme = open_dict(name='offline')  # who teaches whom, and its options
  c.views = open_dict()  # name -> dict(name=.., sources=[..]): ensembles
  c.terms = open_dict()  # name -> dict(method, weight, student, teacher, ..)

  c.train = training()  # the student, and the student alone
  c.teacher = training()  # a teacher that is not loaded
  c.teacher.seed = 0  # its initialization and dropout
  c.baseline = True  # train the student alone too, same budget and seed
  # The network that is kept: 'last', or 'best' on validation; the other lies
  # beside it, as NAME_best or NAME_last.
  c.select = 'last'

  c.precision = 'float32'  # TF32 on a GPU; bfloat16; highest: f32 everywhere
  c.deterministic = False  # equal bits in equal runs on a GPU too; slower there
  c.parallel = 'auto'  # one, mesh, pmap; auto: pmap, lanes one a device
  c.teacher_outputs = 'live'  # cache: of frozen teachers, stored once and read
  c.cache = ConfigDict()
  c.cache.folder = ''  # of the caches of teachers; '': WORKDIR/cache
  c.cache.outputs = ('logits',)  # and features, by the names of outputs
  c.cache.top_k = 0  # largest logits, the rest as one tail; 0: all
  # name=.., options: what is stored in place of logits, see kd_jax.cache.forms:
  # all, top_k (k, dtype; the default of a language), sampled (n, seed), hidden.
  c.cache.distribution = open_dict()
  c.cache.dtype = 'float32'  # bfloat16, int8: see kd_jax.cache.encoding
  c.steps_at_once = 0  # in one program; 0: 100 on a GPU, on CPU as is faster
  c.checkpoint_every = 0  # steps between; 0: epochs 15 s apart
  c.keep = 2  # checkpoints kept of a stage
  c.eval_every = 0  # steps between validations; 0: an epoch
  c.log_every = 10  # seconds between lines where there is no terminal
  c.profile = ''  # 'A:B': steps A to B - 1 of each stage are traced
  return _locked(c)


def _locked(c: ConfigDict) -> ConfigDict:
  """`c`, where only the open sub-trees take new keys."""
  c.lock()
  for name in OPEN:
    c[name].unlock()
  c.cache.distribution.unlock()
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
  """The convention alpha*hard: references of the terms read 1 - alpha."""
  alpha = c.alpha
  c.alpha = 1.0 - alpha
  resolved = c.copy_and_resolve_references()
  c.alpha = alpha
  return resolved


def validate(c: ConfigDict) -> None:
  """Refuses an invalid value, before any work.

  Tables are checked where they are read, in `build`.

  Raises:
    ValueError: one line, with the value and what it must be.
  """
  _check_keys(c, _defaults(), '')
  for key, known in CHOICES.items():
    if c[key] not in known:
      raise types.unknown(key, c[key], known)
  last = c.seed + c.seeds - 1
  kinds.check('seed + seeds - 1, the last seed,', last, kinds.Seed)
  for name in ('train', 'teacher'):
    if not c[name].epochs and not c[name].steps:
      raise ValueError(f'{name}.epochs and {name}.steps are both 0')
  for tree in OPEN:
    _check_texts(c[tree], tree)
  for tree in ('data', 'scheme'):
    kinds.check(f'{tree}.name', c[tree].get('name'), str)
  for tree, (keys, example) in NEEDS.items():
    for name, entry in c[tree].items():
      kinds.check(f'a name in {tree}', name, kinds.Name)
      kinds.check(f'{tree}.{name}', entry, Mapping)
      if not any(entry.get(key) for key in keys):
        raise ValueError(f"{tree[:-1]} '{name}' needs {example}")
  for name, network in c.networks.items():
    for key in ('load', 'backbone'):
      if key in network:
        kinds.check(f'networks.{name}.{key}', network[key], kinds.Local)
    if 'init_from' in network:
      kinds.check(f'networks.{name}.init_from', network.init_from, Mapping)
  for name, term in c.terms.items():
    _check_term(f'terms.{name}', term)


@functools.cache
def _defaults() -> ConfigDict:
  """`default()`, cached: it is only read."""
  return default()


def _check_keys(c: ConfigDict, like: ConfigDict, path: str) -> None:
  """Refuses missing and unknown keys, and values of another kind."""
  open_path = path.rstrip('.') in OPEN or path.endswith(OPEN_ENDS)
  for key in c:
    if key not in like and not open_path:
      raise types.unknown('config key', f'{path}{key}', _paths(like, path))
  for key, usual in like.items():
    name = f'{path}{key}'
    if key not in c and path.endswith(OPEN_ENDS):
      continue
    if key not in c:
      raise ValueError(
        f"the config lacks '{name}'; start from kd_jax.config.default()"
      )
    if isinstance(usual, ConfigDict):
      kinds.check(name, c[key], Mapping)
      _check_keys(c[key], usual, f'{name}.')
    else:
      kinds.check(name, c[key], KEYS.get(name, kinds.of_default(usual)))


def _check_texts(node: Mapping, path: str) -> None:
  """Refuses keys that are not text, anywhere in an open sub-tree."""
  try:
    keys = list(node)
  except TypeError:  # ml_collections sorts them
    raise ValueError(f'{path} has keys of several types; legal: str') from None
  for key in keys:
    kinds.check(f'a key in {path}', key, str)
    if isinstance(node[key], ConfigDict):
      _check_texts(node[key], f'{path}.{key}')


def _check_term(path: str, term: ConfigDict) -> None:
  """Checks the keys of a term that are not options of its method."""
  for key, kind in TERM.items():
    if key in term:
      kinds.check(f'{path}.{key}', term[key], kind)


def to_json(c: ConfigDict) -> dict:
  """The config as plain JSON types."""
  return json.loads(json.dumps(c.to_dict(), default=str))


def read(path: str, changes: Mapping[str, str] = {}) -> ConfigDict:
  """The config of a file, with keys changed.

  Args:
    path: 'FILE' or 'FILE:arg'; the file has `get_config(arg)`.
    changes: {dotted key: text of the value}, a Python literal or a string.

  Raises:
    ValueError: one line, for an invalid file, key or type, and for whatever
      the file raises, with its line.
  """
  file, _, arg = path.partition(':')
  if arg.startswith('//'):
    kinds.check('a config file', path, kinds.Local)
  make = user_file.function(file, 'get_config')
  if arg and not inspect.signature(make).parameters:
    raise ValueError(f"{file} takes no argument, not '{arg}'")
  c = user_file.call(file, make, *filter(None, [arg]))
  if not isinstance(c, ConfigDict):
    raise ValueError(
      f'get_config() of {file} returned a {type(c).__name__}; legal: a config, '
      'from kd_jax.config.default()'
    )
  for key, text in changes.items():
    change(c, key, text)
  return c


def one_of(arg: str, *known: str) -> str:
  """The argument of a `get_config`, if it is known or ''.

  Raises:
    ValueError: with the near and known ones.
  """
  if arg and arg not in known:
    raise types.unknown('argument', arg, known)
  return arg


def change(c: ConfigDict, key: str, value) -> None:
  """Sets a dotted key; a text is read as a Python literal where it is one.

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
  if last not in node and (node.is_locked or not last):
    raise _unknown_key(key, node, path)
  current = node.get(last) if last in node else None
  is_open = bool(parents) and parents[0] in OPEN
  if is_open and isinstance(current, float | int) and type(current) is not bool:
    kinds.check(key, value, float)
    value = float(value) if isinstance(current, float) else value
    # Cuts the reference: alpha must not follow the weight of a term.
    del node[last]
  else:
    kinds.check(key, value, KEYS.get(key, kinds.of_default(current)))
  try:
    node[last] = value
  except (TypeError, ValueError) as error:
    raise ValueError(f'{key} cannot be {kinds.short(value)}: {error}') from None


def _unknown_key(key, node, path) -> ValueError:
  return types.unknown('config key', key, _paths(node, path))


def _paths(node, path) -> list[str]:
  return [f'{path}{key}' for key in node]


def _literal(text: str):
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text
