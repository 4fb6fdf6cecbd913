"""SDD: the student's classifier learns too, and what is refused."""

import jax
import numpy as np
import pytest

from kd_jax import methods
from tests.helpers.methods import harness, signals

BATCH = signals.batch()


@pytest.mark.parametrize('name', ['sdd_kd', 'sdd_dkd', 'sdd_nkd'])
def test_the_students_classifier_learns(name):
  _, _, (_, pull, _) = harness.plain(name)
  assert harness.norm(pull['head']) > 0
  assert harness.norm(pull['last']) > 0
  assert not harness.norm(pull['logits'])


def test_one_region_is_the_loss_on_the_logits():
  outputs = [signals.draw(x, i) for i, x in enumerate(
    (signals.STUDENT, signals.TEACHER))]  # fmt: skip
  for side in outputs:
    head = side['head']
    pooled = side['last'].mean((1, 2))
    side['logits'] = pooled @ head['kernel'] + head['bias']
  of = {}
  for name, options in (
    ('sdd_dkd', {'layers': [('last', 'last')], 'scales': (1,)}),
    ('dkd', {}),
  ):
    method = methods.make_method(name, **options)
    numbers = method.hparams
    loss = jax.jit(method.loss)
    of[name], _ = loss({'state': {}}, *outputs, BATCH, numbers)
  np.testing.assert_allclose(of['sdd_dkd'], of['dkd'], rtol=1e-4)


@pytest.mark.parametrize(
  'options, message',
  [
    ({'layers': [('last', 'map1')]}, r"the map \[B, H, W, 7\].*'map1'"),
    ({'layers': [('features', 'last')]}, r'the map \[B, H, W, 6\]'),
    ({'layers': [('last', 'last')], 'scales': (2,)}, 'must begin with 1'),
  ],
)
def test_refuses(options, message):
  shapes = [
    signals.shapes_of(signals.draw(x, 0))
    for x in (signals.STUDENT, signals.TEACHER)
  ]
  with pytest.raises(ValueError, match=message):
    methods.make_method('sdd_kd', **options).init(jax.random.key(0), *shapes)
