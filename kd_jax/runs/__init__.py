"""Runs in folders: one config with its seeds, a sweep, a search."""

from kd_jax.runs.run import (
  FAILED,
  Place,
  Prepared,
  changed,
  groups_of,
  launch,
  make_group,
  only,
  prepare,
  seeds_of,
  train_all,
)

__all__ = [
  'FAILED',
  'Place',
  'Prepared',
  'changed',
  'groups_of',
  'launch',
  'make_group',
  'only',
  'prepare',
  'seeds_of',
  'train_all',
]
