"""Initial weights as the published PyTorch networks draw them.

Without it the last layer of a CNN is LeCun's normal with a bias of 0, and a
convolution He's normal by its outputs. The distillation literature's networks
differ in the last layer, some in their convolutions too:

  'default'  PyTorch's own, which a module has that sets none: weights and
             biases uniform in +-1/sqrt(fan in), of standard deviation
             1/sqrt(3 fan in)
  'flat'     the same weights, biases 0
  'small'    normal with standard deviation 0.01, biases 0
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import traverse_util

from kd_jax import types
from kd_jax.models import base

INITS = ('', 'pytorch')


class Rule(NamedTuple):
  """How a family of networks is drawn.

  Attributes:
    last: of the dense layer: 'default', 'flat' or 'small'.
    convolutions: 'default', or '' where He's normal is the source's as well.
  """

  last: str
  convolutions: str = ''


# By the first letters of the name. RepDistiller b84f547, models/*.py (`modules`
# in the constructors; ShuffleNets have none); mdistiller a08d46f,
# models/imagenet/mobilenetv1.py; torchvision's ResNet.
FAMILIES = {
  'resnet': Rule('default'),
  'imagenet_resnet': Rule('default'),
  'wrn': Rule('flat'),
  'vgg': Rule('small'),
  'mobilenet_v2': Rule('small'),
  'mobilenet_v1': Rule('default', 'default'),
  'shufflenet': Rule('default', 'default'),
}


def wrap(network: base.Network, name: str, init: str) -> base.Network:
  """`network`, whose initial weights are those of its PyTorch original.

  Args:
    network: the network `name` of MODELS.
    name: its first letters are a key of FAMILIES.
    init: one of INITS; '' leaves the network as it is.

  Raises:
    ValueError: another `init`, or a network without a PyTorch original.
  """
  if init not in INITS:
    raise types.unknown('init', init, INITS)
  rules = [rule for start, rule in FAMILIES.items() if name.startswith(start)]
  if not init:
    return network
  if not rules:
    raise ValueError(
      f"init='pytorch' is for {', '.join(FAMILIES)}..; network '{name}' has "
      "no PyTorch original: leave init=''"
    )

  def draw(key, inputs):
    variables = network.init(key, inputs)
    return {**variables, 'params': redraw(key, variables['params'], rules[0])}

  return network._replace(init=draw)


def redraw(key: jax.Array, params: types.PyTree, rule: Rule) -> types.PyTree:
  """Parameters drawn anew where the rule is another than Linen's.

  Args:
    key: another stream than the network's own is folded from it.
    params: nested {layer: {'kernel' [.., I, O], 'bias' [O]}}; a layer without
      a kernel, a norm, stays.
    rule: see `FAMILIES`.
  """
  flat = traverse_util.flatten_dict(params)
  key = jax.random.fold_in(key, len(flat))
  drawn = dict(flat)
  for i, (path, leaf) in enumerate(sorted(flat.items())):
    kernel = flat.get((*path[:-1], 'kernel'))
    if kernel is None:
      continue
    how = rule.last if kernel.ndim == 2 else rule.convolutions
    bound = 1 / math.sqrt(math.prod(kernel.shape[:-1]))
    drawn[path] = _draw(jax.random.fold_in(key, i), leaf, how, bound, path[-1])
  return traverse_util.unflatten_dict(drawn)


def _draw(key, leaf, how, bound, part):
  """One array, 'kernel' or 'bias', by the names in the file's first lines."""
  if not how:
    return leaf
  if part == 'bias' and how != 'default':
    return jnp.zeros_like(leaf)
  if how == 'small':
    return 0.01 * jax.random.normal(key, leaf.shape, leaf.dtype)
  return jax.random.uniform(key, leaf.shape, leaf.dtype, -bound, bound)
