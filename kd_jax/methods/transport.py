"""Wasserstein distillation: class distributions by Sinkhorn, Gaussians."""

import functools

import jax

from kd_jax import kinds
from kd_jax.losses import spatial
from kd_jax.losses import transport as losses
from kd_jax.methods import (
  base,
  features,
  hints,
  layer_names,
  pairs,
  teacher_head,
)


def wkd_l(
  *,
  temperature: kinds.Temperature = 8.0,
  gamma: kinds.NonNegative = 600.0,
  regularization: kinds.Positive = 0.05,
  iterations: kinds.Count = 10,
  sharpen: kinds.NonNegative = 1.0,
) -> base.Method:
  """WKD-L: moves the student's mass to the teacher's, at a cost by class.

  L = -p_t,y log p_s,y + gamma <F, c>: F is the plan by which Sinkhorn moves
  softmax(z_s / T) to softmax(z_t / T) over the classes other than y, and c how
  unlike two classes are: 1 - exp(-kappa (1 - cos(w_i, w_j))), w the columns of
  the teacher's last classifier (see `losses.transport.wkd_l`, `class_costs`).

  Args:
    temperature: T, without T^2.
    gamma: weight of the transport; a schedule `gamma` lets it fall, as the
      source does on a cosine.
    regularization: eta, the divisor of the cost.
    iterations: of Sinkhorn; static.
    sharpen: kappa; 0 takes 1 - cos itself.

  Returns:
    A method whose loss is f32 [B, ...], in nats and gamma times the cost; not 0
    at equality. Couples no examples. Weight 1, beside the cross-entropy.

  Raises:
    ValueError: at its init, for a teacher whose classifier is unknown.

  Source: Lv et al. 2024, "Wasserstein Distance Rivals Kullback-Leibler
    Divergence for Knowledge Distillation", https://arxiv.org/abs/2412.08139;
    defaults as in its code for CIFAR-100. There c is from the similarity (CKA)
    of the classes' features, which it stores in a file for each teacher; by the
    classifier, its option 'fc', it needs none.
  """
  hparams = {
    'temperature': float(temperature),
    'gamma': float(gamma),
    'regularization': float(regularization),
    'sharpen': float(sharpen),
  }

  def compare(student, teacher, labels, kernel, hparams):
    options = dict(hparams)
    cost = losses.class_costs(kernel, sharpen=options.pop('sharpen'))
    return losses.wkd_l(
      student, teacher, labels, cost, iterations=iterations, **options
    )

  def init(key, student, teacher):
    del key
    pairs.check_logits('wkd_l', student, teacher)
    kernel = teacher_head.classifier('wkd_l', teacher, 'teacher')['kernel']
    logits = student['logits']
    labels = jax.ShapeDtypeStruct(logits.shape[:-1], 'int32')
    base.check('wkd_l', compare, logits, logits, labels, kernel, hparams)
    return base.NOTHING

  def loss(variables, student, teacher, batch, hparams):
    kernel = teacher[teacher_head.HEAD]['kernel']
    labels = batch['labels']
    pair = (spatial.at_labels(x['logits'], labels) for x in (student, teacher))
    return compare(*pair, labels, kernel, hparams), variables['state']

  return base.Method(init, loss, hparams)


def wkd_f(
  *,
  layers: layer_names.Layers = (),
  mean_weight: kinds.NonNegative = 2.0,
  eps: kinds.Positive = 1e-5,
  grid: kinds.Count = 1,
) -> base.Method:
  """WKD-F: the channels' means and deviations follow the teacher's.

  L = mean over cells of m |mu_s - mu_t|^2 + |sd_s - sd_t|^2: the squared
  Wasserstein distance of Gaussians with diagonal covariance, where m = 1, over
  the places of each of grid x grid cells (see `losses.transport.wkd_f`). The
  student's map goes through FitNets' regressor first, a convolution with batch
  norm and ReLU (see `hints.Regressor`).

  Args:
    layers: [(student, teacher)], maps [B, H, W, C]; several are summed.
    mean_weight: m.
    eps: added to the variances.
    grid: cells along a side; static.

  Returns:
    A batchwise method (its norm couples the examples) whose loss is f32 [B],
    squared units of the feature; 0 where all statistics agree. Weight 0.08 or
    0.3 for two pairs of CIFAR-100, falling on a cosine at the end.

  Source: Lv et al. 2024, as `wkd_l`; the regressor as in its code.
  """
  layers = layer_names.need('wkd_f', layers)
  hparams = {'mean_weight': float(mean_weight), 'eps': float(eps)}

  def plan(student, teacher):
    return features.connect(layers, student, teacher, hints.make_regressor)

  def compare(ours, theirs, hparams):
    distance = functools.partial(losses.wkd_f, grid=grid, **hparams)
    return sum(distance(s, t) for s, t in zip(ours, theirs))

  return features.comparing('wkd_f', plan, compare, hparams, batchwise=True)
