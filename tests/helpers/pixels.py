"""A small run of segmentation that is compared: squares on a street."""

import functools
import json
import pathlib
import tempfile

import jax
import numpy as np
from flax import linen as nn

from kd_jax import build, checkpoint, compare, config, report
from kd_jax.compare import seeds
from kd_jax.data import sources
from kd_jax.models import base

VOID, CLASSES, TEST, SIZE = 255, 4, 23, (24, 32)
NAMES = ('road', 'car', 'sky', 'sign')
ROWS = {'teacher': 'teacher', 'baseline': 'student', 'student': 'student'}


class Net(nn.Module):
  """Two convolutions; logits at half the size."""

  width: int = 4
  classes: int = CLASSES

  @nn.compact
  def __call__(self, x, train: bool = False):
    hidden = nn.relu(nn.Conv(self.width, (3, 3), (2, 2))(x))
    return {'hidden': hidden, 'logits': nn.Conv(self.classes, (3, 3))(hidden)}


def split(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Images u8 [N, 24, 32, 3] and labels i64 [N, 24, 32], their top void."""
  rng = np.random.default_rng(seed)
  labels = np.zeros((size, *SIZE), np.int64)
  for label in labels:
    for k in (1, 2, 3):
      y, x = rng.integers(0, 16), rng.integers(0, 20)
      label[y : y + 8, x : x + 12] = k
  noise = rng.integers(0, 60, (*labels.shape, 3))
  images = (60 * labels[..., None] + noise).astype(np.uint8)
  labels[:, :2] = VOID
  return images, labels


def data(**options) -> sources.Data:
  """Four classes; 32 images train."""
  given = dict(
    train=split(32), test=split(TEST, 1), classes=CLASSES, ignore=VOID,
    task='segmentation', label_names=NAMES, validation=8,
  )  # fmt: skip
  return sources.make_data('arrays', **{**given, **options})


def settings():
  """A config of a teacher and a student from Python."""
  c = config.default()
  c.networks.teacher = dict(given=True)
  c.networks.student = dict(given=True)
  c.terms.hard = dict(method='cross_entropy', weight=0.1)
  c.terms.soft = dict(method='kd', weight=0.9, temperature=2.0)
  c.train.batch_size = c.teacher.batch_size = 8
  c.parallel = 'one'
  return c


def experiment(**options) -> build.Experiment:
  """The experiment of `settings`."""
  given = {
    'teacher': build.Given(base.from_linen(Net(16))),
    'student': build.Given(base.from_linen(Net())),
  }
  return build.make_experiment(settings(), data(**options), given=given)


def variables(of: build.Experiment, seed: int = 0) -> dict:
  """{row: initial variables of its network}, another draw for each row."""
  inputs = build.example_inputs(of.data)
  return {
    row: jax.device_get(
      of.networks[name].init(jax.random.key(10 * seed + k), inputs)
    )
    for k, (row, name) in enumerate(ROWS.items())
  }


def run(folder: pathlib.Path, seed: int = 0, **options) -> dict:
  """A compared run in `folder`; returns its report."""
  folder.mkdir(parents=True, exist_ok=True)
  of = experiment(**options)
  checkpoint.write_json(folder / 'config.json', {})
  rows = [
    {
      'stage': stage,
      'step': 4 * epoch,
      'epoch': epoch,
      'loss': 1 / epoch,
      'validation_miou/student': 0.1 * epoch,
    }
    for stage in ('baseline', 'student')
    for epoch in (1, 2, 3)
  ]
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  (folder / 'metrics.jsonl').write_text(text)
  made = compare.run(of, variables(of, seed), folder)
  report.write(folder)
  return made


@functools.cache
def shared() -> pathlib.Path:
  """A folder of two compared seeds, made once."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix='pixels'))
  folders = [folder / f'seed_{k}' for k in range(2)]
  for k, place in enumerate(folders):
    run(place, k)
  checkpoint.write_json(folder / 'config.json', {})
  seeds.combine(folder, folders)
  report.write(folder)
  return folder
