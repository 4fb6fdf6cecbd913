"""A run on disk: whose folder it is, its seeds, and what is left behind."""

import contextlib
import importlib.metadata
import pathlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable

import jax

from kd_jax import (
  build,
  checkpoint,
  compare,
  config,
  metrics,
  report,
  stages,
  train,
  types,
)

CONFIG = 'config.json'
_PACKAGES = (
  'jax', 'flax', 'optax', 'orbax-checkpoint', 'ml-collections',
  'tensorflow-datasets', 'numpy',
)


def claim(folder: pathlib.Path, settings: dict) -> None:
  """Makes the folder of a run, or finds it again.

  Raises:
    ValueError: where it belongs to another config (the first key that
      differs), or cannot be written.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / '.writable').touch()
    (folder / '.writable').unlink()
  except OSError as error:
    raise ValueError(
      f'workdir {folder} cannot be written: {error.strerror}'
    ) from None
  path = folder / CONFIG
  if path.exists():
    found = checkpoint.read_json(path)
    differs = config.first_difference(_results(settings), _results(found))
    if differs:
      raise ValueError(
        f'{folder} belongs to another config: {differs}; '
        'use another workdir, or remove this one'
      )
  elif any(p.name != '.writable' for p in folder.iterdir()):
    raise ValueError(f'{folder} is not empty and holds no run ({CONFIG})')
  if jax.process_index() == 0:
    checkpoint.write_json(path, settings)
    (folder / 'command.txt').write_text(shlex.join(sys.orig_argv) + '\n')
    checkpoint.write_json(folder / 'environment.json', environment())


def _results(settings: dict) -> dict:
  """The settings without those that do not change a result."""
  return {k: v for k, v in settings.items() if k not in build.LOOP}


def environment() -> dict:
  """Versions, devices and the commit of the code."""
  with contextlib.suppress(OSError, subprocess.SubprocessError):
    commit = subprocess.run(
      ['git', 'rev-parse', 'HEAD'], capture_output=True, text=True, timeout=5,
      cwd=pathlib.Path(__file__).parent, check=False,
    ).stdout.strip()
  return {
    'python': platform.python_version(),
    'machine': f'{platform.system()} {platform.machine()}',
    'devices': [str(d) for d in jax.devices()],
    'commit': commit or 'unknown',
    **{name: importlib.metadata.version(name) for name in _PACKAGES},
  }


def seeds_of(c: config.ConfigDict) -> dict[str, config.ConfigDict]:
  """{folder: config} of the seeds; one seed is the folder itself ('')."""
  if c.seeds == 1:
    return {'': c}
  made = {}
  for i in range(c.seeds):
    one = c.copy_and_resolve_references()
    with one.unlocked():
      one.seed, one.seeds = c.seed + i, 1
    made[f'seed_{c.seed + i}'] = one
  return made


def launch(
  c: config.ConfigDict,
  experiment: build.Experiment,
  workdir: pathlib.Path,
  stop: Callable[[], bool] = lambda: False,
) -> dict:
  """Trains, compares and reports a config: every seed of it.

  Args:
    c: from a config file.
    experiment: built from it.
    workdir: where it is kept.
    stop: asked after every step.

  Returns:
    The report (see `compare`).
  """
  runs = seeds_of(c)
  if list(runs) == ['']:
    return one(experiment, workdir, stop)
  teachers(experiment, workdir, stop)
  folders = []
  for name, seed in runs.items():
    folders.append(workdir / name)
    if (folders[-1] / 'report.json').exists():
      continue
    for teacher in experiment.teachers:
      with seed.unlocked():
        seed.networks[teacher] = {'load': str(workdir / 'networks' / teacher)}
    made = build.make_experiment(seed, experiment.data)
    claim(folders[-1], made.config)
    one(made, folders[-1], stop)
  found = compare.combine(workdir, folders)
  report.write(workdir)
  return found


def one(experiment, folder: pathlib.Path, stop) -> dict:
  """Trains and compares one seed."""
  done = train_in(experiment, folder, stop)
  return compare.run(experiment, done, folder)


def teachers(experiment, folder: pathlib.Path, stop) -> None:
  """Trains the teachers that all seeds share."""
  shared = [s for s in experiment.stages if s.name in experiment.teachers]
  train_in(experiment._replace(stages=shared), folder, stop)


def train_in(experiment, folder, stop) -> dict[str, types.Variables]:
  """Trains the stages of an experiment in a folder."""
  first = jax.process_index() == 0
  writer = metrics.make_writer(folder) if first else metrics.silent()
  try:
    return train.run(experiment, train.Loop(folder, writer, stop))
  finally:
    writer.close()


def describe(experiment: build.Experiment) -> str:
  """Networks with shapes and parameters, stages, terms with weights."""
  lines = []
  inputs = build.example_inputs(experiment.data)
  for name, network in experiment.networks.items():
    variables = jax.eval_shape(network.init, jax.random.key(0), inputs)
    outputs, _ = jax.eval_shape(network.apply, variables, inputs)
    count = sum(x.size for x in jax.tree.leaves(variables['params']))
    lines.append(f'network {name}: {count:,} parameters')
    lines += [
      f"  {key}: {'x'.join(map(str, x.shape[1:]))}"
      for key, x in outputs.items()
    ]
  for stage in experiment.stages:
    lines.append(_describe(stage))
  return '\n'.join(lines)


def _describe(stage: stages.Stage) -> str:
  rows = [
    f'stage {stage.name}: {stage.recipe.steps} steps of '
    f'{stage.recipe.batch_size}; learns: {", ".join(stage.students)}; '
    f'frozen: {", ".join(stage.frozen) or "none"}'
  ]
  for name, term in stage.terms.items():
    knobs = ', '.join(f'{k} {v:g}' for k, v in term.method.hparams.items())
    rows.append(
      f'  term {name}: weight {term.weight:g}, {term.student} from '
      f'{term.teacher}{"; " if knobs else ""}{knobs}'
    )
  return '\n'.join(rows)
