"""Writes a network as an ONNX file, and runs the file in onnxruntime."""

import os
import pathlib

import numpy as np

from kd_jax.export import formats, need
from kd_jax.export.onnx import graph as graphs
from kd_jax.export.onnx import int8, walk

OPSET, IR = 18, 10  # of 2022 and 2024: every maintained runtime reads them
CPU = ['CPUExecutionProvider']


def write(job: formats.Job, path: pathlib.Path) -> None:
  """Writes the forward pass: f32 [batch, H, W, C] -> logits [batch, K].

  Args:
    job: with quantize='int8' a float file is written first, then quantized.
    path: of the file; it can hold 2 GB of weights at most.

  Raises:
    ValueError: one line, for an operation that ONNX cannot express, and where
      the package onnx is missing.
  """
  onnx = need.package('onnx')
  closed = walk.trace(job.network, job.variables, job.shape)
  graph, logits = walk.write(closed)
  images = closed.jaxpr.invars[0].aval.shape
  model = _model(*_used(graph, logits), images, logits)
  onnx.checker.check_model(model, full_check=True)
  if job.quantize != 'int8':
    onnx.save(model, os.fspath(path))
    return
  whole = path.with_name(f'{path.name}.f32')
  onnx.save(model, os.fspath(whole))
  int8.quantize(whole, path, job.images(), job.ranges)
  whole.unlink()


def _used(graph: graphs.Graph, logits: graphs.Value):
  """(nodes, initializers) that the logits depend on."""
  nodes, names = [], {graphs.name_of(graph, logits)}
  for node in reversed(graph.nodes):
    if names & set(node.output):
      nodes.append(node)
      names |= set(node.input)
  initializers = {k: v for k, v in graph.initializers.items() if k in names}
  return nodes[::-1], initializers


def _model(nodes, initializers, images, logits):
  from onnx import TensorProto, helper, numpy_helper

  text = lambda shape: [  # noqa: E731
    d if isinstance(d, int) else str(d) for d in shape
  ]
  kind = TensorProto.FLOAT
  end = helper.make_node(
    'Identity', [logits.name], [formats.LOGITS], name='end'
  )
  graph = helper.make_graph(
    [*nodes, end],
    'kd_jax',
    [helper.make_tensor_value_info(formats.IMAGES, kind, text(images))],
    [helper.make_tensor_value_info(formats.LOGITS, kind, text(logits.shape))],
    [numpy_helper.from_array(x, name) for name, x in initializers.items()],
  )
  return helper.make_model(
    graph,
    producer_name='kd_jax',
    ir_version=IR,
    opset_imports=[helper.make_opsetid('', OPSET)],
  )


def make_run(job: formats.Job, path: pathlib.Path):
  """images f32 [B, H, W, C] -> logits f32 [B, K], by onnxruntime on CPU.

  The session has no options: what is measured is what a user gets.

  Raises:
    ValueError: the package onnxruntime is missing.
  """
  del job
  runtime = need.package('onnxruntime')
  session = runtime.InferenceSession(os.fspath(path), providers=CPU)

  def run(images: np.ndarray) -> np.ndarray:
    return session.run([formats.LOGITS], {formats.IMAGES: images})[0]

  return run
