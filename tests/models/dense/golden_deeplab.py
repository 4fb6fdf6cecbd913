"""DeepLabV3 beside torchvision's, with the same random weights.

python -m tests.models.dense.golden_deeplab  # writes golden_deeplab.npz

It needs torch and a torchvision built for it. The values in the repository are
torchvision 0.28.0's (torch 2.13.0+cpu), in float64, at the logits' own size.
"""

import pathlib

import numpy as np

from tests import golden_models

FILE = pathlib.Path(__file__).with_name('golden_deeplab.npz')
CLASSES = 11
SIDES = (75, 58)
# Blocks of each stage: a small network that has all dilations, and ResNet-50.
CASES = {'small': (1, 1, 2, 2), 'resnet50': (3, 4, 6, 3)}


def images() -> np.ndarray:
  """f32 [2, H, W, 3]."""
  rng = np.random.default_rng(0)
  return rng.standard_normal((2, *SIDES, 3)).astype(np.float32)


def torchvision_logits(
  blocks: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
  """Logits and auxiliary logits [B, h, w, K] of torchvision's network."""
  import torch
  from torchvision.models import resnet, segmentation
  from torchvision.models._utils import IntermediateLayerGetter

  trunk = resnet.ResNet(
    resnet.Bottleneck,
    list(blocks),
    replace_stride_with_dilation=[False, True, True],
  )
  stages = {'layer3': 'aux', 'layer4': 'out'}
  network = torch.nn.ModuleDict(
    {
      'backbone': IntermediateLayerGetter(trunk, return_layers=stages),
      'classifier': segmentation.deeplabv3.DeepLabHead(2048, CLASSES),
      'aux_classifier': segmentation.fcn.FCNHead(1024, CLASSES),
    }
  )
  shapes = {k: list(x.shape) for k, x in network.state_dict().items()}
  state = {
    k: torch.from_numpy(x) for k, x in golden_models.weights(shapes).items()
  }
  network.load_state_dict(state)
  network.double().eval()
  with torch.no_grad():
    x = torch.from_numpy(images().transpose(0, 3, 1, 2).copy()).double()
    stage = network['backbone'](x)
    found = (
      network['classifier'](stage['out']),
      network['aux_classifier'](stage['aux']),
    )
  return tuple(y.permute(0, 2, 3, 1).numpy().astype('f4') for y in found)


def main() -> None:
  """Writes FILE."""
  arrays = {}
  for case, blocks in CASES.items():
    logits, auxiliary = torchvision_logits(blocks)
    arrays |= {f'{case}_logits': logits, f'{case}_logits_aux': auxiliary}
  np.savez_compressed(FILE, **arrays)


if __name__ == '__main__':
  main()
