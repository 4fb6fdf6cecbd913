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
# # A small language model from a folder of Hugging Face
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/REPOSITORY/blob/main/colabs/06_text.ipynb)
#
# A teacher comes as `transformers` keeps it: `config.json`,
# `model.safetensors`, `tokenizer.json`. A student with half of its layers
# learns from it, and leaves in the same format. Nothing is downloaded: the text
# is the manual inside of Python, and the teacher is trained on the spot.

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
import warnings

import numpy as np
from IPython.display import display

from kd_jax import config, runs
from kd_jax.build import stored
from kd_jax.compare import table as tables
from kd_jax.data import sources
from kd_jax.export import export

warnings.filterwarnings('ignore', message='IProgress')  # of tqdm
os.chdir(tempfile.mkdtemp())

# %% [markdown]
# ## Text
#
# Tokens are made by a byte-level BPE, trained on the training text and kept
# with every run. Texts stand one after another in rows of 64 tokens; each is a
# segment that sees itself alone. The label at a place is the next token,
# shifted here and nowhere else.

# %%
text = dict(name='pydoc', tokenizer='bpe', vocabulary=512, length=64)
data = sources.make_data(**text)
print(data.train.labels.shape, 'rows,', data.vocabulary, 'tokens')
row = data.train.inputs['input_ids'][0]
display(''.join(data.pieces(row)))
print(data.pieces(row[:12]))

# %% [markdown]
# ## A teacher, as a folder of Hugging Face
#
# With a model of your own skip this: `networks.teacher = dict(load='FOLDER')`
# reads BERT, DistilBERT, RoBERTa, GPT-2, Llama, Qwen, Gemma and T5. Here a
# Llama of two layers learns for 250 steps and is written as such a folder.


# %%
def make_config(steps):
  c = config.default()
  c.data = dict(**text, seed=0)
  c.terms.hard = dict(method='cross_entropy')
  c.train.batch_size, c.train.steps = 16, steps
  c.eval_every = c.checkpoint_every = 125
  c.train.optimizer.learning_rate = 1e-2
  c.train.optimizer.schedule = dict(name='cosine', warmup=0.1)
  return c


c = make_config(250)
c.baseline = False
llama = dict(name='llama', width=48, heads=4, hidden=128, context=64)
c.networks.student = dict(**llama, depth=2)
runs.launch(c, pathlib.Path('runs/teacher'))
print(export('runs/teacher', 'teacher', 'huggingface')['summary'])
print(*sorted(path.name for path in pathlib.Path('teacher').iterdir()))

# %% [markdown]
# ## Distil it
#
# The student has one of the two layers, starts from the teacher's first, and
# reads the teacher's tokenizer. Beside it the same student learns without the
# teacher, with the same start, budget and seed.

# %%
c = make_config(120)
c.data.tokenizer = 'teacher'
c.data.vocabulary = 0  # of a file: as many as it has
c.networks.teacher = dict(load='teacher')
c.networks.student = dict(
  **llama, depth=1, init_from=dict(network='teacher', layers=[0])
)
c.terms.hard.weight = 0.5
c.terms.soft = dict(method='kd', weight=0.5, temperature=1.0)
report = runs.launch(c, pathlib.Path('runs/student'))
print(tables.table(report))

# %% [markdown]
# This shows that it works, not what it is worth: a teacher of 250 steps is
# overtaken by a student that goes on from its layers, and then holds it back.
#
# ## Ship it
#
# The file is read again and compared with the network before it is kept. The
# tokenizer of the run goes with it.

# %%
print(export('runs/student', 'shipped', 'huggingface')['summary'])
print(json.loads(pathlib.Path('shipped/config.json').read_text())['model_type'])

# %% [markdown]
# ## As a stranger would use it
#
# `transformers` needs PyTorch, and kd_jax does not; without them the last cell
# only says so. Logits are compared on rows of the test set, then the student
# goes on by itself.

# %%
try:
  import torch
  import transformers
except ImportError as missing:
  print(f'not installed: {missing.name}')
else:
  transformers.utils.logging.disable_progress_bar()
  model = transformers.AutoModelForCausalLM.from_pretrained('shipped').eval()
  ids = data.test().inputs['input_ids'][:4]
  with torch.no_grad():
    theirs = model(torch.tensor(ids)).logits.numpy()
  network, variables, _ = stored.load('runs/student/networks/student')
  outputs, _ = network.apply(variables, {'input_ids': ids})
  gap = np.abs(outputs['logits'] - theirs).max() / np.abs(theirs).max()
  print(f'logits differ by less than 1e-4 of the largest: {gap < 1e-4}')
  tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_file='shipped/tokenizer.json'
  )
  start = tokenizer('The statement', return_tensors='pt').input_ids
  whole = model.generate(start, max_new_tokens=40, do_sample=False)
  print(tokenizer.decode(whole[0]))
