"""Twenty steps of distillation beside PyTorch's, and what is refused."""

import jax
import numpy as np
import pytest

from tests import golden, golden_trajectory
from tests.helpers import shared


@pytest.fixture(scope='module')
def trained():
  """The golden values, and what our step gives for them."""
  raw_dir = shared.need('data', 'mnist')
  values = golden_trajectory.read(golden.VALUES / 'trajectory/basic.npz')
  with jax.default_matmul_precision('highest'):
    return values, golden_trajectory.train(values, str(raw_dir))


@pytest.mark.slow
def test_every_step_agrees(trained):
  lines = golden_trajectory.check(*trained)
  assert len(lines) == 6
  assert all(good for good, _ in lines), lines


@pytest.mark.slow
@pytest.mark.parametrize(
  'key', [*golden_trajectory.LOSSES, 'final_logits_first8', 'teacher_params']
)
def test_a_difference_is_seen(trained, key):
  values, found = trained
  changed = {**values, key: values[key] * (1 + 2e-4)}
  if key == 'teacher_params':
    changed[key] = values[key] + 1
  bad = [
    line for good, line in golden_trajectory.check(changed, found) if not good
  ]
  assert len(bad) == 1 and bad[0].startswith(key)


@pytest.mark.slow
def test_nan_does_not_agree(trained):
  values, found = trained
  wrong = {**found, 'soft': [np.nan] * len(found['soft'])}
  assert not all(g for g, _ in golden_trajectory.check(values, wrong))


def test_what_is_no_trajectory_is_refused(tmp_path, capsys):
  np.savez(tmp_path / 'other.npz', total=np.ones(3))
  assert golden_trajectory.main([str(tmp_path / 'other.npz')]) == 2
  assert 'has no hard, soft, temperature' in capsys.readouterr().err
  assert golden_trajectory.main([str(tmp_path / 'none.npz')]) == 2
