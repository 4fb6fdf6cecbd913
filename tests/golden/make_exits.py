"""Computes the golden values of OFA's exits by the authors' own code.

  git clone https://github.com/Hao840/OFAKD && git -C OFAKD checkout f7bb896
  python -m tests.golden.make_exits OFAKD tests/golden/values/more/exits

It runs `distillers/ofa.py` unchanged, on networks that only hand out arrays and
with stand-ins for the parts of timm that it imports, and writes `loss_ofa`, its
gradients and the exits' weights. It needs PyTorch.
"""

import argparse
import importlib
import json
import pathlib
import sys
import types

import numpy as np
import torch

SOURCE = 'Hao840/OFAKD@f7bb896 distillers/ofa.py OFA (and utils.py SepConv)'
WHAT = (
  "OFA's exits of a convolutional student: ofa_loss_weight 1 times the sum of "
  'ofa_loss over the stages. The exit of stage n of 4: 4 - n separable '
  'convolutions, each 3x3 depthwise of stride 2, 1x1, batch norm in training '
  'mode (eps 1e-5), ReLU, 3x3 depthwise, 1x1, batch norm, ReLU; channels '
  'double and end at `width`, the greater feature of the networks; of stage 4 '
  'a 1x1 convolution with bias instead; then the mean over places and a linear '
  'classifier. Weights as drawn here; kernels of depthwise convolutions are '
  '[3,3,1,C], of 1x1 ones [in,out].'
)
# label: stages, batch, classes, eps, temperature, channels and side of stage 1
CASES = {
  'stages_2_4': ((2, 4), 5, 10, 1.0, 1.0, 3, 16),
  'stages_1_3_eps1.4_T2': ((1, 3), 6, 20, 1.4, 2.0, 2, 16),
}
TEACHER_WIDTH = 20


class Stages(torch.nn.Module):
  """A network that returns what it was given."""

  def __init__(self, logits, features, width):
    super().__init__()
    self.logits, self.features, self.width = logits, features, width

  def stage_info(self, stage):
    if stage == -1:
      return -1, self.width
    return stage, tuple(self.features[stage].shape[1:])

  def forward(self, image, requires_feat=False):
    del image
    return (self.logits, self.features) if requires_feat else self.logits


def load(folder: pathlib.Path):
  """The class OFA of a checkout of the authors' repository."""
  timm = {
    'timm.models.vision_transformer': {'Block': torch.nn.Identity},
    'timm.models.layers': {
      '_assert': torch._assert,
      'trunc_normal_': torch.nn.init.trunc_normal_,
    },
  }
  for name in ('timm', 'timm.models', *timm):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(timm.get(name, {}))
  # Without its __init__, which imports every distiller.
  package = types.ModuleType('distillers')
  package.__path__ = [str(folder / 'distillers')]
  sys.modules['distillers'] = package
  return importlib.import_module('distillers.ofa').OFA


def compute(ofa, label: str) -> tuple[dict, dict]:
  """The entry and the arrays of a case."""
  stages, batch, classes, eps, temperature, channels, side = CASES[label]
  torch.manual_seed(len(label))
  shapes = {
    n: (batch, channels * 2**n, side >> n, side >> n) for n in range(1, 5)
  }
  # f32 numbers in f64.
  features = {
    n: torch.randn(shape).relu().double().requires_grad_()
    for n, shape in shapes.items()
  }
  logits = [(3 * torch.randn(batch, classes)).double() for _ in range(2)]
  labels = torch.randint(classes, (batch,))
  student = Stages(logits[0], features, shapes[4][1])
  teacher = Stages(logits[1], features, TEACHER_WIDTH)
  args = types.SimpleNamespace(
    ofa_eps=[eps],
    ofa_stage=list(stages),
    ofa_temperature=temperature,
    ofa_loss_weight=1.0,
    gt_loss_weight=1.0,
    kd_loss_weight=1.0,
    num_classes=classes,
  )
  method = ofa(student, teacher, torch.nn.CrossEntropyLoss(), args)
  for parameter in method.projector.parameters():
    parameter.data += 0.1 * torch.randn(parameter.shape)
  method = method.double().train()
  losses = method(torch.zeros(batch, 1), labels)[1]
  losses['loss_ofa'].backward()
  arrays = {
    'in_teacher_logits': logits[1].float().numpy(),
    'in_student_logits': logits[0].float().numpy(),
    'in_labels': labels.numpy(),
    'loss': losses['loss_ofa'].item(),
    'grad_student_logits': np.zeros((batch, classes)),
  }
  for i, n in enumerate(stages):
    x = features[n]
    arrays[f'in_student_feature_{i}'] = _last(x.detach()).astype(np.float32)
    arrays[f'grad_student_feature_{i}'] = _last(x.grad)
    for key, value in weights(method.projector[str(n)]):
      arrays[f'param_{i}_{key}'] = value
  attrs = {'eps': eps, 'temperature': temperature}
  attrs |= {'width': max(TEACHER_WIDTH, shapes[4][1]), 'stages': list(stages)}
  return attrs, arrays


def weights(projector):
  """(name, array) of an exit's parameters."""
  blocks, classifier = list(projector)[:-3], projector[-1]
  for j, block in enumerate(blocks):
    if hasattr(block, 'op'):
      for k in range(2):
        depthwise, pointwise, norm = block.op[4 * k : 4 * k + 3]
        depth = depthwise.weight.detach().numpy().transpose(2, 3, 1, 0)
        yield f'block_{j}_depthwise_{k}_kernel', depth
        yield f'block_{j}_pointwise_{k}_kernel', _matrix(pointwise)
        yield f'block_{j}_bn_{k}_scale', norm.weight.detach().numpy()
        yield f'block_{j}_bn_{k}_bias', norm.bias.detach().numpy()
    else:
      yield 'widen_kernel', _matrix(block)
      yield 'widen_bias', block.bias.detach().numpy()
  yield 'classifier_kernel', _matrix(classifier)
  yield 'classifier_bias', classifier.bias.detach().numpy()


def _matrix(layer):
  return layer.weight.detach().numpy().reshape(layer.weight.shape[:2]).T


def _last(x):
  return x.numpy().transpose(0, 2, 3, 1)


def main(arguments: list[str]) -> int:
  """Writes the index and a file for each case."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('checkout', type=pathlib.Path)
  parser.add_argument('out', type=pathlib.Path)
  options = parser.parse_args(arguments)
  ofa, index = load(options.checkout), []
  options.out.mkdir(parents=True, exist_ok=True)
  for label in CASES:
    attrs, arrays = compute(ofa, label)
    file = f'ofa_exits__{label}.npz'
    np.savez_compressed(options.out / file, **arrays)
    case = {'case': f'ofa_exits/{label}', 'file': file, 'source': SOURCE}
    index.append({**case, 'what': WHAT, 'attrs': attrs, 'loss': arrays['loss']})
  (options.out / 'index.json').write_text(json.dumps(index, indent=1) + '\n')
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
