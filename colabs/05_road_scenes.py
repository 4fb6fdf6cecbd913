# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Road scenes: a class for every pixel
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/REPOSITORY/blob/main/colabs/05_road_scenes.ipynb)
#
# A car has no time for a large network. Here a U-Net teaches one with a
# twentieth of its parameters to name every pixel of a street: by its logits at
# each pixel, and by where in the image it sees each class. Nothing is
# downloaded, and all of it takes a minute or two on two CPU cores.

# %% [markdown]
# The first cell installs kd_jax from its repository where it is missing.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec('kd_jax') is None:
  pip = [sys.executable, '-m', 'pip', 'install', '-q']
  subprocess.run([*pip, 'git+https://github.com/REPOSITORY'], check=True)

# %% [markdown]
# What is needed below.

# %%
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kd_jax
from kd_jax import tasks
from kd_jax.data import augment, pipeline
from kd_jax.losses import spatial
from kd_jax.models import base

plt.rcParams.update({'font.size': 9, 'figure.constrained_layout.use': True})

# %% [markdown]
# ## Streets
#
# CamVid, frames of films from a car, if its folder is named by
# `KD_JAX_RAW_DIR` in the environment; else streets that numpy draws, with the
# same eleven classes. What nobody is to learn is *void*: it counts in no loss
# and in no score.

# %%
SIZE = (48, 64)
try:
  data = kd_jax.make_data('camvid', size=SIZE, limit=160)
except ValueError:
  data = kd_jax.make_data(
    'scenes', images=192, validation=32, tests=100, height=SIZE[0],
    width=SIZE[1],
  )  # fmt: skip
train = data.train
print(data.name, train.inputs.shape, data.label_names)

# %% [markdown]
# Some of them beside their truth; void is black.

# %%
COLORS = np.array([*data.palette, (0, 0, 0)], np.uint8)


def draw(columns, title=''):
  """Pictures in rows: {title: [image, or map of classes, ...]}."""
  rows = len(next(iter(columns.values())))
  figure, axes = plt.subplots(
    rows, len(columns), figsize=(1.55 * len(columns), 1.2 * rows), squeeze=False
  )
  for place, (name, pictures) in enumerate(columns.items()):
    for row, picture in zip(axes[:, place], pictures):
      # Void, -1, is the last color.
      row.imshow(COLORS[picture] if picture.ndim == 2 else picture)
      row.set(xticks=[], yticks=[])
    axes[0, place].set_title(name)
  shades = [plt.Rectangle((0, 0), 1, 1, color=c / 255) for c in COLORS]
  figure.legend(
    shades, [*data.label_names, 'void'], loc='outside lower center', ncols=6,
    frameon=False, title=title,
  )  # fmt: skip
  plt.show()


few = slice(0, 3)
draw({'image': train.inputs[few], 'truth': train.labels[few]})

# %% [markdown]
# ## One transform, two resamplers
#
# An augmentation moves the image and its label map by the same draw: the image
# between pixels, the labels to the nearest one, since there is no class between
# road and car. A step that would move the image alone is refused.

# %%
moved = augment.make_augment(
  [{'name': 'scale_crop', 'scale': [0.75, 1.75]}, 'flip'],
  moves=tasks.SEGMENTATION.moves,
)
raw = pipeline.take(train, np.arange(3))
seen = moved(jax.random.key(1), raw)
truth = np.where(seen['mask'] > 0, seen['labels'], tasks.VOID)
draw(
  {
    'image': raw['inputs'], 'truth': train.labels[few],
    'moved': np.asarray(seen['inputs']), 'its truth': truth,
  }
)  # fmt: skip
try:
  augment.make_augment(['rand_augment'], moves=tasks.SEGMENTATION.moves)
except ValueError as error:
  print(error)

# %% [markdown]
# ## Teach
#
# The teacher learns from the labels, and so does the student alone. The
# distilled student has the teacher's logits too, twice over: at each pixel the
# divergence from the teacher's classes (`pixel_kd`), and for each class the
# divergence from where in the image the teacher sees it (`cwd`, channel-wise
# distillation).

# %%
teacher = kd_jax.make_network('unet', data.classes, widths=[8, 16, 32, 48, 64])
student = kd_jax.make_network('unet', data.classes, widths=[4, 6, 8, 10, 12])
recipe = dict(
  epochs=6, batch_size=8, optimizer='adamw', learning_rate=1e-2,
  weight_decay=1e-4, schedule={'name': 'cosine'}, augment=['flip'],
)  # fmt: skip
taught = kd_jax.train_alone(teacher, data, **recipe)
print(taught)

# %% [markdown]
# The student alone.

# %%
alone = kd_jax.train_alone(student, data, **recipe)
print(alone)

# %% [markdown]
# The distilled student: half of the labels' weight is the teacher's now, and
# CWD comes on top.

# %%
distilled = kd_jax.distill(
  student, teacher, taught, data, method='pixel_kd', temperature=1.0, alpha=0.5,
  layers=[('logits', 'logits')], feature_method='cwd', beta=1.5, **recipe,
)  # fmt: skip
networks = {
  'teacher': (teacher, taught), 'alone': (student, alone),
  'distilled': (student, distilled),
}  # fmt: skip
for name, (_, found) in networks.items():
  count = base.num_params(found.variables)
  print(f'{name:>9} {count:>7,} parameters, mIoU {found.score["student"]:.1%}')

# %% [markdown]
# One seed, a short training, and a rate that nobody tuned: a difference here is
# no result. `experiments/README.md` has some with intervals. What the distilled
# student did on its way:

# %%
distilled.plot()

# %% [markdown]
# ## What they see
#
# Logits come at half the size of the image and are resized, never the classes.

# %%
test = data.test()
prepare = pipeline.make_prepare(data.mean, data.std)
inputs = prepare(test.inputs)
labels, mask = tasks.counted(test.labels, np)


def make_logits(network):
  def logits(variables, inputs):
    outputs, _ = network.apply(variables, inputs)
    return spatial.bilinear(outputs['logits'], SIZE)

  return jax.jit(logits)


run = {name: make_logits(network) for name, (network, _) in networks.items()}
logits = {
  name: run[name](found.variables, inputs)
  for name, (_, found) in networks.items()
}
shown = slice(0, 4)
maps = {
  name: np.where(mask, values.argmax(-1), tasks.VOID)[shown]
  for name, values in logits.items()
}
draw({'image': test.inputs[shown], 'truth': test.labels[shown], **maps})

# %% [markdown]
# ## The score
#
# How often class i was taken for class j is summed over all pixels of all
# images, and then scored, once: the mean over images of each one's mIoU is
# another number. IoU is what both sides have of a class in common, by what
# either has.

# %%
ious = {}
for name, values in logits.items():
  sums = tasks.sums(tasks.SEGMENTATION, values, labels, jnp.asarray(mask))
  sums = jax.device_get(sums)
  ious[name] = tasks.SEGMENTATION.per_class(sums)
  scores = tasks.SEGMENTATION.scores(sums)
  print(f'{name:>9}', *(f'{k} {v:.3f}' for k, v in scores.items()))
figure, axes = plt.subplots(figsize=(7, 2.8))
for k, values in enumerate(ious.values()):
  axes.bar(np.arange(len(values)) + 0.27 * (k - 1), 100 * values, 0.25)
axes.set_xticks(range(data.classes), data.label_names, rotation=60)
axes.set(title='IoU of each class, %')
axes.legend(list(ious), frameon=False)
plt.show()

# %% [markdown]
# ## Frames a second
#
# One image at a time, on this machine, whatever else it does.

# %%
for name in ('teacher', 'distilled'):
  variables, seconds = networks[name][1].variables, []
  for _ in range(30):
    begun = time.perf_counter()
    run[name](variables, inputs[:1]).block_until_ready()
    seconds.append(time.perf_counter() - begun)
  print(f'{name:>9} {1 / np.median(seconds[5:]):.0f} frames a second')

# %% [markdown]
# ## From a terminal
#
# The same as a run: with an interval over test images, a report with these
# pictures, and a folder that the export takes:
#
#     python -m experiments.launch --config experiments/configs/scenes.py \
#       --workdir runs/scenes
#     python -m kd_jax.export runs/scenes shipped
#
# `experiments/configs/camvid.py` is the same on CamVid, and `cityscapes.py` has
# the published recipes of DeepLabV3 and PSPNet for a machine with accelerators.
