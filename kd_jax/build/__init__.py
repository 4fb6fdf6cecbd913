"""Builds an experiment from a config; nothing that trains reads a config."""

from kd_jax.build.compute import lowered
from kd_jax.build.experiment import (
  Experiment,
  check,
  example_batch,
  in_full,
  make_data,
  make_experiment,
  reader,
)
from kd_jax.build.fingerprint import idle, of_stages
from kd_jax.build.networks import Given, example_inputs, make_network

__all__ = [
  'Experiment',
  'Given',
  'check',
  'example_batch',
  'example_inputs',
  'idle',
  'in_full',
  'lowered',
  'make_data',
  'make_experiment',
  'make_network',
  'of_stages',
  'reader',
]
