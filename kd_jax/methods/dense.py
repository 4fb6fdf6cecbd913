"""Methods that read a prediction, and some a label, for every pixel.

Void pixels, which have no label, are left out of the mean of a term that has a
value a pixel, unless the term says otherwise.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from kd_jax import kinds
from kd_jax.losses import dense as losses
from kd_jax.losses import logits as logit_losses
from kd_jax.losses import spatial
from kd_jax.methods import base, layer_names, pairs

_VOID = -1  # names no class


def pixel_kd(
  *,
  temperature: kinds.Temperature = 1.0,
  upsample: bool = False,
  align_corners: bool = False,
) -> base.Method:
  """Hinton's soft loss at every pixel, at the decoder's resolution.

  L = T^2 KL(p_t || p_s) at each place of the logits, `losses.logits.kd`.
  Where the two sides differ in size, the student's logits are resized to the
  teacher's.

  Args:
    temperature: T, a hyperparameter.
    upsample: compares at the size of the labels; both logits are resized.
    align_corners: how logits are resized (`losses.spatial.bilinear`).

  Returns:
    A method whose loss is f32 [B, h, w], in nats times T^2; 0 at equal logits.
    Weight 1.

  Raises:
    ValueError: at its init, for logits that are no maps of the same classes.

  Source: Liu et al. 2019, "Structured Knowledge Distillation for Semantic
    Segmentation", https://arxiv.org/abs/1903.04197; T = 1 and weight 1 as in
    CIRKD. No code masks void pixels: a term with void=True has them too. SKD's
    code sums over the images of a GPU, weight 10, with the teacher's entropy
    in it; IFVD's takes the mean over the classes, without T^2, weight 10, at
    the labels' size with corners on corners: B times and 1 / K of ours.
  """

  def compare(student, teacher, size, hparams):
    sized = functools.partial(
      spatial.bilinear, size=size, align_corners=align_corners
    )
    return logit_losses.kd(
      sized(student), sized(teacher), temperature=hparams['temperature']
    )

  def init(key, student, teacher):
    del key
    pairs.check_logits('pixel_kd', student, teacher, places=False)
    return base.NOTHING

  def loss(variables, student, teacher, batch, hparams):
    like = batch['labels'] if upsample else teacher['logits']
    value = compare(
      student['logits'], teacher['logits'], like.shape[1:3], hparams
    )
    return value, variables['state']

  return base.Method(init, loss, {'temperature': float(temperature)})


def boundary_kd(
  *,
  temperature: kinds.Temperature = 1.0,
  edge_weight: kinds.NonNegative = 10.0,
  body_weight: kinds.NonNegative = 1.0,
  width: kinds.Count = 1,
) -> base.Method:
  """Pixel-wise distillation that counts more where classes meet.

  L = w T^2 KL(p_t || p_s) at every pixel of the labels, to whose size both
  logits are resized (bilinear): see `losses.dense.boundary_kd`.

  Args:
    temperature: T, a hyperparameter.
    edge_weight: w within `width` pixels of another class; a hyperparameter.
    body_weight: w elsewhere; a hyperparameter.
    width: of the band on either side of an edge.

  Returns:
    A method whose loss is f32 [B, H, W], in nats times T^2; 0 at equal logits.

  Raises:
    ValueError: at its init, for logits that are no maps of the same classes.

  Source: after Liu et al. 2024, "BPKD: Boundary Privileged Knowledge
    Distillation", https://arxiv.org/abs/2306.08075, in a simpler form.
  """
  hparams = {
    'temperature': float(temperature),
    'edge_weight': float(edge_weight),
    'body_weight': float(body_weight),
  }

  def init(key, student, teacher):
    del key
    pairs.check_logits('boundary_kd', student, teacher, places=False)
    return base.NOTHING

  def loss(variables, student, teacher, batch, hparams):
    labels = with_void(batch)
    size = labels.shape[1:3]
    sides = (spatial.bilinear(x['logits'], size) for x in (student, teacher))
    value = losses.boundary_kd(*sides, labels, width=width, **hparams)
    return value, variables['state']

  return base.Method(init, loss, hparams)


def ifvd(*, layers: layer_names.Layers = ()) -> base.Method:
  """Intra-class feature variation: how near each pixel is to its class's mean.

  sum over the pairs of layers of the mean over pixels of (M_s - M_t)^2, M the
  cosine of a pixel's feature with the mean of its class in the image: see
  `losses.dense.ifvd`. Channels and sizes of the two sides may differ.

  Args:
    layers: [(student, teacher)], maps [B, H, W, C].

  Returns:
    A method whose loss is f32 [B], no unit; 0 at equality. No hyperparameters.
    Weight 200 (20 in CIRKD). Couples no examples.

  Raises:
    ValueError: at its init, for an unknown layer or one that is no map.

  Source: Wang et al. 2020, "Intra-class Feature Variation Distillation for
    Semantic Segmentation", ECCV, https://github.com/YukangWang/IFVD.
  """
  layers = layer_names.need('ifvd', layers)

  def compare(student: Mapping, teacher: Mapping, labels):
    classes = student['logits'].shape[-1]
    return sum(
      losses.ifvd(student[ours], teacher[theirs], labels, classes=classes)
      for ours, theirs in layer_names.pairs(layers, student, teacher)
    )

  def init(key, student, teacher):
    del key
    labels = jax.ShapeDtypeStruct(student['logits'].shape[:-1], 'int32')
    base.check('ifvd', compare, dict(student), dict(teacher), labels)
    return base.NOTHING

  def loss(variables, student, teacher, batch, hparams):
    del hparams
    return compare(student, teacher, with_void(batch)), variables['state']

  return base.Method(init, loss, {})


def with_void(batch: Mapping) -> jax.Array:
  """The labels i32 [B, H, W] of a batch; those that its mask drops are -1."""
  labels, mask = batch['labels'], batch.get('mask')
  if mask is None:
    return labels
  mask = mask.reshape(mask.shape + (1,) * (labels.ndim - mask.ndim))
  return jnp.where(mask > 0, labels, _VOID)
