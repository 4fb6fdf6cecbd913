"""ITRD: which of its terms sees the learned map."""

import numpy as np
import pytest

from kd_jax import methods
from kd_jax.losses import information
from tests.helpers.methods import feature_runs


@pytest.mark.parametrize('width', [3, 5])
@pytest.mark.parametrize('variant', ['code', 'paper'])
def test_the_second_term_sees_the_map_where_widths_differ(width, variant):
  student = feature_runs.outputs(x=(3,))
  teacher = feature_runs.outputs(1, y=(width,))
  runner = feature_runs.make(
    'itrd', student, teacher, layers=[('x', 'y')], variant=variant,
    correlation_weight=0.0, mutual_weight=1.0,
  )  # fmt: skip
  dense = runner.variables['params']['pair0']
  mapped = student['x'] @ dense['kernel'] + dense['bias'][None]
  own = student['x'] if width == 3 else mapped
  want = information.itrd_mutual(own, teacher['y'], variant=variant)
  np.testing.assert_allclose(runner.run().values, want, rtol=1e-5)


def test_it_learns():
  student = feature_runs.outputs(x=(2, 2, 2))
  teacher = feature_runs.outputs(1, y=(3,))
  runner = feature_runs.make('itrd', student, teacher, layers=[('x', 'y')])
  means, _ = runner.descend(60, 0.05)
  assert means[-1] < means[0] - 2


def test_another_variant_is_refused():
  with pytest.raises(ValueError, match='unknown variant'):
    methods.make_method('itrd', layers=[('x', 'y')], variant='bits')
