"""Runs an experiment: the door to `kd_jax.cli`, which says all options."""

import sys

from kd_jax import cli

if __name__ == '__main__':
  sys.exit(cli.main())
