"""Every network of the zoo as ONNX gives what JAX gives."""

import pytest

from kd_jax.export import parity
from tests.export.onnx import zoo


@pytest.mark.slow
@pytest.mark.parametrize('name', zoo.IMAGES)
def test_its_logits_are_the_same(name, tmp_path):
  pytest.importorskip('onnx')
  pytest.importorskip('onnxruntime')
  assert zoo.difference(name, tmp_path) <= parity.LOGITS
