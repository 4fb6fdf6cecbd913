"""The student of digits.py trained for int8, by its full-precision teacher.

Kernels and inputs of every layer are rounded as int8 rounds them while the
student trains (kd_jax/models/fake_quant.py); all else is digits.py, so that
the student there, quantized after training, is the one to compare with:

  python -m experiments.launch \
    --config experiments/configs/digits_quantized.py \
    --workdir runs/digits_quantized
  python -m experiments.quantized runs/digits runs/digits_quantized
"""

from experiments.configs import digits


def get_config():
  """digits.py with a student that is quantized as it trains."""
  c = digits.get_config()
  c.networks.student = dict(name='cnn', hidden=8, quantize='int8')
  return c
