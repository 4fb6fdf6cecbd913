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
# # Soft targets: what temperature does
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/REPOSITORY/blob/main/colabs/01_soft_targets.ipynb)
#
# A label says "this is a 3". A trained network says more: "this is a 3, it
# might be an 8, it is certainly no 4". Distillation hands that on. This
# notebook looks at what a teacher says, at what the temperature T does to it,
# and at what a student makes of it. It takes under a minute on a CPU.

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
# What is needed below: the library, and Matplotlib for the pictures.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import kd_jax
from kd_jax.compare import fidelity
from kd_jax.data import pipeline
from kd_jax.losses import logits, numerics
from kd_jax.models import base
from kd_jax.report import mistakes, notebook

plt.rcParams.update(
  {
    'axes.spines.right': False,
    'axes.spines.top': False,
    'font.size': 9,
    'figure.constrained_layout.use': True,
  }
)

# %% [markdown]
# ## A teacher
#
# The data are the 1,797 handwritten digits of scikit-learn, 8x8 pixels each. A
# network with 128 hidden units learns them from their labels.

# %%
data = kd_jax.make_data('digits')
teacher = kd_jax.make_network('mlp', classes=10, widths=[128])
taught = kd_jax.train_alone(
  teacher, data, epochs=15, learning_rate=3e-3, schedule={'name': 'cosine'}
)
print(f'test accuracy of the teacher: {taught.accuracy["student"]:.1%}')

# %% [markdown]
# ## One image at four temperatures
#
# What it says of the training images, as logits z. The probabilities are
# softmax(z / T): with a large T the small ones grow until one can see them.
# The image below is one of which the teacher is right, but barely.

# %%
prepare = pipeline.make_prepare(data.mean, data.std)
images, labels = prepare(data.train.inputs), data.train.labels
forward = jax.jit(base.make_forward(teacher))
z = forward(taught.variables, images)
chances = jnp.exp(numerics.log_probs(z))[np.arange(len(labels)), labels]
right = fidelity.right(z, labels)
index = int(np.argmin(np.where(right, chances, 1)))

figure, axes = plt.subplots(1, 5, figsize=(9, 2))
axes[0].imshow(data.train.inputs[index, :, :, 0], cmap='gray_r')
axes[0].set(title=f'a {labels[index]}', xticks=[], yticks=[])
for panel, temperature in zip(axes[1:], (1, 2, 4, 16)):
  p = jnp.exp(numerics.log_probs(z[index], temperature))
  colors = ['tab:blue' if k == labels[index] else '0.6' for k in range(10)]
  panel.bar(range(10), p, color=colors)
  panel.set(title=f'T = {temperature}', ylim=(0, 1), xticks=range(10))
plt.show()

# %% [markdown]
# ## Dark knowledge
#
# Averaged over all images of a digit, the mistakes that the teacher *almost*
# makes show which digits look alike to it. On the diagonal stands the right
# answer, left white so that the rest can be seen. At T = 1 there is next to
# nothing to learn from; at T = 4 every row is a portrait of a digit.

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6))
for panel, temperature in zip(axes, (1, 4)):
  p = jnp.exp(numerics.log_probs(z, temperature))
  rows = np.stack([np.mean(p[labels == k], axis=0) for k in range(10)])
  np.fill_diagonal(rows, np.nan)
  picture = panel.imshow(100 * rows, cmap='Blues', vmin=0, vmax=12)
  panel.set(
    title=f'T = {temperature}',
    xlabel='probability of',
    ylabel='is',
    xticks=range(10),
    yticks=range(10),
  )
figure.colorbar(picture, ax=axes, label='%', shrink=0.8)
plt.show()

# %% [markdown]
# ## Why the loss is multiplied by T^2
#
# The soft loss is `T^2 * KL(teacher || student)`. Its gradient by the student's
# logits is `T * (p_s - p_t)`. Without the T^2 it would be `(p_s - p_t) / T`,
# and since the difference itself shrinks with 1 / T, it would fall off like
# 1 / T^2: soft and hard loss would need a new balance at every T. With T^2 the
# gradient settles on the difference of the two networks' centered logits,
# divided by the number of classes: at high T the student copies logits.

# %%
mine = jax.random.normal(jax.random.key(0), z.shape)  # a student's, before all
temperatures = 2.0 ** np.arange(0, 9)
gradient = jax.jit(jax.grad(lambda s, t: logits.kd(s, z, temperature=t).sum()))
found = [gradient(mine, t) for t in temperatures]
centered = [x - x.mean(-1, keepdims=True) for x in (mine, z)]
limit = (centered[0] - centered[1]) / 10
norms = [float(jnp.linalg.norm(g, axis=-1).mean()) for g in found]
away = [
  float(jnp.linalg.norm(g - limit) / jnp.linalg.norm(limit)) for g in found
]

figure, axes = plt.subplots(1, 2, figsize=(8, 2.8))
axes[0].loglog(temperatures, norms, 'o-', label='with T^2')
axes[0].loglog(temperatures, norms / temperatures**2, 'o-', label='without')
axes[0].set(title='size of the gradient', xlabel='T')
axes[0].legend(frameon=False)
axes[1].semilogx(temperatures, away, 'o-', color='tab:green')
axes[1].set(title='distance from copying the logits', xlabel='T')
plt.show()

# %% [markdown]
# ## A student with 100 images
#
# Now a student of 16 hidden units gets only 100 of the images. Alone it has
# 100 labels; from the teacher it has 100 distributions. The loss is
# `alpha * T^2 * KL + (1 - alpha) * CE`, with alpha 0.9 and T 4.

# %%
few = kd_jax.make_data('digits', limit=100)
student = kd_jax.make_network('mlp', classes=10, widths=[16])
recipe = dict(
  epochs=24, batch_size=10, learning_rate=1e-2, schedule={'name': 'cosine'}
)
for seed in range(3):
  without = kd_jax.train_alone(student, few, seed=seed, **recipe)
  distilled = kd_jax.distill(
    student,
    teacher,
    taught.variables,
    few,
    temperature=4.0,
    alpha=0.9,
    seed=seed,
    **recipe,
  )
  print(
    f'seed {seed}: alone {without.accuracy["student"]:.1%}, '
    f'distilled {distilled.accuracy["student"]:.1%}'
  )

# %% [markdown]
# The same images, the same steps, the same initialization: what differs is what
# was said about each image. The teacher has seen all of the training set, and
# part of that reaches the student through ten numbers an image.

# %% [markdown]
# ## A digit that the student has never seen
#
# The strongest form of the argument is Hinton's (2015, section 3): take every 3
# out of the student's training set. With alpha = 1 it never reads a label
# either. All it can learn of a 3 is what the teacher says of other digits.

# %%
without_3 = kd_jax.make_data('digits', train_only=[0, 1, 2, 4, 5, 6, 7, 8, 9])
blind = kd_jax.distill(
  student,
  teacher,
  taught.variables,
  without_3,
  temperature=8.0,
  alpha=1.0,
  epochs=15,
  learning_rate=1e-2,
  schedule={'name': 'cosine'},
)
test = data.test()
forward = jax.jit(base.make_forward(student))
answers = np.asarray(forward(blind.variables, prepare(test.inputs)))
seen = fidelity.per_class(answers, test.labels)
print(f'right on the 3s of the test set: {seen[3]:.1%}')
print(f'right on all of the test set: {blind.accuracy["student"]:.1%}')

# %% [markdown]
# The row of the 3 in its confusion matrix: what it makes of a digit that no one
# ever showed it.

# %%
counts = fidelity.confusion(answers, test.labels)
names = [str(k) for k in range(10)]
notebook.show(
  mistakes.confusion(counts, names, 'blind', 'a student that never saw a 3')
)

# %% [markdown]
# Next: `02_features_and_your_own_model` distils a network of your own, from
# features as well as from logits.
