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
# # Sweeps: one teacher, many settings, one process
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/REPOSITORY/blob/main/colabs/03_sweeps.ipynb)
#
# Which temperature, which alpha? Here 32 students learn at once, each with
# numbers of its own, and a heat map fills in while they do. A batch is shown to
# the teacher once for all of them, and nothing is compiled twice.

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

from IPython.display import display

import kd_jax
from kd_jax import config, metrics, runs, sweep, training
from kd_jax.report import maps, notebook
from kd_jax.training import loop

# %% [markdown]
# ## The experiment
#
# A config holds every setting of an experiment. The two terms refer to `alpha`
# and `temperature` instead of holding numbers, so that they follow when a sweep
# changes these. The student sees 150 of the digits; the teacher, for the sake
# of speed, no more than that either. A third of the set is for validation,
# since a heat map of accuracies on few images would show noise.


# %%
def get_config():
  c = config.default()
  c.data = dict(name='digits', seed=0, limit=150, validation=0.33)
  c.networks.teacher = dict(name='mlp', widths=[128])
  c.networks.student = dict(name='mlp', widths=[8])
  c.terms.hard = dict(method='cross_entropy', weight=1 - c.get_ref('alpha'))
  c.terms.soft = dict(
    method='kd', weight=c.get_ref('alpha'), temperature=c.get_ref('temperature')
  )
  c.baseline = False
  for part in (c.teacher, c.train):
    part.batch_size, part.epochs = 15, 20
    part.optimizer.learning_rate = 1e-2
    part.optimizer.schedule = dict(name='cosine')
  c.eval_every = 50
  return c


# %% [markdown]
# ## The sweep
#
# A sweep is a list of settings, and sweeps can be multiplied, zipped and
# chained. Four temperatures times four alphas times two seeds are 32.

# %%
settings = sweep.product(
  sweep.grid('temperature', 1.0, 2.0, 4.0, 16.0),
  sweep.grid('alpha', 0.1, 0.5, 0.9, 1.0),
  sweep.grid('seed', 0, 1),
)
configs = {sweep.name_of(s): runs.changed(get_config(), s) for s in settings}
print(len(settings), 'settings; the first:', settings[0])

# %% [markdown]
# Which of them can train together? Those that differ in numbers of the state
# alone. Another width of the student is another program, and the library says
# which key it is that splits the two.

# %%
wider = runs.changed(get_config(), {'networks.student.widths': [16]})
for splits, names in runs.groups_of({**configs, 'wider': wider}):
  print(len(names), 'together' + (f', apart by {splits}' if splits else ''))

# %% [markdown]
# ## Live
#
# One experiment is built; the others are built like it. `look` is called after
# every validation with all lanes that run, and draws the map again: a cell is
# the mean of two seeds, in per cent of the validation set. (A plan's `pruner`
# may also stop lanes that fall behind, by saying why; this one stops none.)

# %%
first = kd_jax.make_experiment(next(iter(configs.values())))
experiments = [first] + [
  kd_jax.make_experiment(c, like=first) for c in list(configs.values())[1:]
]
sessions = [training.Session(None, metrics.silent()) for _ in experiments]
screen = display(notebook.show(), display_id=True)
history = []


def look(lanes):
  rows = []
  for number, lane in lanes.items():
    values = {k: settings[number][k] for k in ('temperature', 'alpha')}
    accuracy = lane.scores['validation_accuracy/student']
    rows.append({'values': values, 'validation': accuracy})
  history.append(rows)
  screen.update(notebook.show(*maps.heats(rows)))
  return {}


begun = time.monotonic()
done = training.run_all(experiments, sessions, loop.Plan(pruner=look))
seconds = time.monotonic() - begun
steps = first.stages[-1].recipe.steps
print(f'{len(done)} students, {steps} steps each: {seconds:.0f} s in all')

# %% [markdown]
# ## From the first look to the last
#
# What the map showed on its way: what a setting looks like early is not what
# it comes to.

# %%
notebook.show(*(maps.heats(history[k])[0] for k in (0, len(history) // 2, -1)))

# %% [markdown]
# ## The same from a terminal
#
# Put `get_config` in a file, and beside it the sweep under a name of its own:
#
#     def sweep_softness():
#       return sweep.product(
#         sweep.grid('temperature', 1.0, 2.0, 4.0, 16.0),
#         sweep.grid('alpha', 0.1, 0.5, 0.9, 1.0),
#       )
#
# Then this trains it, keeps everything, and continues if it was interrupted; a
# table, `sweep.csv` and a page with the maps are left in the folder:
#
#     python -m experiments.launch --config softness.py \
#       --workdir runs/softness --sweep softness --seeds 3
#
# The map above was looked at on validation. Whoever picks its best cell should
# report that cell's accuracy on the test set, once, with seeds of its own: the
# best of 16 noisy numbers is too good by itself.
#
# Next: `04_read_and_ship` reads finished runs and exports a student.
