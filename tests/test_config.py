"""A config: references follow, conventions, overrides."""

import pytest

from kd_jax import build, config, runs

DIGITS = 'experiments/configs/digits.py'


def weights(c) -> tuple[float, float]:
  """(hard, soft) of the resolved config."""
  resolved = config.resolve(c)
  return resolved.terms.hard.weight, resolved.terms.soft.weight


def test_both_weights_follow_alpha():
  c = config.read(DIGITS, {'alpha': '0.3'})
  assert weights(c) == pytest.approx((0.7, 0.3))


def test_the_other_convention_by_name():
  """alpha*hard + (1-alpha)*soft."""
  c = config.read(DIGITS, {'alpha': '0.3', 'alpha_weights': 'hard'})
  assert weights(c) == pytest.approx((0.3, 0.7))
  assert c.alpha == 0.3


def test_a_terms_weight_does_not_change_alpha():
  c = config.read(DIGITS, {'terms.soft.weight': '0.2'})
  assert weights(c) == pytest.approx((1 - c.alpha, 0.2))


def test_the_temperature_reaches_the_method():
  c = config.read(DIGITS, {'temperature': '7'})
  made = build.make_experiment(c)
  term = made.stages[-1].terms['soft']
  assert term.method.hparams == {'temperature': 7.0}
  assert term.weight == pytest.approx(0.9)


def test_copies_of_a_config_are_apart():
  c = config.read(DIGITS)
  made = runs.changed(c, {'alpha': 0.25})
  assert weights(made) == pytest.approx((0.75, 0.25))
  assert c.alpha == 0.9
