"""Finished networks on disk, never trained, for the tests of the export."""

import functools
import json

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import build, checkpoint, network_files
from kd_jax.data import sources
from kd_jax.methods import make_method, reused_head
from kd_jax.models import convolution
from tests.helpers import compared

SHAPE, CLASSES = (4, 4, 1), 6


class Shuffle(nn.Module):
  """Grouped and depthwise convolutions in the forms fast on a CPU."""

  @nn.compact
  def __call__(self, x):
    fast = {'conv_general_dilated': convolution.convolve}
    same = ((1, 1), (1, 1))
    x = nn.Conv(
      8, (1, 1), (1, 1), ((0, 0), (0, 0)), feature_group_count=2, **fast
    )(x)
    x = nn.Conv(8, (3, 3), (2, 2), same, feature_group_count=8, **fast)(x)
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, 2, c // 2).swapaxes(3, 4).reshape(b, h, w, c)
    left, right = jnp.split(x, [3], -1)
    return jnp.concatenate([right, nn.sigmoid(left)], -1).mean((1, 2))


def data() -> sources.Data:
  """64 training and 301 test images 4x4x1 of six classes."""
  return compared.data()


@functools.cache
def drawn(text: str, seed: int):
  """A network and its drawn variables, of a spec as JSON."""
  spec = json.loads(text)
  network = build.make_network(spec)
  images = jax.random.normal(jax.random.key(1), (64, *SHAPE))
  variables = jax.jit(network.init)(jax.random.key(seed), images)
  if 'reuses' in spec:
    variables = with_head(network, variables, images, spec['reuses'])
  step = jax.jit(functools.partial(network.apply, train=True))
  _, state = step(variables, images)
  return network, {**variables, **state}


def save(folder, seed: int = 0, draw: int = 0, **spec):
  """Writes a network folder, said to be of `seed`; network and variables."""
  spec = {'classes': CLASSES, 'inputs': list(SHAPE), **spec}
  network, variables = drawn(json.dumps(spec), draw)
  network_files.save_network(
    folder,
    variables,
    {
      'build': spec,
      'seed': seed,
      'steps': 3,
      'select': 'last',
      'validation': {'last': 0.1 * seed},
      'data': {'name': 'arrays', 'fingerprint': data().fingerprint},
    },
  )
  return network, variables


def edit(path, **changes) -> None:
  """Changes keys of a JSON file; None takes one out."""
  content = {**checkpoint.read_json(path), **changes}
  checkpoint.write_json(
    path, {k: v for k, v in content.items() if v is not None}
  )


def report(*rows: str) -> dict:
  """The least that is a report of `run`, with these rows."""
  measures = ('kept', 'ratio', 'nll', 'calibration_error', 'agreement')
  network = {
    'accuracy': 0.5,
    'interval': [0.4, 0.6],
    **dict.fromkeys((*measures, 'agreement_top5', 'kl'), None),
    'per_class': [0.5] * CLASSES,
    'last': None,
    'best': None,
    'cost': {
      'parameters': 9,
      'bytes': 36,
      'flops': None,
      'memory': None,
      'latency': {},
    },
  }
  return {
    'kind': 'run',
    'rows': list(rows),
    'networks': {row: dict(network) for row in rows},
    'students': {'student': None},
    'verdicts': {'student': None},
    'verdict': None,
    'gap_closed': {'student': None},
    'means': {},
    'teacher': 'teacher',
    'examples': {'learned': 0, 'lost': 0},
    'alike': None,
    'select': 'last',
    'device': {'kind': 'cpu'},
    'data': {
      'name': 'arrays',
      'fingerprint': data().fingerprint,
      'test': 301,
      'classes': [*map(str, range(CLASSES))],
    },
  }


def with_head(network, variables, images, reuses):
  """The variables joined with what SimKD leaves: a projector, a head."""
  outputs, _ = jax.jit(network.apply)(variables, images)
  kernel = jax.random.normal(jax.random.key(2), (12, CLASSES))
  head = {'kernel': kernel, 'bias': jnp.ones(CLASSES)}
  teacher = {'features': jnp.zeros((64, 12)), 'head': head}
  init = jax.jit(make_method(**reuses).init)
  learned = init(jax.random.key(3), outputs, teacher)
  learned['state']['head'] = head
  return reused_head.join(variables, learned)


def run(folder, seeds: int = 0):
  """A run with a teacher and a student; or a folder of `seeds` of them."""
  for seed in range(seeds or 1):
    place = folder / (f'seed_{seed}' if seeds else '') / 'networks'
    save(place / 'teacher', name='mlp', widths=[16])
    save(place / 'student', seed, name='cnn', hidden=8)
  checkpoint.write_json(
    folder / 'config.json',
    {
      'data': {'name': 'arrays', 'seed': 0},
      'scheme': {'name': 'offline'},
      'terms': {'soft': {'method': 'kd', 'weight': 0.9, 'temperature': 4.0}},
      'networks': {'teacher': {'name': 'mlp'}, 'student': {'name': 'cnn'}},
      'train': {
        'batch_size': 16,
        'optimizer': {'name': 'adam', 'learning_rate': 1e-3},
      },
    },
  )
  return folder
