"""Outputs of a small student and a small teacher, drawn or by a network."""

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.models import base

B, CLASSES, EXAMPLES = 8, 5, 24

# name -> shape of one example; what has 'pre' in its name is before a ReLU.
STUDENT = {
  'logits': (CLASSES,),
  'features': (6,),
  'map1': (4, 4, 3),
  'map2': (4, 4, 4),
  'pre1': (4, 4, 3),
  'pre2': (4, 4, 4),
  'scores': (2, 3, 3),
  'value': (2, 3, 4),
  'last': (4, 4, 6),
  'states': (3, 6),
  'layer0': (3, 4),
  'layer0_scores': (2, 3, 3),
  'layer0_query': (2, 3, 4),
  'layer0_key': (2, 3, 4),
  'layer0_value': (2, 3, 4),
}
TEACHER = {
  'logits': (CLASSES,),
  'features': (7,),
  'map1': (4, 4, 4),
  'map2': (2, 2, 7),
  'pre1': (4, 4, 4),
  'pre2': (2, 2, 7),
  'scores': (2, 3, 3),
  'value': (2, 3, 6),
  'last': (2, 2, 7),
  'states': (3, 6),
  'layer0': (3, 6),
  'layer0_scores': (2, 3, 3),
  'layer0_query': (2, 3, 6),
  'layer0_key': (2, 3, 6),
  'layer0_value': (2, 3, 6),
}
_SIGNED = ('logits', 'pre', 'scores', 'value', 'states', 'layer0')
SIZE = (4, 4)  # of label maps


def pixels(shapes) -> dict:
  """The outputs of a network that has logits for every pixel."""
  return {**shapes, 'logits': (*SIZE, CLASSES)}


def draw(shapes, seed: int, dtype=np.float32, names=None) -> dict:
  """Normal numbers for each output, positive where a ReLU is behind."""
  rng = np.random.default_rng(seed)
  outputs = {}
  for name, shape in shapes.items():
    x = rng.normal(size=(B, *shape))
    outputs[name] = (x if name.startswith(_SIGNED) else abs(x)).astype(dtype)
  width = shapes['features'][0]
  outputs['head'] = {
    'kernel': rng.normal(size=(width, CLASSES)).astype(dtype),
    'bias': rng.normal(size=CLASSES).astype(dtype),
  }
  return {k: v for k, v in outputs.items() if names is None or k in names}


def classes() -> np.ndarray:
  """The class of each example of the training set that a batch is from."""
  return np.arange(EXAMPLES, dtype=np.int32) * 7 % CLASSES


def batch(seed: int = 0) -> dict:
  """Labels, index and mask of a batch of the training set."""
  index = np.random.default_rng(seed).permutation(EXAMPLES)[:B]
  return {
    'labels': classes()[index],
    'index': index.astype(np.int32),
    'mask': np.ones(B, np.float32),
  }


def maps(batch: dict) -> dict:
  """A batch with a label for every pixel, some of them void."""
  turns = np.arange(np.prod(SIZE), dtype=np.int32).reshape(SIZE) // 3
  labels = (batch['labels'][:, None, None] + turns[None]) % CLASSES
  counts = (batch['index'][:, None, None] + turns[None]) % 4 > 0
  labels = np.where(counts, labels, 0)
  return {**batch, 'labels': labels, 'mask': counts.astype(np.float32)}


def images(seed: int, size: int) -> dict:
  """A batch for the networks: the class shows in the images."""
  rng = np.random.default_rng(seed)
  index = rng.permutation(EXAMPLES)[:size].astype(np.int32)
  labels = classes()[index]
  inputs = rng.normal(size=(size, 2, 2, 1)).astype(np.float32)
  inputs[:, 0, 0, 0] += labels
  return {
    'inputs': inputs,
    'labels': labels,
    'index': index,
    'mask': np.ones(size, np.float32),
  }


def network(shapes, seed: int) -> base.Network:
  """A network with outputs of these shapes, and its head.

  One matrix cut into the outputs: what is compiled is the methods'.
  """
  dense = len(shapes['logits']) > 1
  shapes = {n: shape for n, shape in shapes.items() if dense or n != 'logits'}
  sizes = [int(np.prod(shape)) for shape in shapes.values()]
  rng = np.random.default_rng(seed)

  def drawn(rows, columns):
    return rng.normal(size=(rows, columns), scale=0.5).astype(np.float32)

  def apply(params, x):
    x = x.reshape(x.shape[0], -1) @ params['body']
    parts = jnp.split(x, np.cumsum(sizes)[:-1], axis=1)
    outputs = {
      name: (y if name.startswith(_SIGNED) else jax.nn.softplus(y)).reshape(
        -1, *shapes[name]
      )
      for name, y in zip(shapes, parts, strict=True)
    }
    if dense:
      return outputs
    head = params['head']
    logits = outputs['features'] @ head['kernel'] + head['bias'][None]
    return {**outputs, 'logits': logits}

  params = {
    'body': drawn(4, sum(sizes)),
    'head': {
      'kernel': drawn(shapes['features'][0], CLASSES),
      'bias': np.zeros(CLASSES, np.float32),
    },
  }
  made = base.from_function(apply, params)
  return made._replace(head=lambda variables: variables['params']['head'])


def shapes_of(tree):
  """A tree of arrays as `jax.ShapeDtypeStruct`s."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.asarray(x).dtype), tree
  )
