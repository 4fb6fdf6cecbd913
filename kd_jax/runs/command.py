"""What the options of the launcher ask for, made ready before it begins."""

import argparse
import shlex
from collections.abc import Callable, Mapping

import jax

from kd_jax import build, config, errors, runs
from kd_jax.compare import table
from kd_jax.executors import hardware, jobs, process, slurm, status
from kd_jax.runs import describe, folders, search, sweep_run
from kd_jax.training import loop

# Asked after every step -> what is said when all is done.
Work = Callable[[Callable[[], bool]], str]


def make(options: argparse.Namespace, changes: Mapping[str, str]) -> Work:
  """The work of a command line.

  Args:
    options: of `experiments.launch`.
    changes: {dotted key: text} of the config.

  Raises:
    ValueError: one line, for what cannot be meant; nothing has begun.
  """
  if options.workdir is not None:
    folders.check_path(options.workdir, '--workdir')
  away = options.status or options.executor != 'grid'
  if away:  # the GPUs are for the children
    jax.config.update('jax_platforms', 'cpu')
  c = config.read(options.config, changes)
  experiment = build.make_experiment(c)
  plan = loop.make_plan(options.strategy, options.lanes, options.halving)
  workdir, data, many = options.workdir, experiment.data, {}
  if options.sweep is not None:
    swept = sweep_run.named(options.config, options.sweep)
    many = sweep_run.make(options.config, changes, swept, workdir)
  if options.list:
    return lambda stop: sweep_run.describe(many) if many else 'one setting'
  if away:
    return elsewhere(options, changes, c, swept, many)
  if options.dry_run:
    return lambda stop: describe.describe(experiment)
  if options.search:
    return searched(options, changes, data, plan)
  if many:
    return together(options, changes, c, swept, many, data, plan)
  prepared = runs.build_all({'': c}, workdir, data)
  make_room(options)
  runs.claim(prepared)

  def train(stop):
    result = runs.train_all(prepared, stop, plan, options.shelf)['']
    return f'{table.table(result.unwrap())}\n\n{workdir}/report.html'

  return train


def make_room(options) -> None:
  """Moves what is in the workdir aside, where --overwrite says so."""
  if options.overwrite:
    folders.make_room(options.workdir)


def together(options, changes, c, swept, many, data, plan) -> Work:
  """The settings as lanes of this process; raises as `make`."""
  prepared = sweep_run.build_all(many, options.workdir, data)
  make_room(options)
  runs.claim(prepared, sweep_of=config.to_json(c))
  known = jobs.jobs_of(options.config, changes, swept, options.workdir)

  def all_of(stop):
    with status.taken(known if jax.process_index() == 0 else []):
      rows = sweep_run.launch(many, prepared, stop, plan)
      return sweep_run.summary(rows, options.workdir)

  return all_of


def searched(options, changes, data, plan) -> Work:
  """A search of many dimensions; raises as `make`."""
  search.require_optuna()
  space = search.space_of(options.config)
  make_room(options)
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


def claim(options, c) -> None:
  """Claims the workdir of a sweep whose settings run elsewhere."""
  make_room(options)
  folders.claim_sweep(options.workdir, config.to_json(c))


def elsewhere(options, changes, c, swept, many) -> Work:
  """What the settings of a sweep come to outside of this process.

  Raises:
    ValueError: as `make`.
  """
  todo = jobs.jobs_of(options.config, changes, swept, options.workdir)
  if options.status:
    return lambda stop: status.table(status.of(todo))
  if options.executor == 'slurm':
    told = slurm.make_options(
      options.partition,
      options.time,
      options.gpus,
      options.cpus,
      options.workers,
      options.sbatch,
    )
    if options.dry_run:
      script = slurm.script(todo, told)
      return lambda stop: script
    claim(options, c)
    numbers = slurm.run(todo, told, options.retry)
    return lambda stop: slurm.said(numbers, todo)
  process.slots_of(options.workers, hardware.cores())  # refuses what cannot be
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
