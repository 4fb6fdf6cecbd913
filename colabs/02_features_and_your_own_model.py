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
# # Features, and a model of your own
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/REPOSITORY/blob/main/colabs/02_features_and_your_own_model.ipynb)
#
# Teacher and student are whatever you have: here two Flax modules of which
# kd_jax knows nothing. It finds their layers by name, brings layers of other
# shapes together, and takes a loss that you write down in one cell.

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
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import linen as nn

import kd_jax
from kd_jax.compare import fidelity
from kd_jax.data import pipeline
from kd_jax.losses import numerics, spatial
from kd_jax.methods import adapters, pairs

plt.rcParams.update({'font.size': 9, 'figure.constrained_layout.use': True})

# %% [markdown]
# ## Two modules as anyone would write them
#
# They return logits and nothing else: no base class, no registry.


# %%
class Wide(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(16, (3, 3))(x))
    x = nn.avg_pool(x, (2, 2), (2, 2))
    x = nn.relu(nn.Conv(32, (3, 3))(x))
    x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
    return nn.Dense(10)(x)


class Narrow(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(6, (3, 3), strides=2)(x))
    x = nn.relu(nn.Conv(8, (3, 3))(x))
    return nn.Dense(10)(x.reshape(len(x), -1))


# %% [markdown]
# ## Layers by name
#
# `taps` are glob patterns over the paths of a module. What they match appears
# in the outputs beside the logits, from a module that was never changed.

# %%
teacher = kd_jax.from_linen(Wide(), taps=['Conv_*', 'Dense_0'])
student = kd_jax.from_linen(Narrow(), taps=['Conv_*'])
data = kd_jax.make_data('digits', limit=200)
prepare = pipeline.make_prepare(data.mean, data.std)
images = prepare(data.validation.inputs)


def outputs_of(network):
  variables = jax.eval_shape(network.init, jax.random.key(0), images)
  return jax.eval_shape(network.apply, variables, images)[0]


shapes = {'teacher': outputs_of(teacher), 'student': outputs_of(student)}
for name, outputs in shapes.items():
  for layer, x in outputs.items():
    print(f'{name} {layer:>8} {adapters.shown(x.shape)}')

# %% [markdown]
# Whoever misspells a layer is told which ones there are.

# %%
try:
  outputs_of(kd_jax.from_linen(Wide(), taps=['conv_0']))
except ValueError as error:
  print(error)

# %% [markdown]
# ## Adapters
#
# No student's layer has the shape of its teacher's. A method that compares
# them needs a map between the two; `auto` is the plainest that fits. It is
# trained with the student and left out of it afterwards.

# %%
for ours, theirs in (('Conv_0', 'Conv_0'), ('Conv_1', 'Conv_1')):
  a, b = (
    shapes[who][layer].shape
    for who, layer in (('student', ours), ('teacher', theirs))
  )
  print(
    f'{ours} {adapters.shown(a)} -> {theirs} {adapters.shown(b)}: '
    f'{adapters.choose(a, b)}'
  )

# %% [markdown]
# ## Teach
#
# First the teacher, from labels. Then three students on the same 200 images:
# alone, from logits, and from logits and both layers: FitNet's hints, the
# squared distance between the teacher's features and the adapted ones.

# %%
recipe = dict(
  epochs=20, batch_size=20, learning_rate=5e-3, schedule={'name': 'cosine'}
)
taught = kd_jax.train_alone(
  teacher, kd_jax.make_data('digits'), epochs=5, learning_rate=3e-3
)
layers = [('Conv_0', 'Conv_0'), ('Conv_1', 'Conv_1')]
kinds = {
  'logits': {},
  'logits and hints': dict(layers=layers, feature_method='fitnet', beta=10.0),
}
done = {'alone': kd_jax.train_alone(student, data, **recipe)}
for kind, options in kinds.items():
  done[kind] = kd_jax.distill(
    student, teacher, taught.variables, data, **options, **recipe
  )
print(f'{"teacher":>16} {taught.accuracy["student"]:.1%}')
for kind, found in done.items():
  print(f'{kind:>16} {found.accuracy["student"]:.1%}')

# %% [markdown]
# One seed and 360 test images: a few points between two students are noise.
# What the features did can be seen in the layers themselves. Linear CKA says
# how alike two layers place the same images, from 0 to 1.

# %%
apply = {'teacher': jax.jit(teacher.apply), 'student': jax.jit(student.apply)}
theirs, _ = apply['teacher'](taught.variables, images)
seen = {
  kind: apply['student'](found.variables, images)[0]
  for kind, found in done.items()
}
for kind, outputs in seen.items():
  alike = [fidelity.cka(outputs[a], theirs[b]) for a, b in layers]
  print(f'{kind:>16}', *(f'{value:.2f}' for value in alike))

# %% [markdown]
# Where they look: the activity of the second convolution over the image (mean
# of the squared channels), for four digits of the validation set.

# %%
shown = [int(np.flatnonzero(data.validation.labels == k)[0]) for k in range(4)]
layer = {'teacher': theirs['Conv_1']} | {
  k: seen[k]['Conv_1'] for k in ('alone', 'logits and hints')
}
maps = {'image': data.validation.inputs[..., 0]} | {
  k: spatial.attention(x, 2.0).reshape(x.shape[:-1]) for k, x in layer.items()
}
figure, axes = plt.subplots(len(shown), len(maps), figsize=(5.6, 5.2))
for row, index in zip(axes, shown):
  for panel, (title, values) in zip(row, maps.items()):
    panel.imshow(values[index], cmap='gray_r' if title == 'image' else 'magma')
    panel.set(xticks=[], yticks=[], title=title if index == shown[0] else '')
plt.show()

# %% [markdown]
# ## A method of your own
#
# A method on logits is one function: logits of both sides in, one number per
# image out, and its float arguments are hyperparameters. One line puts it into
# the table; batching, masks, weights, devices and sweeps come with it. This is
# the Hellinger distance between the softened distributions.


# %%
def hellinger(student, teacher, *, temperature: float = 1.0):
  log_s, log_t = (
    numerics.log_probs(z, temperature) for z in (student, teacher)
  )
  return 0.5 * ((jnp.exp(log_t / 2) - jnp.exp(log_s / 2)) ** 2).sum(-1)


kd_jax.METHODS['hellinger'] = pairs.on_logits(hellinger)
own = kd_jax.distill(
  student,
  teacher,
  taught.variables,
  data,
  method='hellinger',
  temperature=2.0,
  alpha=0.9,
  **recipe,
)
print(f'hellinger {own.accuracy["student"]:.1%}')

# %% [markdown]
# Its loss and the hard one, epoch by epoch: what `distill` wrote down.

# %%
epochs = [row['epoch'] for row in own.history]
figure, axes = plt.subplots(figsize=(4.5, 2.6))
for term in ('hard', 'soft'):
  axes.semilogy(
    epochs,
    [row[f'loss/{term}'] for row in own.history],
    label={'hard': 'cross-entropy', 'soft': 'hellinger'}[term],
  )
axes.set(xlabel='epoch')
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# A method that is to stay gets a docstring with its equation and its source, a
# line in `kd_jax/methods/__init__.py` and a golden number; the tests that hold
# for every method then hold for it too (README, "Add a method").
#
# Next: `03_sweeps` looks for the right T and alpha.
