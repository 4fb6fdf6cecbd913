"""Computes the golden values of data-free losses by the authors' own code.

  git clone https://github.com/huawei-noah/Efficient-Computing DAFL
  git -C DAFL checkout 225ddd2
  git clone https://github.com/NVlabs/DeepInversion
  git -C DeepInversion checkout 2413af1
  python -m tests.golden.make_data_free DAFL DeepInversion \
    tests/golden/values/data_free

Functions and classes are called, and statements in the middle of a program are
run as they stand there, on arrays of ours. It needs PyTorch.
"""

import argparse
import ast
import importlib
import json
import pathlib
import sys
import types

import numpy as np
import torch

DAFL = 'Data-Efficient-Model-Compression/DAFL/DAFL-train.py'
SOURCES = {
  'dafl': f'huawei-noah/Efficient-Computing@225ddd2 {DAFL}',
  'inversion': 'NVlabs/DeepInversion@2413af1 deepinversion.py and '
  'cifar10/deepinversion_cifar10.py',
}
WHAT = {
  'dafl_one_hot': 'loss_one_hot: mean cross-entropy with the largest class',
  'dafl_activation': "loss_activation: minus the mean of |f|; the paper's is "
  'minus the mean over examples of the l1 norm',
  'dafl_entropy': 'loss_information_entropy: sum q log10 q, q the mean of the '
  'probabilities; the paper has 1/K sum q log q',
  'inversion_variation': 'get_image_prior_losses: norms (l2) or means (l1) of '
  'differences in four directions',
  'inversion_norm': 'loss_l2: mean norm of an image (ImageNet), or norm of the '
  'batch (CIFAR-10)',
  'inversion_batch_norm': 'DeepInversionFeatureHook: norms of the differences '
  'of mean and biased variance from the running ones, summed over layers, the '
  'first times `first`',
}


def statements(path: pathlib.Path, *texts: str):
  """The first statement of a program that contains each text, compiled."""
  source = path.read_text()
  tree = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Assign)]
  for text in texts:
    found = [n for n in tree if text in ast.get_source_segment(source, n)]
    yield compile(ast.Module(found[:1], []), str(path), 'exec')


def run(path: pathlib.Path, names: dict, *texts: str) -> dict:
  """Runs statements of a program on these names; all names after it."""
  for code in statements(path, *texts):
    exec(code, names)
  return names


def load_inversion(folder: pathlib.Path):
  """deepinversion.py, with stand-ins for what only its program needs."""
  for name in ('apex', 'apex.amp', 'torchvision', 'torchvision.utils', 'PIL'):
    sys.modules.setdefault(name, types.ModuleType(name))
  sys.modules['apex'].amp = sys.modules['apex.amp']
  sys.modules['torchvision'].utils = sys.modules['torchvision.utils']
  sys.modules['PIL'].Image = None
  sys.path.insert(0, str(folder))
  return importlib.import_module('deepinversion')


def draw(seed: int, *shape: int) -> torch.Tensor:
  """f32 numbers in f64, that learn."""
  torch.manual_seed(seed)
  return torch.randn(shape).double().requires_grad_()


def dafl(folder: pathlib.Path):
  """(case, attrs, student inputs, parameters, loss) of DAFL's losses."""
  path, criterion = folder / DAFL, torch.nn.CrossEntropyLoss()
  for label, (batch, classes, scale) in {
    'K10': (6, 10, 2.0),
    'K4_sure': (3, 4, 9.0),
  }.items():
    logits, features = draw(batch, batch, classes), draw(9, batch, 7)
    logits = (scale * logits).detach().float().double().requires_grad_()
    names = {'outputs_T': logits, 'features_T': features, 'torch': torch}
    names = run(
      path,
      {**names, 'criterion': criterion},
      'pred = outputs_T',
      'loss_activation = ',
      'loss_one_hot = ',
      'softmax_o_T = ',
      'loss_information_entropy = ',
    )
    inputs, value = {'logits': logits}, names['loss_one_hot']
    yield f'dafl_one_hot/{label}', {}, inputs, {}, value
    value = names['loss_information_entropy']
    yield f'dafl_entropy/{label}', {}, inputs, {}, value
    value = names['loss_activation']
    yield f'dafl_activation/{label}', {}, {'feature': features}, {}, value


def inversion(folder: pathlib.Path):
  """Likewise, of DeepInversion's; images are [B, C, H, W] here."""
  module = load_inversion(folder)
  images = draw(3, 4, 2, 6, 5)
  l1, l2 = module.get_image_prior_losses(images)
  for variant, loss in (('l1', l1), ('l2', l2)):
    case = f'inversion_variation/{variant}'
    yield case, {'variant': variant}, {'feature': images}, {}, loss
  names = {'inputs_jit': images, 'torch': torch, 'loss': 0, 'l2_coeff': 1.0}
  names['self'] = types.SimpleNamespace(bs=4)
  each = run(folder / 'deepinversion.py', dict(names), 'loss_l2 = ')['loss_l2']
  whole = run(
    folder / 'cifar10/deepinversion_cifar10.py',
    dict(names),
    'l2_coeff * torch.norm',
  )['loss']
  for variant, loss in (('image', each), ('batch', whole)):
    case = f'inversion_norm/{variant}'
    yield case, {'variant': variant}, {'feature': images}, {}, loss
  for first in (1.0, 10.0):
    inputs, params, losses = {}, {}, []
    for number, shape in enumerate(((5, 3, 4, 4), (5, 6, 2, 3))):
      layer = torch.nn.BatchNorm2d(shape[1]).double().eval()
      layer.running_mean = draw(20 + number, shape[1]).detach()
      layer.running_var = draw(30 + number, shape[1]).detach().abs() + 0.5
      hook = module.DeepInversionFeatureHook(layer)
      x = inputs[f'layer{number}'] = draw(40 + number, *shape)
      layer(x)
      losses.append(hook.r_feature)
      params[f'layer{number}_mean'] = layer.running_mean
      params[f'layer{number}_var'] = layer.running_var
    total = first * losses[0] + losses[1]
    case = f'inversion_batch_norm/first{first:g}'
    yield case, {'first': first}, inputs, params, total


def _last(x: torch.Tensor) -> np.ndarray:
  """An array, with channels last where they are maps."""
  x = x.detach()
  return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).contiguous().numpy()


def main(arguments: list[str]) -> int:
  """Writes the index and a file for each case."""
  parser = argparse.ArgumentParser(description=__doc__)
  for name in ('dafl', 'inversion', 'out'):
    parser.add_argument(name, type=pathlib.Path)
  options, index = parser.parse_args(arguments), []
  options.out.mkdir(parents=True, exist_ok=True)
  cases = [*dafl(options.dafl), *inversion(options.inversion)]
  for case, attrs, inputs, params, loss in cases:
    grads = torch.autograd.grad(loss, list(inputs.values()), retain_graph=True)
    arrays = {'loss': loss.item()}
    for (name, x), grad in zip(inputs.items(), grads, strict=True):
      arrays[f'in_student_{name}'] = _last(x).astype(np.float32)
      arrays[f'grad_student_{name}'] = _last(grad)
    for name, x in params.items():
      arrays[f'param_{name}'] = _last(x).astype(np.float32)
    family = case.split('/')[0]
    file = f'{case.replace("/", "__")}.npz'
    np.savez_compressed(options.out / file, **arrays)
    source, what = SOURCES[family.split('_')[0]], WHAT[family]
    entry = {'case': case, 'file': file, 'source': source, 'what': what}
    index.append({**entry, 'attrs': attrs, 'loss': loss.item()})
  (options.out / 'index.json').write_text(json.dumps(index, indent=1) + '\n')
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
