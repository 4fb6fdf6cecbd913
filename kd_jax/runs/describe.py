"""Describes an experiment in words, before anything is trained."""

from kd_jax import build, stages
from kd_jax.models import base as models


def describe(experiment: build.Experiment) -> str:
  """Networks with shapes and parameters, stages, terms with weights."""
  lines = []
  inputs = build.example_inputs(experiment.data)
  for name, network in experiment.networks.items():
    outputs = models.output_shapes(network, inputs)
    count = models.num_params(models.variable_shapes(network, inputs))
    lines.append(f'network {name}: {count:,} parameters')
    lines += [
      f'  {key}: {"x".join(map(str, x.shape[1:]))}'
      for key, x in outputs.items()
    ]
  for stage in experiment.stages:
    lines.append(_describe(stage))
  return '\n'.join(lines)


def _describe(stage: stages.Stage) -> str:
  rows = [
    f'stage {stage.name}: {stage.recipe.steps} steps of '
    f'{stage.recipe.batch_size}; learns: {", ".join(stage.learners)}; '
    f'frozen: {", ".join(stage.frozen) or "none"}'
  ]
  for name, term in stage.terms.items():
    hparams = ''.join(
      f', {key} {value:g}' for key, value in term.method.hparams.items()
    )
    rows.append(
      f'  term {name}: weight {term.weight:g}{hparams}; {term.student} learns '
      f'from {term.teacher}'
    )
  return '\n'.join(rows)
