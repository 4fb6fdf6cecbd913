"""A run on disk: whose folder it is, its seeds, and what is left behind."""

import contextlib
import copy
import importlib.metadata
import pathlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping

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
)
from kd_jax.data import sources

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
  seeds = range(c.seed, c.seed + c.seeds)
  return {f'seed_{n}': changed(c, {'seed': n, 'seeds': 1}) for n in seeds}


def changed(c: config.ConfigDict, setting: Mapping) -> config.ConfigDict:
  """A copy of a config with dotted keys changed; references still follow."""
  made = copy.deepcopy(c)
  for key, value in setting.items():
    config.change(made, key, value)
  return made


def launch(
  c: config.ConfigDict,
  workdir: pathlib.Path,
  stop: Callable[[], bool] = lambda: False,
  data: sources.Data | None = None,
  shelf: pathlib.Path | None = None,
) -> dict:
  """Trains, compares and reports a config: every seed of it.

  Args:
    c: from a config file.
    workdir: where it is kept.
    stop: asked after every step.
    data: in place of the data set that the config names.
    shelf: where runs find what they share.

  Returns:
    The report (see `compare`).

  Raises:
    ValueError: before any work, for a config or folder that cannot be.
    train.Stopped, train.Diverged: see `train.run`.
  """
  seeds = seeds_of(c)
  made = {n: build.make_experiment(one, data) for n, one in seeds.items()}
  claim(workdir, config.to_json(c))
  if list(made) == ['']:
    return one(made[''], workdir, stop, shelf)
  for name, experiment in made.items():
    folder = workdir / name
    claim(folder, experiment.config)
    if not (folder / 'report.json').exists():
      one(experiment, folder, stop, shelf or workdir / 'shelf')
  found = compare.combine(workdir, [workdir / name for name in made])
  report.write(workdir)
  return found


def one(experiment, folder: pathlib.Path, stop, shelf=None) -> dict:
  """Trains and compares one seed; what is finished is not done again."""
  path = folder / 'report.json'
  if path.exists():
    return checkpoint.read_json(path)
  first = jax.process_index() == 0
  writer = metrics.make_writer(folder) if first else metrics.silent()
  try:
    done = train.run(experiment, train.Loop(folder, writer, stop, shelf))
  finally:
    writer.close()
  found = compare.run(experiment, done, folder)
  if first:
    report.write(folder)
  return found


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
