"""Builds an experiment from a config; nothing else reads a config."""

from kd_jax.build.experiment import (
  LOOP,
  Experiment,
  check,
  example_batch,
  example_inputs,
  fingerprint,
  make_data,
  make_experiment,
  make_network,
  reader,
)

__all__ = [
  'LOOP',
  'Experiment',
  'check',
  'example_batch',
  'example_inputs',
  'fingerprint',
  'make_data',
  'make_experiment',
  'make_network',
  'reader',
]
