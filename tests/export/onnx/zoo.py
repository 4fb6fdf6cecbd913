"""Every network of the zoo as ONNX beside JAX; test_zoo.py runs it for all.

python -m tests.export.onnx.zoo [NAME ...]
"""

import pathlib
import sys
import tempfile

import jax
import numpy as np

from kd_jax import models
from kd_jax.export import formats, parity
from kd_jax.export.onnx import writer
from kd_jax.models import text

# The networks for images.
IMAGES = [name for name in models.MODELS if name not in text.NETWORKS]


def difference(name: str, folder: pathlib.Path) -> float:
  """The largest difference of logits over the largest logit, of 3 images."""
  network = models.make_network(name, 10)
  side = models.example_inputs(name)
  shape = (64, 64, 3) if side[0] >= 224 else side
  images = np.random.default_rng(0).normal(size=(3, *shape)).astype('f4')
  variables = draw(jax.eval_shape(network.init, jax.random.key(0), images))
  job = formats.Job(network, variables, shape, {}, '', 'jax', None)
  writer.write(job, folder / 'model.onnx')
  found = writer.make_run(job, folder / 'model.onnx')(images)
  wanted = parity.make_forward(network, variables)(images)
  return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def draw(shapes):
  """Variables as they are initialized, but for biases and means, which are not
  0: drawn by NumPy, in a moment, where JAX would run the network."""
  rng = np.random.default_rng(1)

  def leaf(path, shape):
    x = rng.standard_normal(shape.shape, np.float32)
    name = path[-1].key
    if name in ('scale', 'var'):
      return np.ones_like(x)
    fan = np.prod(shape.shape[:-1]) if name == 'kernel' else 100
    return x * np.sqrt(2 / fan, dtype=np.float32)

  return jax.tree.map_with_path(leaf, shapes)


def main(names: list[str]) -> int:
  """Prints a line a network; 1 where one is not equal."""
  worst = 0.0
  for name in names or IMAGES:
    with tempfile.TemporaryDirectory() as folder:
      found = difference(name, pathlib.Path(folder))
    worst = max(worst, found)
    print(f'{name:20} {found:.1e}', flush=True)
  return int(not worst <= parity.LOGITS)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
