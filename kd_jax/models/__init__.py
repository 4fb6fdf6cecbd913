"""MODELS: the table of networks by name; makes a network from its name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kd_jax import kinds, memoize, types
from kd_jax.models import (
  base,
  cnn,
  fake_quant,
  heads,
  inits,
  mlp,
  mobilenet,
  resnet,
  shufflenet,
  text,
  vgg,
  vit,
  wide_resnet,
)
from kd_jax.models.dense import bisenet, deeplab, unet

# name -> maker(*, classes, **options) -> Network
MODELS: dict[str, Callable[..., base.Network]] = {
  'cnn': cnn.cnn,
  'cnn_student': cnn.cnn_student,
  'cnn_teacher': cnn.cnn_teacher,
  'mlp': mlp.mlp,
  # CIFAR, as in RepDistiller and mdistiller
  'resnet8': resnet.cifar(8),
  'resnet14': resnet.cifar(14),
  'resnet20': resnet.cifar(20),
  'resnet32': resnet.cifar(32),
  'resnet44': resnet.cifar(44),
  'resnet56': resnet.cifar(56),
  'resnet110': resnet.cifar(110),
  'resnet8x4': resnet.cifar(8, 4),
  'resnet32x4': resnet.cifar(32, 4),
  'resnet18': resnet.cifar_wide(18),
  'resnet50': resnet.cifar_wide(50),
  'wrn_16_1': wide_resnet.wrn(16, 1),
  'wrn_16_2': wide_resnet.wrn(16, 2),
  'wrn_40_1': wide_resnet.wrn(40, 1),
  'wrn_40_2': wide_resnet.wrn(40, 2),
  'vgg8': vgg.vgg(8),
  'vgg11': vgg.vgg(11),
  'vgg13': vgg.vgg(13),
  'vgg16': vgg.vgg(16),
  'vgg19': vgg.vgg(19),
  'mobilenet_v2': mobilenet.mobilenet_v2,
  'shufflenet_v1': shufflenet.shufflenet_v1,
  'shufflenet_v2': shufflenet.shufflenet_v2,
  # ImageNet, as in torchvision, mdistiller and timm
  'imagenet_resnet18': resnet.imagenet(18),
  'imagenet_resnet34': resnet.imagenet(34),
  'imagenet_resnet50': resnet.imagenet(50),
  'imagenet_resnet101': resnet.imagenet(101),
  'mobilenet_v1': mobilenet.mobilenet_v1,
  'vit_tiny': vit.vit(192),
  'vit_small': vit.vit(384),
  'vit_base': vit.vit(768),
  # A class for every pixel: small, as in the literature, and for the edge
  'unet': unet.unet,
  'unet_student': unet.unet_student,
  'unet_teacher': unet.unet_teacher,
  'deeplabv3_resnet18': deeplab.deeplabv3(18),
  'deeplabv3_resnet50': deeplab.deeplabv3(50),
  'deeplabv3_resnet101': deeplab.deeplabv3(101),
  'pspnet_resnet18': deeplab.pspnet(18),
  'pspnet_resnet50': deeplab.pspnet(50),
  'pspnet_resnet101': deeplab.pspnet(101),
  'bisenet_v2': bisenet.bisenet_v2,
  # Text
  **text.NETWORKS,
}

# What every network may be given beside the options of its maker.
_FURTHER = {
  'classes': kinds.Count,
  'exits': Sequence[str],
  'branches': Mapping[str, Any] | None,
  'quantize': str,
  'init': str,
}


@memoize.memoize
def make_network(
  name: str,
  classes: int,
  *,
  exits: Sequence[str] = (),
  branches: Mapping[str, Any] | None = None,
  quantize: str = '',
  init: str = '',
  **options: Any,
) -> base.Network:
  """The network called `name` in MODELS, for `classes` classes.

  Args:
    name: a key of MODELS.
    classes: K.
    exits: features that get a separate classifier, `heads.with_exits`.
    branches: {'layer', 'count'}: branches on a trunk, `heads.with_branches`.
    quantize: 'int8' trains the network for int8, `fake_quant.wrap`.
    init: 'pytorch' draws the first weights as the published network does,
      `inits.wrap`; '' as the maker does.
    **options: of the maker.

  Raises:
    ValueError: one line, for an unknown name or option or a value of the
      wrong type, with those that are known.
  """
  maker, owner = kinds.entry('network', MODELS, name), f"network '{name}'"
  kinds.options(owner, maker, options, further=_FURTHER, passed=('classes',))
  further = (classes, exits, branches, quantize, init)
  for (key, kind), value in zip(_FURTHER.items(), further, strict=True):
    kinds.check(f"'{key}' of {owner}", value, kind)
  network = inits.wrap(maker(classes=classes, **options), name, init)
  if branches:
    kinds.options(
      f"'branches' of {owner}",
      heads.with_branches,
      branches,
      passed=('network', 'classes'),
    )
    network = heads.with_branches(network, **branches, classes=classes)
  if exits:
    network = heads.with_exits(network, exits, classes)
  return fake_quant.wrap(network, quantize) if quantize else network


def example_inputs(name: str) -> tuple[int, int, int]:
  """[H, W, C] of the images that the network `name` was published with."""
  if name not in MODELS:
    raise types.unknown('network', name, MODELS)
  if name in text.NETWORKS:
    raise ValueError(f"network '{name}' reads text, not images")
  if name.startswith(('imagenet_', 'vit_', 'mobilenet_v1')):
    return 224, 224, 3
  if name.startswith('unet'):
    return 96, 128, 3
  if name.startswith(('deeplabv3', 'pspnet', 'bisenet')):
    return 512, 1024, 3
  return (28, 28, 1) if name.startswith(('cnn', 'mlp')) else (32, 32, 3)
