"""Networks beside PyTorch's: `python -m tests.golden_models DIR`.

DIR holds NAME.json (the `state_dict`: names and shapes; `num_params`) and, for
some, NAME.npz: `images`, `logits`, `pooled_feat`, `feat_i_mean` (channel means
of stage i) and `feat_i_shape`, computed by
megvii-research/mdistiller@a08d46f with weights drawn by `weights` below.
Prints the relative errors; exit code 1 where one is above 1e-4 or a name,
shape or number of parameters differs.
"""

import json
import pathlib
import sys
import zlib

import jax
import numpy as np

from kd_jax import models
from kd_jax.models import base, torch_weights

BOUND = 1e-4
# mdistiller's name -> ours, where they differ.
OURS = {
  'MobileNetV1': 'mobilenet_v1',
  'MobileNetV2': 'mobilenet_v2',
  'ResNet18': 'resnet18',
  'ResNet50': 'resnet50',
  'ShuffleV1': 'shufflenet_v1',
  'ShuffleV2': 'shufflenet_v2',
}


def weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
  """The state dict that the golden values were computed with."""
  return {name: _draw(name, tuple(shape)) for name, shape in shapes.items()}


def _draw(name, shape):
  """One entry: noise seeded by its name, scaled by what it is."""
  if name.endswith('num_batches_tracked'):
    return np.zeros(shape, np.int64)
  seed = zlib.crc32(name.encode())
  z = np.random.default_rng(seed).standard_normal(shape)
  if name.endswith('running_var'):
    z = np.exp(0.2 * z)
  elif name.endswith(('running_mean', 'bias')):
    z = 0.1 * z
  elif len(shape) == 1:
    z = 1 + 0.1 * z
  else:
    z = z * np.sqrt(2 / np.prod(shape[1:]))
  return np.asarray(z, np.float32)


def relative(ours, theirs) -> float:
  """||ours - theirs|| / ||theirs||; infinite where shapes differ."""
  ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
  if ours.shape != theirs.shape:
    return float('inf')
  return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def parameters(path: pathlib.Path) -> tuple[dict, int, int]:
  """Variables for NAME.json, and how many parameters we and they count."""
  golden = json.loads(path.read_text())
  state = weights(golden['state_dict'])
  name = OURS.get(path.stem, path.stem)
  variables = torch_weights.load(state, name)
  return variables, base.num_params(variables), golden['num_params']


def errors(path: pathlib.Path, variables) -> dict[str, float]:
  """Relative errors of everything that NAME.npz holds."""
  with np.load(path) as file:
    golden = dict(file)
  network = models.make_network(
    OURS.get(path.stem, path.stem), golden['logits'].shape[-1]
  )
  # GPUs round to TF32 by default, which is coarser than the bound.
  with jax.default_matmul_precision('highest'):
    outputs, _ = jax.jit(network.apply)(variables, golden['images'])
  found = {
    'logits': relative(outputs['logits'], golden['logits']),
    'pooled_feat': relative(outputs['pooled'], golden['pooled_feat']),
  }
  for key in sorted(k for k in golden if k.endswith('_mean')):
    feature = key.removesuffix('_mean')
    stage = np.asarray(outputs[feature.replace('feat_', 'stage')])
    if stage.shape != tuple(golden[f'{feature}_shape']):
      found[feature] = float('inf')
    else:
      found[feature] = relative(stage.mean((1, 2)), golden[key])
  return found


def check(path: pathlib.Path) -> tuple[bool, str]:
  """Whether NAME.json, and NAME.npz if there, agree; and a line that says."""
  try:
    variables, ours, theirs = parameters(path)
  except ValueError as error:
    return False, f'{path.stem}: {error}'
  good, line = ours == theirs, f'{path.stem}: {ours} parameters'
  line += '' if good else f', not {theirs}'
  values = path.with_suffix('.npz')
  if values.exists():
    found = errors(values, variables)
    good &= all(error < BOUND for error in found.values())
    line += ''.join(f', {k} {error:.1e}' for k, error in found.items())
  return good, line + ('' if good else '  <- DIFFERS')


def main(arguments: list[str]) -> int:
  """Checks every network of a folder; the exit code."""
  if len(arguments) != 1:
    print('usage: python -m tests.golden_models DIR', file=sys.stderr)
    return 2
  folder = pathlib.Path(arguments[0])
  paths = sorted(folder.glob('*.json'))
  values = sorted(folder.glob('*.npz'))
  lonely = [p.name for p in values if p.with_suffix('.json') not in paths]
  if not paths or lonely:
    what = ', '.join(lonely) or 'anything'
    print(f'no NAME.json in {folder} for {what}', file=sys.stderr)
    return 2
  bad = 0
  for path in paths:
    # GPUs round to TF32 by default, which is coarser than the bound.
    with jax.default_matmul_precision('highest'):
      good, line = check(path)
    bad += not good
    print(line, flush=True)
  print(f'{len(paths) - bad} of {len(paths)} networks agree')
  return int(bad > 0)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
