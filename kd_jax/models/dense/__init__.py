"""Networks that predict a class for every pixel: logits [B, h, w, K].

Their logits stay at the resolution of the network; the loss and the score
resize them to the labels. Images may have any height and width.
"""

import jax.numpy as jnp
from flax import traverse_util

from kd_jax.models import base
from kd_jax.types import Variables

PART = 'backbone'  # of the variables of a network that has one


def with_backbone(network: base.Network, trained: Variables) -> base.Network:
  """A network whose backbone starts from that of a network for images.

  Args:
    network: with a part 'backbone', such as 'deeplabv3_resnet18'.
    trained: variables of the network for images, such as those that
      `torch_weights.load` reads for 'imagenet_resnet18'. What the backbone does
      not have, the classifier, is left out.

  Returns:
    Network whose `init` raises a one-line ValueError where the two do not fit.
  """

  def init(key, inputs):
    variables = network.init(key, inputs)
    if PART not in variables['params']:
      raise ValueError(
        f"the network has no part '{PART}'; its parts: "
        f'{", ".join(variables["params"])}'
      )
    filled = {
      kind: {
        **variables[kind],
        PART: _fill(variables[kind][PART], trained[kind]),
      }
      for kind in variables
    }
    return filled

  return network._replace(init=init)


def _fill(wanted, given) -> dict:
  """The arrays of `given`, with the structure and the shapes of `wanted`."""
  layers = {name: given[name] for name in wanted if name in given}
  wanted, given, layers = map(
    traverse_util.flatten_dict, (dict(wanted), dict(given), layers)
  )
  lacking = {'/'.join(path) for path in wanted.keys() - layers.keys()}
  if lacking:
    raise ValueError(f'the trained backbone lacks {min(lacking)}')
  blocks = {path[0] for path in wanted}
  more = {p[0] for p in given if p[0].startswith('layer')} - blocks
  if more or layers.keys() - wanted.keys():
    more |= {'/'.join(p) for p in layers.keys() - wanted.keys()}
    raise ValueError(f'the network has no {min(more)}, as the backbone has')
  for path, x in wanted.items():
    if layers[path].shape != x.shape:
      raise ValueError(
        f'{"/".join(path)} of the trained backbone is '
        f'{list(layers[path].shape)}; legal: {list(x.shape)}'
      )
  return traverse_util.unflatten_dict(
    {path: jnp.asarray(layers[path], x.dtype) for path, x in wanted.items()}
  )
