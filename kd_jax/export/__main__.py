"""python -m kd_jax.export RUN_OR_NETWORK --format onnx --out DIR"""

import sys

from kd_jax import export

if __name__ == '__main__':
  sys.exit(export.main())
