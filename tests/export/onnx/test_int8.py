"""An int8 file gives the same in a default session on every processor."""

import errno
import shutil

import jax
import numpy as np
import pytest
from flax import linen as nn

from kd_jax.export import formats
from kd_jax.export.onnx import writer
from kd_jax.models import base, fake_quant

onnx = pytest.importorskip('onnx')
runtime = pytest.importorskip('onnxruntime')
onnx_reference = pytest.importorskip('onnx.reference')

SHAPE, CLASSES = (4, 4, 3), 5


class Net(nn.Module):
  """A convolution, a dense layer, and a product of activations."""

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(8, (3, 3), name='conv')(x))
    x = x.reshape(x.shape[0], 16, 8)
    x = x @ x.swapaxes(1, 2)
    return nn.Dense(CLASSES, name='dense')(x.reshape(x.shape[0], -1))


def images(count: int) -> np.ndarray:
  rng = np.random.default_rng(0)
  return rng.normal(size=(count, *SHAPE)).astype(np.float32)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  """(job, path of its int8 file)."""
  network = base.from_linen(Net())
  variables = jax.jit(network.init)(jax.random.key(0), images(1))
  path = tmp_path_factory.mktemp('int8') / 'model.onnx'
  job = formats.Job(
    network, variables, SHAPE, {}, 'int8', 'jax', lambda: images(128)
  )
  writer.write(job, path)
  return job, path


def quantized(graph) -> dict[str, np.ndarray]:
  """The constants that (de)quantizing nodes read, but scales and biases."""
  read = {
    name
    for node in graph.node
    if node.op_type in ('QuantizeLinear', 'DequantizeLinear')
    for name in node.input
  }
  arrays = {x.name: onnx.numpy_helper.to_array(x) for x in graph.initializer}
  return {
    name: x
    for name, x in arrays.items()
    if name in read and x.dtype not in (np.float32, np.int32)
  }


def test_every_byte_is_unsigned(written):
  """x86 without VNNI saturates products of an unsigned and a signed byte."""
  graph = onnx.load(written[1]).graph
  held = quantized(graph)
  assert {x.dtype for x in held.values()} == {np.dtype(np.uint8)}
  # Of each layer the weights and their zero points, 128 for each channel.
  centers = [x for name, x in held.items() if name.endswith('_zero_point')]
  centers = [x for x in centers if x.ndim]
  assert sorted(len(x) for x in centers) == [CLASSES, 8]
  assert all((x == 128).all() for x in centers)


def test_weights_are_those_that_training_for_int8_knows(written):
  job, path = written
  graph = onnx.load(path).graph
  arrays = {x.name: onnx.numpy_helper.to_array(x) for x in graph.initializer}
  kernel = job.variables['params']['dense']['kernel']
  (node,) = (
    n
    for n in graph.node
    if n.op_type == 'DequantizeLinear'
    and arrays.get(n.input[0], np.zeros(0)).shape == kernel.shape
  )
  weights, scale, center = (arrays[name] for name in node.input)
  got = (weights.astype(np.float32) - center) * scale
  expected = fake_quant.fake_weights(kernel)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_a_default_session_computes_what_the_file_says(written):
  """Beside ONNX's reference implementation, at the largest activations."""
  path = written[1]
  extreme = 4 * np.sign(images(16))
  (got,) = runtime.InferenceSession(path).run(None, {'images': extreme})
  model = onnx.load(path)
  model.opset_import[0].version = 19  # the first that the reference has
  reference = onnx_reference.ReferenceEvaluator(model)
  (expected,) = reference.run(None, {'images': extreme})
  # Steps may round the other way; a saturated sum is far off.
  np.testing.assert_allclose(got, expected, atol=0.02 * np.abs(expected).max())


def test_a_full_disk_is_seen_before_files_are_cut_short(
  written, tmp_path, monkeypatch
):
  usage = shutil.disk_usage(tmp_path)
  monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage._replace(free=9000))
  with pytest.raises(OSError) as caught:
    writer.write(written[0], tmp_path / 'model.onnx')
  assert caught.value.errno == errno.ENOSPC


def test_the_file_is_checked_in_a_session_without_options(written, monkeypatch):
  given = []
  make = runtime.InferenceSession

  def session(*words, **options):
    given.append((words, options))
    return make(*words, **options)

  monkeypatch.setattr(runtime, 'InferenceSession', session)
  job, path = written
  got = writer.make_run(job, path)(images(3))
  assert given == [((str(path),), {'providers': ['CPUExecutionProvider']})]
  (expected,) = make(path).run(None, {'images': images(3)})
  np.testing.assert_array_equal(got, expected)
