"""Trains the stages of experiments: the loop, its lanes, what they leave."""

from kd_jax.training.finished import Finished, Session
from kd_jax.training.loop import ALONE, Plan, make_plan
from kd_jax.training.run import run, run_all, train_stage

__all__ = [
  'ALONE',
  'Finished',
  'Plan',
  'Session',
  'make_plan',
  'run',
  'run_all',
  'train_stage',
]
