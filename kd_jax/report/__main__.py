"""Makes the page of a run again: python -m kd_jax.report DIR."""

import sys

from kd_jax import report

sys.exit(report.main())
