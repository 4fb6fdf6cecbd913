"""What both sides of the benchmarks do: networks, batches, numbers, layers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

ALPHA, TEMPERATURE = 0.9, 4.0
ADAM_RATE = 1e-3
# Small, so that many steps on one batch leave the numbers ordinary.
SGD_RATE, MOMENTUM = 1e-4, 0.9
BATCHES = 8


class Pair(NamedTuple):
  """Networks by name, and the batches that they see.

  Attributes:
    teacher, student: names in `kd_jax.models.MODELS`, 'stages' or 'vit'.
    shape: of an image, [H, W, C].
    classes: K.
    batch_size: B.
  """

  teacher: str
  student: str
  shape: tuple[int, int, int]
  classes: int
  batch_size: int


class Maps(NamedTuple):
  """A pair of U-Nets, and the batches that they see.

  Attributes:
    teacher, student: widths of the stages.
    shape: of an image, [H, W, C]; labels are [H, W].
    classes: K.
    batch_size: B.
  """

  teacher: tuple[int, ...]
  student: tuple[int, ...]
  shape: tuple[int, int, int]
  classes: int
  batch_size: int


class Entry(NamedTuple):
  """How a method is made for the benchmark.

  Attributes:
    options: of the method.
    pair: of `PAIRS`.
  """

  options: Mapping[str, Any] = {}
  pair: str = 'stages'


# Maps of resnet8x4 and resnet8, one convolution a stage: quick to compile.
TEACHER_WIDTHS, STUDENT_WIDTHS = (64, 128, 256), (16, 32, 64)
VIT, PATCH = (128, 2, 2), 4  # width, blocks, heads

CNNS = Pair('cnn_teacher', 'cnn_student', (28, 28, 1), 10, 32)
PAIRS = {
  'stages': Pair('stages', 'stages', (32, 32, 3), 100, 64),
  'vit': Pair('vit', 'vit', (32, 32, 3), 100, 64),
}


# That of `experiments/configs/scenes.py`, with its weights.
SCENES = Maps(
  (12, 24, 48, 80, 128), (4, 8, 12, 16, 24), (64, 96, 3), 11, 8
)  # fmt: skip
SCENES_RATE, SCENES_DECAY = 1e-3, 1e-4
PIXELS, CHANNELS, CHANNELS_TEMPERATURE = 1.0, 0.3, 4.0
VOID = 255
VOID_SHARE = 0.05


def maps(pair: Maps, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Images f32 [B, H, W, C] and labels i32 [B, H, W], some void, drawn."""
  rng = np.random.default_rng(seed)
  images = rng.normal(size=(pair.batch_size, *pair.shape)).astype(np.float32)
  labels = rng.integers(0, pair.classes, images.shape[:3], np.int32)
  labels[rng.random(labels.shape) < VOID_SHARE] = VOID
  return images, labels


def examples(pair: Pair, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Images f32 [B, H, W, C] and labels i32 [B], drawn."""
  rng = np.random.default_rng(seed)
  shape = pair.batch_size, *pair.shape
  images = rng.normal(size=shape).astype(np.float32)
  labels = rng.integers(0, pair.classes, pair.batch_size)
  return images, labels.astype(np.int32)


def _alike(*names: str) -> tuple[tuple[str, str], ...]:
  return tuple((name, name) for name in names)


def _layers(pairs: Sequence, **options) -> Entry:
  return Entry({'layers': pairs, **options})


_STAGES = _alike('stage1', 'stage2', 'stage3')
_PRE = _alike('stage1_pre', 'stage2_pre', 'stage3_pre')
_STAGE2, _STAGE3 = _alike('stage2'), _alike('stage3')
_FINAL, _POOLED = _alike('final'), _alike('pooled')

# The layers that the papers, or RepDistiller, read, and other options.
_OPTIONS = {
  'ctkd': Entry({'decay_steps': 100.0}),
  'fitnet': _layers(_STAGE2),
  'at': _layers(_STAGES),
  'nst': _layers(_STAGE3),
  'fsp': _layers(_STAGES),
  'ab': _layers(_PRE),
  'ft': _layers(_STAGE3, paraphraser_steps=0),
  'vid': _layers(_STAGES),
  'ofd': _layers(_PRE),
  'kdsvd': _layers(_STAGES),
  'review_kd': _layers(_STAGES),
  'simkd': _layers(_FINAL),
  'cat_kd': _layers(_FINAL),
  'mgd': _layers(_STAGE3),
  'feature_mse': _layers(_STAGE3),
  'feature_cosine': _layers(_STAGE3),
  'rkd': _layers(_POOLED),
  'rkd_distance': _layers(_POOLED),
  'rkd_angle': _layers(_POOLED),
  'sp': _layers(_STAGE3),
  'cc': _layers(_POOLED),
  'pkt': _layers(_POOLED),
  'ickd': _layers(_STAGE3),
  'crd': _layers(_POOLED),
  'info_nce': _layers(_POOLED),
  'srrl': _layers(_FINAL),
  'uskd': Entry({'layer': 'stage2'}),
  'sdd_kd': _layers(_FINAL),
  'sdd_dkd': _layers(_FINAL),
  'sdd_nkd': _layers(_FINAL),
  'ofa_exits': _layers((('stage1', 'logits'), ('stage2', 'logits'))),
  'semckd': _layers(_STAGES),
  'afd': _layers(_STAGES),
  'vkd': _layers(_POOLED),
  'itrd': _layers(_POOLED),
  'sskd': _layers(_POOLED, projection_steps=0),
  'attention_mse': Entry({'layers': _alike('block2_scores')}, 'vit'),
  'attention_kl': Entry({'layers': _alike('block2_scores')}, 'vit'),
  'value_relation': Entry({'layers': _alike('block2_value')}, 'vit'),
}


def names() -> list[str]:
  """The methods of the table, but those for text or maps of predictions."""
  from kd_jax import methods  # PyTorch's side does without JAX

  elsewhere = (*methods.TEXT, *methods.DENSE, *methods.INDEPENDENT)
  return [name for name in methods.METHODS if name not in elsewhere]


def entry(name: str) -> Entry:
  """How a method is made: as above, or on the logits or the last stage."""
  if name in _OPTIONS:
    return _OPTIONS[name]
  from kd_jax import methods

  return _layers(_STAGE3) if methods.reads_layers(name) else Entry()


# A data set of CIFAR's size, for what remembers every example.
EXAMPLES = 50_000
