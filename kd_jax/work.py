"""What the options of the launcher ask for, made ready before it begins."""

import argparse
import shlex
from collections.abc import Callable, Mapping

import jax

from kd_jax import (
  build,
  config,
  describe,
  grid,
  machine,
  runs,
  search,
  settings,
  train,
)
from kd_jax.compare import table
from kd_jax.executors import jobs, process, slurm, status

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
  away = options.status or options.executor != 'grid'
  if away:  # the GPUs are for the children
    jax.config.update('jax_platforms', 'cpu')
  c = config.read(options.config, changes)
  experiment = build.make_experiment(c)
  plan = grid.make_plan(options.strategy, options.lanes, options.halving)
  workdir, many = options.workdir, {}
  if options.sweep is not None:
    swept = settings.named(options.config, options.sweep)
    many = settings.make(options.config, changes, swept, workdir)
  if options.list:
    return lambda stop: settings.describe(many) if many else 'one setting'
  if away:
    return elsewhere(options, changes, swept, many)
  if options.dry_run:
    return lambda stop: describe.describe(experiment)
  if options.search:
    return searched(options, changes, plan)
  if many:
    return together(options, changes, swept, many, plan)
  prepared = runs.prepare({'': c}, workdir, experiment.data)

  def one(stop):
    report = runs.only(runs.train_all(prepared, stop, plan, options.shelf))
    return f'{table.table(report)}\n\n{workdir}/report.html'

  return one


def together(options, changes, swept, many, plan) -> Work:
  """The settings as lanes of this process; raises as `make`."""
  # Each reads the data that it names, which the sweep may change.
  prepared = settings.prepare(many, options.workdir)
  known = jobs.jobs_of(options.config, changes, swept, options.workdir)

  def all_of(stop):
    with status.taken(known if jax.process_index() == 0 else []):
      return settings.table(settings.launch(many, prepared, stop, plan))

  return all_of


def searched(options, changes, plan) -> Work:
  """A search of many dimensions; raises as `make`."""
  search.require_optuna()
  space = search.space_of(options.config)
  return lambda stop: settings.table(
    search.run(
      options.config,
      changes,
      space,
      options.trials,
      options.workdir,
      stop,
      plan=plan,
    )
  )


def elsewhere(options, changes, swept, many) -> Work:
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
    numbers = slurm.run(todo, told, options.retry)
    return lambda stop: slurm.said(numbers, todo)
  process.slots_of(options.workers, machine.cores())  # refuses what cannot be
  if options.dry_run:
    return lambda stop: '\n'.join(shlex.join(job.command) for job in todo)

  def pool(stop):
    gpus = process.gpus()
    codes = process.run(todo, options.workers, stop, options.retry, gpus)
    text = settings.table(settings.collect(many, options.workdir))
    if status.STOPPED_CODE in codes.values():
      raise train.Stopped('the settings that ran')
    if any(codes.values()):
      print(text)
    process.check(codes)
    return text

  return pool
