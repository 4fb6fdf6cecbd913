"""digits.py with networks that compute in bf16.

Parameters, statistics, logits, losses and the optimizer stay f32; the teacher's
weights are rounded once. It is for accelerators: CPUs gain nothing, and show
that the numbers are as good. `--sweep precision` has both side by side.

  python -m experiments.launch \
    --config experiments/configs/digits_bfloat16.py --workdir runs/bfloat16
"""

from experiments.configs import digits
from kd_jax import sweep


def get_config():
  """digits.py in bf16."""
  c = digits.get_config()
  c.precision = 'bfloat16'
  return c


def sweep_precision():
  """bf16 beside f32."""
  return sweep.grid('precision', 'bfloat16', 'float32')
