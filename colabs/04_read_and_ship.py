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
# # Read runs, and ship a student
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/REPOSITORY/blob/main/colabs/04_read_and_ship.ipynb)
#
# A run leaves everything on disk that is needed to judge it. This notebook
# trains two short runs, reads them, asks how like its teacher each student is,
# and exports one as a file that runs without JAX.

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
# What is needed below. The runs go to a temporary folder.

# %%
import json
import os
import pathlib
import tempfile

import numpy as np
from IPython.display import Markdown, display

from kd_jax import compare, config, errors, runs
from kd_jax.compare import fidelity, results
from kd_jax.compare import table as tables
from kd_jax.export import export
from kd_jax.report import mistakes, notebook

os.chdir(tempfile.mkdtemp())

# %% [markdown]
# ## Two runs
#
# The same teacher and the same student, once with Hinton's loss and once with
# decoupled distillation. A run also trains the student alone, with the same
# budget and seed, or there would be nothing to compare with. Everything that
# two runs have in common is trained once.


# %%
def make_config(method, **options):
  c = config.default()
  c.data = dict(name='digits', seed=0, limit=200)
  c.networks.teacher = dict(name='mlp', widths=[128])
  c.networks.student = dict(name='mlp', widths=[12])
  c.temperature, c.alpha = 4.0, 0.9
  c.terms.hard = dict(method='cross_entropy', weight=1 - c.get_ref('alpha'))
  c.terms.soft = dict(
    method=method,
    weight=c.get_ref('alpha'),
    temperature=c.get_ref('temperature'),
    **options,
  )
  for part in (c.teacher, c.train):
    part.batch_size, part.epochs = 20, 20
    part.optimizer.learning_rate = 1e-2
    part.optimizer.schedule = dict(name='cosine')
  c.eval_every = c.checkpoint_every = 50
  return c


configs = {'kd': make_config('kd'), 'dkd': make_config('dkd')}
reports = runs.train_all(
  runs.claim(runs.build_all(configs, pathlib.Path('runs')))
)
print(*reports)

# %% [markdown]
# ## What a run leaves behind
#
# `report.html` is the page to open first; the rest is what it was made from
# (`events.out` are TensorBoard's).

# %%
for path in sorted(pathlib.Path('runs/kd').iterdir()):
  inside = sorted(p.name for p in path.iterdir()) if path.is_dir() else []
  print(path.name.split('.tfevents')[0], *inside)

# %% [markdown]
# ## The comparison
#
# The table of one run, with the verdict in a sentence. The interval says what
# one run on 360 test images can tell, and what it cannot.

# %%
found = {name: results.read(pathlib.Path('runs') / name) for name in configs}
print(tables.table(found['kd'].report))

# %% [markdown]
# Many runs beside each other. In a terminal this is
# `python -m kd_jax.compare runs/kd runs/dkd`.

# %%
compare.main(['runs/kd', 'runs/dkd'])

# %% [markdown]
# ## Fidelity: is it right, or is it like its teacher?
#
# A student can agree with its teacher and be wrong with it, or be right on its
# own. The logits of all networks on the test set are on disk, so any question
# can be asked again without a network.

# %%
for name, result in found.items():
  run, called = result.runs[0], tables.titles(result.report)
  taught = run.logits['teacher']
  wrong = ~fidelity.right(taught, run.labels)
  for row in ('baseline', 'student'):
    own = run.logits[row]
    same = own.argmax(-1) == taught.argmax(-1)
    print(
      f'{name:>3}, {called[row]:>17}: agrees {same.mean():.1%}; shares '
      f"{same[wrong].sum()} of the teacher's {wrong.sum()} mistakes; KL from "
      f'the teacher {fidelity.kl(taught, own):.2f} nats'
    )

# %% [markdown]
# Whether a network is as sure as it is right: on the dashed line it is. The
# size of a point is the share of images.

# %%
run = found['kd'].runs[0]
notebook.show(
  *(
    mistakes.reliability(
      fidelity.reliability(run.logits[row], run.labels), color, row, called[row]
    )
    for row, color in (
      ('teacher', 'teacher'),
      ('baseline', 'alone'),
      ('student', 'student'),
    )
  )
)

# %% [markdown]
# ## Ship it
#
# ONNX needs two packages that kd_jax does not; without them the library says
# what to install, and the same student goes into a file of JAX's own,
# StableHLO. Either file is run on the test set, with default options of its
# runtime, and compared with the network before it is kept. Differences of
# logits are relative to the largest logit.

# %%
try:
  shipped = export('runs/kd', 'shipped', 'onnx', seconds=0.1)
except ValueError as missing:
  print(missing)
  shipped = export('runs/kd', 'shipped', 'stablehlo', seconds=0.1)
print(shipped['summary'])

# %% [markdown]
# The same student with weights and activations of 8 bits, calibrated on
# training images; here too the file is refused if its answers differ. All of
# its 8-bit numbers are unsigned, so that it gives the same logits on x86
# processors with and without VNNI.

# %%
try:
  small = export('runs/kd', 'int8', 'onnx', quantize='int8', seconds=0.1)
  print(small['summary'])
except (ValueError, errors.DifferentError) as refused:
  print(refused)

# %% [markdown]
# ## Latency
#
# Milliseconds, the median of repeated calls on this machine (in brackets the
# middle half of the calls), for one image and for 64 at a time.

# %%
times = {
  'exported file': shipped['latency']['exported'],
  'student in JAX': shipped['latency']['jax'],
  'teacher in JAX': shipped['latency']['teachers']['teacher'],
}
for name, sizes in times.items():
  one, many = (tables.milliseconds(sizes[size]) for size in ('1', '64'))
  print(f'{name:>14}: one image {one}, 64 images {many}')

# %% [markdown]
# ## As a stranger would use it
#
# `meta.json` says how images are prepared; neither JAX nor kd_jax is needed
# for what follows.

# %%
meta = json.loads(pathlib.Path('shipped/meta.json').read_text())
(wanted,) = meta['inputs']
print(meta['prepare']['formula'], wanted['shape'])
if meta['format'] == 'onnx':
  import onnxruntime

  index, image = next(iter(run.images.items()))
  mean, std = (meta['prepare'][key] for key in ('mean', 'std'))
  inputs = ((image[None] / 255 - mean) / std).astype(np.float32)
  for folder in ('shipped', 'int8'):
    file = pathlib.Path(folder, 'model.onnx')
    if file.exists():
      session = onnxruntime.InferenceSession(file)
      (answer,) = session.run(None, {wanted['name']: inputs})
      print(f'{file} says {answer.argmax()}; it is {run.labels[index]}')

# %% [markdown]
# The card that goes with the file: data, teacher, method, numbers, parity. (Its
# first lines are for the sites that models are published on.)

# %%
_, head, card = pathlib.Path('shipped/card.md').read_text().split('---\n', 2)
print(head)
display(Markdown(card))
