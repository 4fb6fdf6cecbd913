"""What the options of methods may be is declared, and held against them."""

import inspect
import typing
from typing import Annotated

import jax
import pytest

from kd_jax import kinds, methods
from kd_jax.cache import forms
from kd_jax.methods import known, pairs
from tests.helpers.methods import cases, harness


@pytest.mark.parametrize('name', cases.CASES)
def test_every_hyperparameter_has_a_range(name):
  maker = methods.METHODS[name.partition('/')[0]]
  declared = kinds.of_options(maker)
  for option, value in harness.made_by(name).hparams.items():
    assert typing.get_origin(declared[option]) is Annotated, option
    kinds.check(option, value, declared[option])


@pytest.mark.parametrize('name', methods.METHODS)
@pytest.mark.parametrize('value', ['x', None, {}, float('nan')])
def test_no_option_takes_what_it_is_not(name, value):
  """One at a time; an option for which the value is legal is passed over."""
  for option, kind in kinds.of_options(methods.METHODS[name]).items():
    try:
      kinds.check(option, value, kind)
    except ValueError:
      with pytest.raises(ValueError, match=option):
        methods.make_method(name, **{option: value})


def test_a_maker_tells_what_its_loss_takes():
  known = kinds.of_options(methods.METHODS['kd'])
  assert set(known) == {
    'temperature', 'standardize', 'chunk', 'hidden', 'others'
  }  # fmt: skip
  known = kinds.of_options(methods.METHODS['at'])
  assert set(known) == {'power', 'variant', 'layers', 'adapter'}


@pytest.mark.parametrize(
  'value, kind, message',
  [
    (True, float, 'x must be of type float; got bool True'),
    (1.5, int, 'x must be of type int; got float 1.5'),
    ('ab', typing.Sequence[str], "x must be of type list of str; got str 'ab'"),
    ([1], typing.Sequence[str], 'an entry of x must be of type str; got int 1'),
    ([1, 2, 3], tuple[int, int], 'x must have 2 entries, not 3: [1, 2, 3]'),
    (3, str | None, 'x must be of type str; got int 3'),
    (3, str | dict, 'x must be of type dict; got int 3'),
    (1e39, float, 'x must be at most 3.4e+38 (float32 ends there), not 1e+39'),
    (float('inf'), float, 'x must be finite, not inf'),
    (2, kinds.Share, 'x must lie in [0, 1], not 2'),
    (1, kinds.Fraction, 'x must lie in [0, 1), not 1'),
    ([], kinds.Names, 'x must not be empty, not []'),
  ],
)
def test_a_kind_that_does_not_fit(value, kind, message):
  with pytest.raises(ValueError) as error:
    kinds.check('x', value, kind)
  assert str(error.value) == message


@pytest.mark.parametrize(
  'value, kind',
  [
    (1, float),
    ((1, 2.0), typing.Sequence[float]),
    ([1, 2], tuple[int, int]),
    (None, str | None),
    ('a', str | typing.Sequence[str]),
    (['a'], str | kinds.Names),
    ({'a': 1}, dict),
    (0.0, kinds.Fraction),
  ],
)
def test_a_kind_that_fits(value, kind):
  kinds.check('x', value, kind)


def test_a_hyperparameter_is_declared_not_guessed():
  """`temperature: float = 4` is one; a default written 4.0 alone is none."""

  def declared(student, teacher, *, temperature: float = 4, power=2.0):
    del power
    return ((student - teacher) ** 2).sum(-1) / temperature

  method = pairs.on_logits(declared)()
  assert method.hparams == {'temperature': 4.0}
  assert isinstance(method.hparams['temperature'], float)


@pytest.mark.parametrize('name', methods.METHODS)
def test_every_float_of_a_method_is_a_hyperparameter_or_static_by_choice(name):
  signature = inspect.signature(methods.METHODS[name])
  for parameter in signature.parameters.values():
    if isinstance(parameter.default, float):
      assert parameter.annotation is not parameter.empty, parameter


def test_the_readers_of_the_largest_classes_are_named():
  """`known.READERS`, which an error lists, are those that read them."""
  shape = (2, 3, 17)
  form = {'name': 'top_k', 'k': 4, 'dtype': 'float16'}
  teacher = forms.shapes(form, shape)
  student = {'logits': jax.ShapeDtypeStruct(shape, 'float32')}
  readers = []
  for name in methods.METHODS:
    try:
      made = methods.make_method(name)
      made.init(jax.random.key(0), student, teacher)
    except (ValueError, KeyError):
      continue
    if name not in methods.HARD:
      readers.append(name)
  assert sorted(readers) == sorted(known.READERS)
