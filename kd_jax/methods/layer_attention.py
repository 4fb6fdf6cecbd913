"""Methods that learn which layer of the student learns from which."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from kd_jax import kinds
from kd_jax.losses import layer_attention as losses
from kd_jax.losses import numerics, spatial
from kd_jax.methods import adapters, base, layer_names
from kd_jax.models import convolution, lazy


class Embedding(nn.Module):
  """Two dense layers with a ReLU in between."""

  width: int

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Dense(2 * self.width)(x))
    return nn.Dense(self.width)(x)


class Projection(nn.Module):
  """1x1, 3x3 and 1x1 convolutions to `channels`, twice as wide in between."""

  channels: int

  @nn.compact
  def __call__(self, x):
    wide = 2 * self.channels
    x = nn.relu(adapters.norm()(nn.Dense(wide, use_bias=False)(x)))
    x = convolution.conv(wide, (3, 3), use_bias=False)(x)
    x = nn.relu(adapters.norm()(x))
    return nn.Dense(self.channels, use_bias=False)(x)


class Calibration(nn.Module):
  """All pairs of projected student's and pooled teacher's maps, and embeddings.

  Returns what `losses.layer_attention.semckd` reads.
  """

  factor: int

  @nn.compact
  def __call__(self, students, teachers):
    width = max(students[0].shape[0] // self.factor, 1)
    queries = [
      Embedding(width, name=f'query{i}')(losses.similarity(x))
      for i, x in enumerate(students)
    ]
    keys = [
      Embedding(width, name=f'key{j}')(losses.similarity(x))
      for j, x in enumerate(teachers)
    ]
    projected, targets = [], []
    for i, student in enumerate(students):
      pairs = [spatial.align(student, teacher) for teacher in teachers]
      projected.append(
        [
          Projection(t.shape[-1], name=f'projection{i}_{j}')(s)
          for j, (s, t) in enumerate(pairs)
        ]
      )
      targets.append([t for _, t in pairs])
    return projected, targets, queries, keys


class Attention(nn.Module):
  """Queries of the teacher's layers and keys of the student's.

  Returns what `losses.layer_attention.afd` reads beside the maps.
  """

  width: int

  @nn.compact
  def __call__(self, students, teachers):
    student, teacher = (
      [x.mean((1, 2)) for x in xs] for xs in (students, teachers)
    )
    queries = [
      adapters.norm()(nn.Dense(self.width, name=f'query{j}')(x))
      for j, x in enumerate(teacher)
    ]
    keys = [
      nn.relu(adapters.norm()(nn.Dense(self.width, name=f'key{i}')(x)))
      for i, x in enumerate(student)
    ]
    number, batch = len(teacher), student[0].shape[0]
    # One norm over the rows of all layers of the student.
    rows = jnp.stack(keys, axis=1).reshape(-1, self.width)
    rows = nn.Dense(number * self.width, name='bilinear')(rows)
    rows = adapters.norm()(rows)
    drawn = nn.initializers.xavier_normal()
    places = [
      self.param(f'{side}_places', drawn, (len(xs), self.width))
      for side, xs in (('teacher', teacher), ('student', student))
    ]
    shape = (batch, len(keys), number, self.width)
    return jnp.stack(queries, axis=1), rows.reshape(shape), *places


def semckd(
  *,
  layers: layer_names.Layers = (),
  sharpness: kinds.Positive = 1.0,
  factor: kinds.Count = 4,
) -> base.Method:
  """Semantic calibration: layers are paired by learned attention.

  L = 1/S sum_i sum_j a_ij mean (r_ij(s_i) - t_j)^2 over all pairs of a
  student's layer i and a teacher's layer j, the larger map pooled to the size
  of the smaller, r_ij a 1x1, a 3x3 and a 1x1 convolution with batch norms and
  ReLUs in between. a_i is the softmax over j of <q_i, k_j> / sharpness; q and k
  are an example's products with all examples of the batch (flattened maps),
  through two dense layers, over their norm. The gradient flows through a too.

  What is learned has the size of the batch, so the batch cannot change; an
  example's value depends on the order of the batch.

  Args:
    layers: [(student, teacher)], maps [B, H, W, C]: which layers there are of
      either side, not which belong together. A layer named twice counts once.
    sharpness: divisor of the products (`soft` in the code).
    factor: B over the width of q and k; static.

  Returns:
    A batchwise method whose loss is f32 [B], squared units of the feature; 0
    where every projection matches. Weight 400.

  Raises:
    ValueError: at its init, for features that are no maps.

  Source: Chen et al. 2021, "Cross-Layer Distillation with Semantic
    Calibration", https://arxiv.org/abs/2012.03236; sizes and
    1, 4 and 400 as in its code.
  """

  def compare(parts, students, teachers, hparams):
    del students, teachers
    return losses.semckd(*parts, sharpness=hparams['sharpness'])

  hparams = {'sharpness': float(sharpness)}
  return _attending('semckd', layers, Calibration(factor), compare, hparams)


def afd(
  *, layers: layer_names.Layers = (), width: kinds.Count = 128
) -> base.Method:
  """Attention-based feature distillation: a teacher's layer chooses its pupils.

  L = sum_t sum_s a_ts mean over places of (v_s - v_t)^2 over all pairs, v a
  map's mean square over channels, pooled to the teacher's places and divided by
  its norm. a_t is the softmax over s of (<q_t, k_st> + <p_t, p_s>) / sqrt(D): q
  is the teacher's channel means through a dense layer and batch norm, k the
  student's through a dense layer, batch norm, ReLU, and one more dense layer
  and norm for all; the p are learned. The gradient flows through a too.

  Args:
    layers: [(student, teacher)], maps [B, H, W, C]: which layers there are of
      either side, not which belong together. A layer named twice counts once.
    width: D, of queries and keys; static.

  Returns:
    A batchwise method (its norms couple the examples) whose loss is f32 [B],
    no unit; 0 where all maps are active at the same places. Weight 200.

  Raises:
    ValueError: at its init, for features that are no maps, or a teacher's of
      one place.

  Source: Ji et al. 2021, "Show, Attend and Distill: Knowledge Distillation via
    Attention-based Feature Matching", https://arxiv.org/abs/2102.02973; D and
    200 as in its code. The `AFD` of the repository of ICKD is another method.
  """

  def compare(parts, students, teachers, hparams):
    del hparams
    return losses.afd(students, teachers, *parts)

  return _attending('afd', layers, Attention(width), compare, {})


def _attending(
  name: str,
  layers: layer_names.Layers,
  module: nn.Module,
  compare: Callable,
  hparams: Mapping[str, float],
) -> base.Method:
  """The method that compares the layers as a module of all of them says.

  Args:
    name: of the method, for errors.
    layers: see `layer_names.pairs`.
    module: (student's maps, teacher's maps) -> parts.
    compare: (parts, student's maps, teacher's maps, hparams) -> f32 [B].
    hparams: hyperparameters and their defaults.
  """
  layers = layer_names.need(name, layers)

  def run(variables, sides, hparams):
    students, teachers = ([numerics.f32(x) for x in side] for side in sides)
    variables = {'params': variables['params'], **variables['state']}
    parts, state = module.apply(
      variables, students, teachers, mutable=['batch_stats']
    )
    return compare(parts, students, teachers, hparams), dict(state)

  def init(key, student, teacher):
    sides = _sides(name, layers, student, teacher)
    shapes = [
      [jax.ShapeDtypeStruct(x.shape, jnp.float32) for x in side]
      for side in sides
    ]
    variables = dict(lazy.init(module, key, *shapes))
    variables = {'params': variables.pop('params'), 'state': variables}
    base.check(name, run, variables, shapes, hparams)
    return variables

  def loss(variables, student, teacher, batch, hparams):
    del batch
    return run(variables, _sides(name, layers, student, teacher), hparams)

  return base.Method(init, loss, hparams, batchwise=True)


def _sides(name, layers, student, teacher) -> tuple[list, list]:
  """The maps of either side, each once, in the order of their names."""
  names = layer_names.pairs(layers, student, teacher)
  sides = []
  for outputs, chosen in zip((student, teacher), zip(*names)):
    for layer in dict.fromkeys(chosen):
      if len(outputs[layer].shape) != 4:
        raise ValueError(
          f"method '{name}' reads maps [B, H, W, C]; '{layer}' is "
          f'{outputs[layer].shape}'
        )
    sides.append([outputs[layer] for layer in dict.fromkeys(chosen)])
  return tuple(sides)
