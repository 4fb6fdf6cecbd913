"""Lists all that the result of each stage of an experiment depends on."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.extend.core as jex
import numpy as np

from kd_jax import checkpoint, config, schemes, stages, terms
from kd_jax.models import base as models

# The keys of logging and checkpointing, which change no result.
LOOP = ('checkpoint_every', 'keep', 'log_every', 'profile')
# Those of the choice of what is kept: how often 'best' is chosen counts where
# it is what is kept.
SELECT, BEST, EVERY = 'select', 'best', 'eval_every'


def idle(settings: Mapping[str, Any]) -> tuple[str, ...]:
  """The keys of a config, as JSON, that change no result of it."""
  return LOOP if settings.get(SELECT) == BEST else (*LOOP, EVERY)


def of_stages(settings: Mapping[str, Any]) -> dict[str, Any]:
  """The settings on which every stage depends that is not one network's.

  What is kept and the networks of a stage are named apart, and seeds are runs
  of their own.
  """
  apart = (*LOOP, SELECT, EVERY, 'seeds', 'networks')
  return {k: v for k, v in settings.items() if k not in apart}


def stage_identities(
  c: config.ConfigDict,
  trained: list[stages.Stage],
  specs: Mapping[str, Mapping],
  hashes: Mapping[str, str],
  data,
) -> dict[str, dict[str, Any]]:
  """{stage: all that its result depends on, as JSON}.

  A network alone depends on its part of the config, so that it is reused when
  only the distillation has changed; the other stages depend on all of it.
  Auxiliary losses of its other outputs are its part too.

  Args:
    c: the resolved config.
    trained: the stages.
    specs: {network: how it is built}.
    hashes: {network: content hash} of those that are loaded.
    data: the data set.
  """
  whole = config.to_json(c)
  # Left out where the last network is kept, as by default.
  best = (SELECT, EVERY) if c.select == BEST else ()
  chosen = {key: whole[key] for key in best}
  identities = {}
  for stage in trained:
    names = (*stage.students, *stage.frozen)
    identities[stage.name] = {
      'data': {'fingerprint': data.fingerprint, 'seed': c.data.seed},
      'networks': {name: dict(specs[name]) for name in names},
      'stage': stage.name,
      'seed': stage.recipe.seed,
      'steps': stage.recipe.steps,
      'training': whole[stage.recipe.source],
      'steps_at_once': c.steps_at_once,
      **chosen,
    }
    if is_alone(stage):
      identities[stage.name] |= {
        tree: {name: whole[tree][name] for name in names}
        for tree, names in _auxiliary(stage).items()
        if names
      }
    else:
      identities[stage.name] |= {
        'config': of_stages(whole),
        'loaded': dict(hashes),
      }
  return identities


def is_alone(stage: stages.Stage) -> bool:
  """Whether the stage is a network that learns from the labels alone."""
  of, auxiliary = stage.terms, _auxiliary(stage)
  if not (len(of) - len(auxiliary['terms']) == len(stage.students) == 1):
    return False
  (term,) = (t for name, t in of.items() if name not in auxiliary['terms'])
  return (
    term == schemes.hard(stage.students[0])._replace(method=term.method)
    and all(t.teacher == terms.LABELS for t in of.values())
    and term.method.hparams in ({'smoothing': 0.0}, {})
    and not (stage.frozen or stage.starts or stage.trains or stage.transfer)
  )


def _auxiliary(stage: stages.Stage) -> dict[str, list[str]]:
  """{'terms': those whose student is a view, 'views': all of the stage}."""
  of = [n for n, term in stage.terms.items() if term.student in stage.views]
  return {'terms': of, 'views': list(stage.views)}


def of_network(network: models.Network, inputs: jax.ShapeDtypeStruct) -> str:
  """A hash of what a network computes: its jaxprs with their constants.

  Networks of equal programs and constants are equal, whatever their source.

  Args:
    network: any.
    inputs: the shape of a batch [B, ...].
  """
  key = jax.random.key(0)
  variables = models.variable_shapes(network, inputs)

  def train(variables, inputs, key):
    return network.apply(variables, inputs, train=True, rng=key)

  def predict(variables, inputs):
    return network.apply(variables, inputs, train=False)

  programs = [
    jax.make_jaxpr(network.init)(key, inputs),
    jax.make_jaxpr(train)(variables, inputs, key),
    jax.make_jaxpr(predict)(variables, inputs),
  ]
  texts = [re.sub(r' at 0x[0-9a-f]+', '', str(p)) for p in programs]
  constants = [_constants(p) for p in programs]
  return checkpoint.content_hash(
    [np.frombuffer('\n'.join(texts).encode(), np.uint8), constants]
  )


def _constants(program) -> list:
  """The constants of a closed jaxpr, and of those inside of it."""
  constants = list(program.consts)
  for equation in program.jaxpr.eqns:
    for value in jax.tree.leaves(
      list(equation.params.values()),
      is_leaf=lambda x: isinstance(x, jex.ClosedJaxpr),
    ):
      if isinstance(value, jex.ClosedJaxpr):
        constants += _constants(value)
  return constants
