"""A sweep: products, samples, the command line's words, names of settings."""

import pytest

from kd_jax import sweep
from kd_jax.runs import sweep_run

DIGITS = 'experiments/configs/digits.py'
SHIFT, MIXUP = dict(name='shift', pixels=1), dict(name='mixup', alpha=0.5)


@pytest.mark.parametrize(
  'value, text',
  [
    (0.5, '0.5'),
    (4.0, '4'),
    ('kd', 'kd'),
    ((SHIFT, MIXUP), 'shift pixels=1 + mixup alpha=0.5'),
    ((), 'none'),
    ([32, 16], '32 + 16'),
    ({'load': 'a/b'}, 'load=a/b'),
  ],
)
def test_a_value_in_a_few_words(value, text):
  assert sweep.text_of(value) == text


def test_a_setting_is_named_by_what_it_changes():
  made = sweep.name_of({'temperature': 4.0, 'augment': (SHIFT, MIXUP)})
  assert made == 'augment=shift_pixels_1+mixup_alpha_0.5,temperature=4'


def test_product_grid_zipped_chain():
  two = sweep.grid('a', 1, 2)
  assert sweep.product(two, sweep.grid('b', 3)) == [
    {'a': 1, 'b': 3},
    {'a': 2, 'b': 3},
  ]
  assert sweep.zipped(two, sweep.grid('b', 3, 4)) == [
    {'a': 1, 'b': 3},
    {'a': 2, 'b': 4},
  ]
  assert sweep.chain(two, sweep.grid('b', 3))[-1] == {'b': 3}


def test_samples_are_seeded_and_in_range():
  draws = {
    'lr': sweep.log_uniform(1e-3, 1e-1),
    'b': sweep.uniform(0, 1),
    'c': sweep.choice('x', 'y'),
  }
  made = sweep.sample(50, draws, seed=3)
  assert made == sweep.sample(50, draws, seed=3)
  assert made != sweep.sample(50, draws, seed=4)
  assert all(1e-3 <= m['lr'] <= 1e-1 and 0 <= m['b'] <= 1 for m in made)
  below = sum(m['lr'] < 1e-2 for m in made)
  assert 10 < below < 40  # half, were it uniform in the logarithm


def test_a_sweep_on_the_command_line():
  made = sweep.parse('temperature=1,2;alpha=0.1:0.9:5')
  assert len(made) == 10
  assert made[1] == {'temperature': '1', 'alpha': 0.3}


@pytest.mark.parametrize(
  'text, message',
  [
    ('', 'empty'),
    ('alpha', 'unknown sweep'),
    ('alpha=', "'alpha='"),
    ('alpha=0:1:x', 'low:high:count'),
    ('a=1;a=2', "'a'"),
  ],
)
def test_a_sweep_that_cannot_be(text, message):
  with pytest.raises(ValueError, match=message):
    sweep_run.named(DIGITS, text)


def test_settings_of_a_sweep_are_checked_before_any_work():
  with pytest.raises(ValueError, match='alhpa'):
    sweep_run.make(DIGITS, {}, [{'alhpa': 1.0}])
  with pytest.raises(ValueError, match='temperature'):
    sweep_run.make(DIGITS, {}, [{'temperature': -1.0}])
  with pytest.raises(ValueError, match='same folder'):
    sweep_run.make(DIGITS, {}, [{'alpha': 0.5}, {'alpha': 0.5}])


def test_stackable_names_the_key_that_splits():
  configs = {
    'a': {'alpha': 0.1, 'batch': 32},
    'b': {'alpha': 0.9, 'batch': 32},
    'c': {'alpha': 0.1, 'batch': 64},
  }
  groups = sweep.stackable(configs, lambda key: key == 'alpha')
  assert groups == [(None, ['a', 'b']), ('batch', ['c'])]


def test_an_arg_of_a_setting_is_another_config():
  file = 'experiments/configs/digits_methods.py'
  swept = sweep.product(sweep.grid('arg', 'dkd', 'at'), sweep.grid('seed', 3))
  made = sweep_run.make(file, {'seeds': '2'}, swept)
  assert list(made) == ['arg=dkd,seed=3', 'arg=at,seed=3']
  one = made['arg=at,seed=3'].config
  assert (one.terms.soft.method, one.seed, one.seeds) == ('at', 3, 2)
