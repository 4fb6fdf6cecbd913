"""Turns the options of the command line into work, and validates them first."""

import argparse
import pathlib
import shlex
from collections.abc import Callable, Mapping, Sequence

import jax

from kd_jax import build, config, errors, identities, machine, runs, sweep
from kd_jax.compare import table
from kd_jax.executors import hardware, jobs, process, slurm, status
from kd_jax.runs import describe, folders, search, sweep_run, tuned
from kd_jax.training import halving, loop

# `stop`, called after every step -> the text to print at the end.
Work = Callable[[Callable[[], bool]], str]


def make(options: argparse.Namespace, changes: Mapping[str, str]) -> Work:
  """Makes the work of a command line.

  Args:
    options: of `cli.parse`.
    changes: {dotted key: text} of the config.

  Raises:
    ValueError: one line, for invalid options, before any work.
  """
  if options.status or options.executor != 'grid':
    # The GPUs are for the children.
    jax.config.update('jax_platforms', 'cpu')
  c = config.read(options.config, changes)
  if c.get('deterministic') is True:
    machine.make_deterministic()
  plan = loop.make_plan(options.strategy, options.lanes, options.halving)
  if options.sweep is not None and options.search:
    return tuned_each(options, changes, c, plan)
  if options.sweep is not None:
    return swept(options, changes, c, plan)
  if options.search:
    return searched(options, changes, c, plan)
  if options.dry_run or options.list:
    experiment = build.make_experiment(c)
    text = 'one setting' if options.list else describe.describe(experiment)
    return lambda stop: text
  prepared = runs.build_all({'': c}, options.workdir)
  make_room(options)
  runs.claim(prepared)

  def train(stop):
    result = runs.train_all(prepared, stop, plan, options.shelf)['']
    return f'{table.table(result.unwrap())}\n\n{options.workdir}/report.html'

  return train


def make_room(options) -> None:
  """Moves the content of the workdir aside where --overwrite is given."""
  if options.overwrite:
    folders.make_room(options.workdir)


def swept(options, changes, c, plan) -> Work:
  """Lists the settings of a sweep, shows or trains them; raises as `make`.

  Args:
    options, changes: as in `make`.
    c: the config that the settings change.
    plan: how they are trained at once.
  """
  settings = sweep_run.named(options.config, options.sweep)
  if options.executor == 'grid':
    one_process(settings)
  workdir = options.workdir or pathlib.Path()
  many = sweep_run.make(options.config, changes, settings, workdir)
  todo = jobs.jobs_of(options.config, changes, settings, workdir)
  if options.status:
    states = sweep_run.progress(workdir, todo)
    return lambda stop: status.table(states)
  check_apart(many)
  if options.list:
    text = sweep_run.describe(many)
    return lambda stop: text
  # All settings are built before any begins: the last may be a mistake.
  prepared = sweep_run.build_all(many, workdir)
  if plan.halving:
    built = (e for group in prepared.groups for _, e in group)
    halving.need_validation(built, '--halving')
  if options.executor == 'slurm':
    return on_slurm(options, c, todo)
  if options.executor == 'process':
    return in_processes(options, c, todo, many)
  if options.dry_run:
    (_, first), *_ = prepared.groups[0]
    settings = sweep_run.describe(many, first.data)
    text = f'{describe.describe(first)}\n\n{settings}'
    return lambda stop: text
  make_room(options)
  runs.claim(prepared, sweep_of=config.to_json(c))

  def all_of(stop):
    with status.taken(todo if jax.process_index() == 0 else []):
      rows = sweep_run.launch(many, prepared, stop, plan)
      return sweep_run.summary(rows, workdir)

  return all_of


def check_apart(many: Mapping[str, sweep_run.Swept]) -> None:
  """Refuses settings that are the same experiment; raises as `make`."""
  flat = {}
  for name, setting in many.items():
    whole = config.to_json(config.resolve(setting.config))
    read = {k: v for k, v in whole.items() if k not in config.REFERRED}
    flat[name] = identities.flatten(read)
  sweep.check_apart(flat)


def one_process(settings: Sequence[sweep.Setting]) -> None:
  """Refuses settings that a single process cannot have side by side.

  Raises:
    ValueError: naming the key.
  """
  if any('deterministic' in setting for setting in settings):
    raise ValueError(
      "'deterministic' is of a whole process, not of a setting: give it as "
      '--config.deterministic, or --executor process'
    )


def searched(options, changes, c, plan) -> Work:
  """Searches many dimensions; raises as `make`."""
  search.require_optuna()
  space = search.space_of(options.config)
  one_process([space])
  # The data set is read once, unless the search changes it.
  named = any(key == 'data' or key.startswith('data.') for key in space)
  experiment = build.make_experiment(c)
  data = None if named else experiment.data
  search.check_space(options.config, changes, space, data)
  if options.dry_run:
    text = f'{describe.describe(experiment)}\n\n{search.describe(space)}'
    return lambda stop: text
  claim(options, c)
  search.check_study(options.workdir, space)
  return lambda stop: sweep_run.summary(
    search.run(
      options.config,
      changes,
      space,
      options.trials,
      options.workdir,
      stop,
      data,
      plan,
    ),
    options.workdir,
  )


def tuned_each(options, changes, c, plan) -> Work:
  """Searches for each setting of a sweep, and trains it; raises as `make`."""
  search.require_optuna()
  settings = sweep_run.named(options.config, options.sweep)
  spaces = tuned.spaces(options.config, settings)
  one_process([*settings, *spaces.values()])
  tuned.check(options.config, changes, settings)
  if options.dry_run:
    experiment = build.make_experiment(c)
    parts = [f'{k}, {search.describe(v)}' for k, v in spaces.items()]
    text = '\n'.join([describe.describe(experiment), '', *parts])
    return lambda stop: text
  claim(options, c)
  for name, space in spaces.items():
    search.check_study(options.workdir / tuned.TUNING / name, space)
  return lambda stop: sweep_run.summary(
    tuned.run(
      options.config,
      changes,
      settings,
      options.trials,
      options.workdir,
      stop,
      plan,
    ),
    options.workdir,
  )


def claim(options, c) -> None:
  """Claims the workdir of a sweep or a search, before it is filled."""
  make_room(options)
  folders.claim_sweep(options.workdir, config.to_json(c))


def on_slurm(options, c, todo) -> Work:
  """Submits the settings as jobs of a cluster; raises as `make`."""
  given = slurm.make_options(
    options.partition,
    options.time,
    options.gpus,
    options.cpus,
    options.workers,
    options.sbatch,
  )
  if options.dry_run:
    script = slurm.script(todo, given)
    return lambda stop: script
  claim(options, c)
  numbers = slurm.run(todo, given, options.retry)
  return lambda stop: slurm.summary(numbers, todo)


def in_processes(options, c, todo, many) -> Work:
  """Trains the settings in processes of this machine; raises as `make`."""
  process.slots_of(options.workers, hardware.cores())  # refuses invalid workers
  if options.dry_run:
    return lambda stop: '\n'.join(shlex.join(job.command) for job in todo)
  claim(options, c)

  def pool(stop):
    gpus = process.gpus()
    codes = process.run(todo, options.workers, stop, options.retry, gpus)
    rows = sweep_run.collect(many, options.workdir)
    text = sweep_run.summary(rows, options.workdir)
    if errors.STOPPED in codes.values():
      raise errors.StoppedError('the settings that ran')
    if any(codes.values()):
      print(text)
    process.check(codes)
    return text

  return pool
