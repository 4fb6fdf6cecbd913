"""Prints the tables of finished runs: python -m kd_jax.compare DIR."""

import sys

from kd_jax import compare

sys.exit(compare.main())
