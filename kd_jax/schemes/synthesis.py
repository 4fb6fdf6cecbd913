"""Trains a student on images that are made of its teacher, without its data."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import kinds, methods, optim, stages, terms
from kd_jax.methods import synthesis
from kd_jax.models import generators
from kd_jax.schemes import base

# The teacher's output that its classifier reads, in the networks of the zoo.
FEATURES = ('features', 'pooled')


def data_free(
  cast: base.Cast,
  *,
  one_hot: kinds.NonNegative = 1.0,
  entropy: kinds.NonNegative = 5.0,
  activation: kinds.NonNegative = 0.1,
  statistics: kinds.NonNegative = 0.0,
  layer: str = '',
  variant='code',
  codes: kinds.Count = 100,
  width: kinds.Count = 64,
  learning_rate: kinds.Positive = 0.2,
  student='student',
  teacher='teacher',
) -> list[stages.Stage]:
  """A generator learns from the teacher, and the student on its images: DAFL.

  Both move at each step. The generator's images are to make the teacher sure of
  a class (one-hot), of all classes alike (entropy) and to excite its features
  (activation); the student learns on them by the config's terms, whose
  gradient does not reach the generator, and which read as labels the teacher's
  likeliest classes. The data set is used to train a teacher that is not
  loaded, by the student alone, to validate and to test: this stage sees none of
  its training examples.

  Args:
    cast: see `Cast`.
    one_hot, entropy, activation: weights of the generator's losses.
    statistics: weight of `losses.synthesis.batch_norm`, which DAFL has not (as
      in zju-vipa/CMI).
    layer: the teacher's output that `activation` reads; '' is its classifier's
      input, 'features' or 'pooled'.
    variant: 'code' or 'paper', of entropy and activation (see
      `losses.synthesis`).
    codes: numbers of noise; a new draw for each example at each step.
    width: of the generator (see `generators.upsampler`).
    learning_rate: of the generator, whose optimizer is Adam; constant.
    student, teacher: who learns, from whom.

  Raises:
    ValueError: a data set of other than images with one label, and outputs
      that the teacher has not.

  Source: Chen et al. 2019, "Data-Free Learning of Student Networks",
    https://arxiv.org/abs/1904.01186; defaults are those of its code for MNIST,
    huawei-noah/Efficient-Computing 225ddd2, DAFL/DAFL-train.py (CIFAR-10:
    one_hot 0.05, activation 0.01, codes 1000, learning_rate 0.02).
  """
  base.need(cast, student, teacher)
  base.need_term(cast, teacher)
  _need_images(cast, 'data_free')
  name = 'generator'
  losses = {
    'one_hot': (one_hot, synthesis.one_hot()),
    'entropy': (entropy, synthesis.information_entropy(variant)),
    'activation': (
      activation,
      synthesis.activation(layer or _features(cast, teacher), variant),
    ),
    'statistics': (statistics, synthesis.batch_norm()),
  }
  generator = generators.upsampler(cast.inputs, codes, width)
  size = cast.per_epoch * cast.train.batch_size
  adam = optim.make_optimizer('adam')
  recipe = cast.train._replace(
    tx=optim.apart(cast.train.tx, name, adam, learning_rate),
    augment=_noise(codes),
    views=0,
  )
  return [
    *base.before(cast, student),
    base.stage(
      cast,
      student,
      (student,),
      {**cast.terms, **_terms(cast, name, teacher, losses)},
      recipe=recipe,
      maker=stages.Maker(name, generator, teacher, size),
    ),
  ]


def inversion(
  cast: base.Cast,
  *,
  images: kinds.Count = 256,
  rounds: kinds.Count = 1,
  steps: kinds.Count = 2000,
  cross_entropy: kinds.NonNegative = 1.0,
  statistics: kinds.NonNegative = 100.0,
  first: kinds.NonNegative = 1.0,
  variation: kinds.NonNegative = 2.5e-5,
  norm: kinds.NonNegative = 0.0,
  jitter: kinds.Whole = 2,
  learning_rate: kinds.Positive = 0.1,
  student='student',
  teacher='teacher',
) -> list[stages.Stage]:
  """Images are optimized against the teacher, the student learns on them.

  DeepInversion: a batch of noise becomes images that the teacher takes for the
  classes 0, 1, .. in turn, smooth, and with the means and variances of training
  at the inputs of the teacher's batch norms. The student then learns on the
  images by the config's terms; their labels are those classes. Each round is a
  stage, which is kept and resumes. The student's stage has the steps of the
  student alone, and sees no training example of the data set.

  Args:
    cast: see `Cast`.
    images: of a round; one batch, so that the statistics are those of all.
    rounds: batches, one after the other, each from new noise.
    steps: of a round.
    cross_entropy: weight of the teacher's cross-entropy with the classes.
    statistics: weight of `losses.synthesis.batch_norm`.
    first: factor of the first batch norm in it; 10 for ImageNet.
    variation: weight of `losses.synthesis.total_variation`, 'l2'.
    norm: weight of `losses.synthesis.image_norm`, 'batch'.
    jitter: pixels by which images are rolled at each step, at most.
    learning_rate: of the images, whose optimizer is Adam; constant.
    student, teacher: who learns, from whom.

  Raises:
    ValueError: a data set of other than images with one label; a teacher
      without batch norms where `statistics` is above 0; fewer images than a
      batch of the student.

  Source: Yin et al. 2020, "Dreaming to Distill: Data-free Knowledge Transfer
    via DeepInversion", https://arxiv.org/abs/1912.08795; steps and defaults are
    those of NVlabs/DeepInversion 2413af1, cifar10/deepinversion_cifar10.py. It
    stops there: the student of the paper, and the competition with it (ADI),
    are not in that code; competition is not here.
  """
  base.need(cast, student, teacher)
  base.need_term(cast, teacher)
  _need_images(cast, 'inversion')
  if images * rounds < cast.train.batch_size:
    raise ValueError(
      f'{images} images in {rounds} rounds are fewer than the '
      f"batch_size={cast.train.batch_size} of 'train'"
    )
  losses = {
    'cross_entropy': (cross_entropy, methods.make_method('cross_entropy')),
    'statistics': (statistics, synthesis.batch_norm(first)),
    'variation': (variation, synthesis.total_variation()),
    'norm': (norm, synthesis.image_norm()),
  }
  table = generators.table(cast.inputs, images, jitter)
  labels = np.arange(images, dtype=np.int32) % cast.classes
  recipe = cast.train._replace(
    steps=steps,
    batch_size=images,
    tx=optim.make_optimizer('adam'),
    learning_rate=learning_rate,
    weight_decay=0.0,
    schedule=stages.constant,
    augment=None,
    views=0,
  )
  makers = [
    stages.Maker(f'images_{number}', table, teacher, images, labels)
    for number in range(rounds)
  ]
  return [
    *base.before(cast, student),
    *(
      base.stage(
        cast,
        maker.name,
        (),
        _terms(cast, maker.name, teacher, losses),
        recipe=recipe,
        maker=maker,
      )
      for maker in makers
    ),
    base.stage(cast, student, (student,), cast.terms, transfer=tuple(makers)),
  ]


def _need_images(cast: base.Cast, scheme: str) -> None:
  """Refuses a data set whose images cannot be made."""
  labelled = cast.single and cast.hard == 'cross_entropy'
  if len(cast.inputs) != 3 or not labelled:
    raise ValueError(
      f"the scheme '{scheme}' makes images [H, W, C] of one class each; "
      f'the inputs are {list(cast.inputs)}'
    )


def _features(cast: base.Cast, teacher: str) -> str:
  """The teacher's output that its classifier reads."""
  for name in FEATURES:
    if name in cast.outputs[teacher]:
      return name
  raise ValueError(
    f"'{teacher}' has none of the outputs {', '.join(FEATURES)}: set the "
    f"scheme's 'layer'; known: {', '.join(cast.outputs[teacher])}"
  )


def _terms(
  cast: base.Cast, name: str, teacher: str, losses: Mapping[str, tuple]
) -> dict[str, terms.Term]:
  """The terms by which images are made, of {loss: (weight, method)}."""
  of = {}
  for loss, (weight, method) in losses.items():
    key = f'made_{loss}'
    if key in cast.terms:
      raise ValueError(
        f"the term '{key}' is the scheme's; give it another name"
      )
    hard = loss == 'cross_entropy'
    if weight:
      source = terms.LABELS if hard else teacher
      of[key] = terms.Term(name, source, method, weight)
  return of


def _noise(codes: int):
  """Makes (key, batch) -> the batch with noise f32 [B, codes]."""

  def draw(key, batch):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch['index'])
    noise = jax.vmap(lambda k: jax.random.normal(k, (codes,)))(keys)
    return {**batch, generators.CODES: noise.astype(jnp.float32)}

  return draw
