"""What decays, and by how much."""

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import build, config, optim

PARAMS = {'kernel': jnp.ones((2, 3)), 'bias': jnp.ones(3)}
HPARAMS = {'learning_rate': jnp.float32(0.5), 'weight_decay': jnp.float32(0.1)}


def moved(**options) -> dict:
  """What a step of SGD along no gradient adds."""
  tx = optim.make_optimizer('sgd', **options)
  still = {k: jnp.zeros_like(v) for k, v in PARAMS.items()}
  updates, _ = tx.update(still, tx.init(PARAMS), PARAMS, hparams=HPARAMS)
  return updates


def test_biases_and_norms_decay_only_with_all():
  np.testing.assert_allclose(moved()['kernel'], -0.05)
  np.testing.assert_allclose(moved()['bias'], 0.0)
  np.testing.assert_allclose(moved(decay='all')['kernel'], -0.05)
  np.testing.assert_allclose(moved(decay='all')['bias'], -0.05)


@pytest.mark.parametrize('name', optim.OPTIMIZERS)
def test_an_unknown_decay_is_named(name):
  with pytest.raises(ValueError, match="unknown decay 'al'.*did you mean"):
    optim.make_optimizer(name, decay='al')


def test_dot_remembers_what_the_teacher_says_for_longer():
  tx = optim.make_optimizer('dot', momentum=0.5, delta=0.2)
  assert isinstance(tx, optim.OnParts)
  grads = optim.Parts(
    {'kernel': jnp.ones((2, 3))}, {'kernel': jnp.ones((2, 3))}
  )
  params = {'kernel': jnp.ones((2, 3))}
  still = {**HPARAMS, 'weight_decay': jnp.float32(0)}
  state, seen = tx.init(params), []
  for _ in range(2):
    updates, state = tx.update(grads, state, params, hparams=still)
    seen.append(float(updates['kernel'][0, 0]))
  np.testing.assert_allclose(seen, [-0.5 * 2, -0.5 * (1.3 + 1.7)], rtol=1e-6)


def test_dot_of_one_kind_of_terms_is_sgd():
  grads = {'kernel': jnp.full((2, 3), 0.3), 'bias': jnp.ones(3)}
  found = []
  for tx in (
    optim.make_optimizer('dot', momentum=0.8),
    optim.make_optimizer('sgd', momentum=0.8),
  ):
    state = tx.init(PARAMS)
    for _ in range(3):
      updates, state = tx.update(grads, state, PARAMS, hparams=HPARAMS)
    found.append(updates)
  for name in PARAMS:
    np.testing.assert_array_equal(*(x[name] for x in found))


@pytest.mark.parametrize(
  'options, message',
  [
    ({'momentum': 0.95}, 'momentum=0.95 with delta=0.075; legal: '),
    ({'momentum': 0.05}, 'momentum - delta at least 0'),
    ({'clip_norm': 1.0}, 'neither clip_norm=1.0 nor accumulate=1'),
    ({'accumulate': 2}, 'nor accumulate=2; legal: 0 and 1'),
    ({'nesterov': True}, "no option 'nesterov'"),
  ],
)
def test_dot_refuses(options, message):
  with pytest.raises(ValueError, match=message):
    optim.make_optimizer('dot', **options)


def test_a_config_names_it():
  c = config.read('experiments/configs/digits.py')
  c.train.optimizer.name = 'dot'
  c.train.optimizer.options = {'momentum': 0.8, 'delta': 0.1}
  made = build.make_experiment(c)
  on_parts = [isinstance(s.recipe.tx, optim.OnParts) for s in made.stages]
  assert on_parts == [s.recipe.source == 'train' for s in made.stages]
  c.train.optimizer.options.delta = 0.3
  with pytest.raises(ValueError, match='train: .*momentum=0.8 with delta=0.3'):
    build.make_experiment(c)


def test_a_cosine_may_start_late():
  late = optim.make_schedule({'name': 'cosine', 'start': 0.6}, 100)
  usual = optim.make_schedule({'name': 'cosine'}, 40)
  steps = np.arange(0, 101, 10)
  np.testing.assert_array_equal([late(s) for s in steps[:7]], 1.0)
  np.testing.assert_allclose(
    [late(s) for s in steps], [usual(s - 60) for s in steps], atol=1e-6
  )


def test_poly_is_the_rate_of_published_segmentation():
  """CIRKD: 1e-4 + (0.02 - 1e-4) (1 - i / N)^0.9, at i = 0, N / 4 and N."""
  schedule = optim.make_schedule({'name': 'poly', 'end': 1e-4 / 0.02}, 400)
  rates = [float(0.02 * schedule(step)) for step in (0, 100, 400)]
  middle = 1e-4 + 0.0199 * 0.75**0.9
  np.testing.assert_allclose(rates, [0.02, middle, 1e-4], rtol=1e-5)
