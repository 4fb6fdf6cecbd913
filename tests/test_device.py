"""What is known of devices, and the FLOP of a program."""

import jax
import jax.numpy as jnp

from kd_jax import device


def test_the_peak_of_known_devices():
  assert device.peak_flops('bfloat16', 'NVIDIA H200') == 989e12
  assert device.peak_flops('float32', 'NVIDIA A100-SXM4-80GB') == 156e12
  # The longest name that fits: an L40S is no L4.
  assert device.peak_flops('float32', 'NVIDIA L40S') == 183e12
  assert device.peak_flops('bfloat16', 'Tesla T4') is None
  assert device.peak_flops('float32', 'cpu') is None
  assert device.peak_flops('float32') is None  # a CPU
  for peaks in device.PEAKS.values():
    assert peaks.get('bfloat16', 1e9) >= peaks['float32']


def test_the_flop_of_a_product():
  product = jax.jit(jnp.dot)
  args = jnp.zeros((4, 8)), jnp.zeros((8, 16))
  assert device.flops(product, *args) == 2 * 4 * 8 * 16
  assert device.free() > 0
