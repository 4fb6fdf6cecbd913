"""Runs a config with its seeds, a sweep or a search in a folder."""

from kd_jax.runs.run import (
  Place,
  Prepared,
  Result,
  build_all,
  changed,
  claim,
  groups_of,
  launch,
  make_group,
  seeds_of,
  train_all,
  train_only,
)

__all__ = [
  'Place',
  'Prepared',
  'Result',
  'build_all',
  'changed',
  'claim',
  'groups_of',
  'launch',
  'make_group',
  'seeds_of',
  'train_all',
  'train_only',
]
