"""Finds the terms that read labels, where some examples have none."""

from collections.abc import Mapping

from kd_jax import stages, state, terms, types
from kd_jax.models import base as models

REMEDY = (
  "leave such terms out, give a teacher by networks.NAME = dict(load='DIR'), "
  'and set baseline=False; or give a number of labels'
)


def marked(
  stage: stages.Stage,
  networks: Mapping[str, models.Network],
  batch: types.Batch,
  some: bool,
) -> stages.Stage:
  """The stage, each of whose terms knows whether it counts all examples.

  Args:
    stage: any.
    networks: {name: Network}.
    batch: the shapes of a prepared batch.
    some: whether some examples have labels.

  Raises:
    ValueError: one line that names the first term that reads labels, where
      there are none, or that couples labels of which some are missing.
  """
  signals = state.signal_shapes(networks, stage, batch)
  reading = terms.need_labels(
    stage.terms, stage.views, *state.term_shapes(stage, signals), batch
  )
  if reading and not some:
    name = next(name for name in stage.terms if name in reading)
    raise ValueError(
      f"stage '{stage.name}': term '{name}' reads labels, and data.labels is "
      f"'none'; {REMEDY}"
    )
  for name in stage.terms:
    if name in reading and stage.terms[name].method.batchwise:
      raise ValueError(
        f"stage '{stage.name}': term '{name}' compares the labels of the "
        "examples of a batch, and some have none; legal: data.labels='all'"
      )
  return stage._replace(
    terms={
      name: term._replace(labelled=name in reading)
      for name, term in stage.terms.items()
    }
  )
