"""Writes a network as an ONNX file, and runs the file in onnxruntime."""

import functools
import itertools
import os
import pathlib
from collections.abc import Mapping

import jax
import numpy as np

from kd_jax.export import formats, need
from kd_jax.export.onnx import graph as graphs
from kd_jax.export.onnx import int8, walk
from kd_jax.models import base

OPSET, IR = 18, 10  # of 2022 and 2024: every maintained runtime reads them
CPU = ['CPUExecutionProvider']
_LARGE = 1 << 14  # numbers of a table that is not to be stored twice


def write(job: formats.Job, path: pathlib.Path) -> None:
  """Writes the forward pass: f32 [batch, H, W, C] -> logits [batch, K].

  Args:
    job: with quantize='int8' a float file is written first, then quantized;
      what makes classes of logits is added at the end, and stays float.
    path: of the file; it can hold 2 GB of weights at most.

  Raises:
    ValueError: one line, for an operation that ONNX cannot express, and where
      the package onnx is missing.
  """
  onnx = need.package('onnx')
  forward = functools.partial(base.make_forward(job.network), job.variables)
  names = formats.input_names(job.shape)
  closed = walk.trace(forward, job.shape)
  graph, logits = walk.write(closed, names)
  avals = [x.aval for x in closed.jaxpr.invars]
  inputs = dict(zip(names, avals))
  tied = job.quantize != 'int8'  # which takes constants alone
  model = _model(graph, inputs, {formats.LOGITS: logits}, tied)
  onnx.checker.check_model(model, full_check=True)
  if job.quantize == 'int8':
    whole = path.with_name(f'{path.name}.f32')
    onnx.save(model, os.fspath(whole))
    if isinstance(job.shape, formats.Text):
      int8.quantize_dynamic(whole, path)
    else:
      int8.quantize(whole, path, job.images(), job.ranges)
    whole.unlink()
    model = onnx.load(os.fspath(path))
  if job.output == formats.CLASSES:
    _add_classes(model, logits.shape, job.shape)
    onnx.checker.check_model(model)
  onnx.save(model, os.fspath(path))


def _used(graph: graphs.Graph, output: graphs.Value):
  """(nodes, initializers) that an output depends on."""
  nodes, names = [], {graphs.name_of(graph, output)}
  for node in reversed(graph.nodes):
    if names & set(node.output):
      nodes.append(node)
      names |= set(node.input)
  initializers = {k: v for k, v in graph.initializers.items() if k in names}
  return nodes[::-1], initializers


def _parts(graph, inputs, outputs, tied=False) -> tuple[list, list, list, list]:
  """Nodes, inputs, outputs and initializers, as ONNX has them.

  Args:
    graph: written.
    inputs: {name: aval}.
    outputs: {name: the one Value}.
    tied: whether tables are stored once that others are transposes of.
  """
  from onnx import helper, numpy_helper

  ((name, value),) = outputs.items()
  nodes, arrays = _used(graph, value)
  if tied:
    nodes, arrays = _tied(nodes, arrays)
  end = helper.make_node('Identity', [value.name], [name], name=f'{name}_end')
  return (
    [*nodes, end],
    [_described(key, x.shape, x.dtype) for key, x in inputs.items()],
    [_described(name, value.shape, value.dtype)],
    [numpy_helper.from_array(x, key) for key, x in arrays.items()],
  )


def _tied(nodes, arrays):
  """Leaves out tables that are others transposed, as of a tied head."""
  from onnx import helper

  tables = [k for k, x in arrays.items() if x.ndim == 2 and x.size > _LARGE]
  for name, other in itertools.combinations(tables, 2):
    left = name in arrays and other in arrays
    if left and np.array_equal(arrays[name], arrays[other].T):
      node = helper.make_node('Transpose', [name], [other], name=f'{other}_t')
      nodes = [node, *nodes]
      arrays = {k: x for k, x in arrays.items() if k != other}
  return nodes, arrays


def _described(name, shape, dtype):
  """An input or output; integers that enter are i64."""
  from onnx import TensorProto, helper

  kinds = {'f': TensorProto.FLOAT, 'i': TensorProto.INT64}
  kind = kinds[np.dtype(dtype).kind]
  if name == formats.CLASSES:
    kind = TensorProto.INT32
  sides = [d if isinstance(d, int) else str(d) for d in shape]
  return helper.make_tensor_value_info(name, kind, sides)


def _model(graph, inputs, outputs, tied):
  from onnx import helper

  nodes, inputs, outputs, arrays = _parts(graph, inputs, outputs, tied)
  return helper.make_model(
    helper.make_graph(nodes, 'kd_jax', inputs, outputs, arrays),
    producer_name='kd_jax',
    ir_version=IR,
    opset_imports=[helper.make_opsetid('', OPSET)],
  )


def _add_classes(model, logits, shape) -> None:
  """Adds what makes the classes [batch, H, W] of logits to a file.

  Args:
    model: changed in place.
    logits: shape of them, [batch, h, w, K].
    shape: of an image, [H, W, C].
  """
  largest = functools.partial(formats.classes, size=shape[:2])
  closed = walk.trace(largest, tuple(logits[1:]))
  graph, value = walk.write(closed, [formats.LOGITS], 'classes_')
  inputs = {formats.LOGITS: closed.jaxpr.invars[0].aval}
  nodes, _, outputs, arrays = _parts(graph, inputs, {formats.CLASSES: value})
  del model.graph.output[:]
  model.graph.node.extend(nodes)
  model.graph.output.extend(outputs)
  model.graph.initializer.extend(arrays)


def make_run(job: formats.Job, path: pathlib.Path):
  """Inputs -> the output, by onnxruntime on the CPU.

  Inputs are images f32 [B, H, W, C], or {name: integers [B, L]} of text. The
  session has no options: what is measured is what a user gets.

  Raises:
    ValueError: the package onnxruntime is missing.
  """
  del job
  runtime = need.package('onnxruntime')
  session = runtime.InferenceSession(os.fspath(path), providers=CPU)
  output = session.get_outputs()[0].name

  def run(inputs) -> np.ndarray:
    if not isinstance(inputs, Mapping):
      return session.run([output], {formats.IMAGES: inputs})[0]
    feed = jax.tree.map(lambda x: np.asarray(x, np.int64), dict(inputs))
    return session.run([output], feed)[0]

  return run
