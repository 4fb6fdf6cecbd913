"""Checks the kind and the range of values, as signatures declare them.

A maker of a table annotates its options, `adam(*, b1: kinds.Fraction = 0.9)`;
an option without an annotation has the kind of its default. `options` checks
the options of a user before the maker is called: a wrong kind is an error of
one line, and an exception inside a maker is a bug, which keeps its traceback.
"""

import inspect
import math
import numbers
import re
import types as builtin_types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from kd_jax import types

LARGEST = 3.4028234e38  # finite number of float32, in which we compute
LONGEST = 255  # bytes of a file's name on every usual file system
PRECISIONS = ('float32', 'bfloat16', 'highest')  # see `models.compute`


class Rule(NamedTuple):
  """A condition on a value.

  Attributes:
    words: what it must do, 'be at least 0'.
    holds: value -> whether it does.
  """

  words: str
  holds: Callable[[Any], bool]


def at_least(low: float) -> Rule:
  """low <= x."""
  return Rule(f'be at least {low}', lambda x: x >= low)


def above(low: float) -> Rule:
  """low < x."""
  return Rule(f'be above {low}', lambda x: x > low)


def within(low: float, high: float) -> Rule:
  """low <= x <= high."""
  return Rule(f'lie in [{low}, {high}]', lambda x: low <= x <= high)


def between(low: float, high: float) -> Rule:
  """low < x < high."""
  return Rule(f'lie in ({low}, {high})', lambda x: low < x < high)


def steps_of(window: str) -> tuple[int, int]:
  """(A, B) of 'A:B', a window of steps.

  Raises:
    ValueError: it is not two whole numbers with 0 <= A < B.
  """
  first, end = map(int, window.split(':'))
  if not 0 <= first < end < 2**31:
    raise ValueError(f'no window of steps: {window!r}')
  return first, end


def _is_window(text: Any) -> bool:
  try:
    return isinstance(text, str) and (not text or bool(steps_of(text)))
  except ValueError:
    return False


def is_local(path: str) -> bool:
  """Whether a path is on a file system, and not an address such as gs://."""
  return not re.match(r'[A-Za-z][\w+.-]*:/', path)


def _is_folder_name(name: str) -> bool:
  fits = 0 < len(name.encode(errors='replace')) <= LONGEST // 2
  wrong = re.search(r'^[.\s]|[/\\@]|\s$', name)
  return fits and name.isprintable() and not wrong


NonNegative = Annotated[float, at_least(0)]
Positive = Annotated[float, above(0)]
Share = Annotated[float, within(0, 1)]
Fraction = Annotated[float, Rule('lie in [0, 1)', lambda x: 0 <= x < 1)]
Inside = Annotated[float, between(0, 1)]
Portion = Annotated[float, Rule('lie in (0, 1]', lambda x: 0 < x <= 1)]
# Beyond these T^2, or the logits over T, leave the range of float32's digits.
Temperature = Annotated[float, within(1e-4, 1e4)]
Whole = Annotated[int, at_least(0)]
Count = Annotated[int, at_least(1)]
# JAX makes keys of 32 bits: a larger seed would equal a smaller one.
Seed = Annotated[int, within(0, 2**32 - 1)]
Steps = Annotated[int, within(0, 2**31 - 1)]  # counted in int32
Local = Annotated[
  str,
  Rule('hold no NUL character', lambda x: '\0' not in x),
  Rule(
    'be local (gs:// and the like is not a path of this machine: mount it, or '
    'copy the result)',
    is_local,
  ),
]
NOT_EMPTY = Rule('not be empty', lambda x: len(x) > 0)
Folder = Annotated[Local, NOT_EMPTY]
Name = Annotated[
  str,
  Rule(
    "be a name that a folder can have (no '/', '@' or leading '.')",
    _is_folder_name,
  ),
]
Window = Annotated[
  Any, Rule("be steps A:B with 0 <= A < B, such as 20:30, or ''", _is_window)
]
Names = Annotated[Sequence[str], NOT_EMPTY]

_FINITE = Rule('be finite', math.isfinite)
_F32 = Rule(
  f'be at most {LARGEST:.1e} (float32 ends there)', lambda x: abs(x) <= LARGEST
)
_I64 = Rule('be below 2**63', lambda x: abs(x) < 2**63)
_BOUNDS = {float: (_FINITE, _F32), int: (_I64,)}


def check(what: str, value: Any, kind: Any) -> None:
  """Refuses a value of another kind, or out of its range.

  Args:
    what: the value's name, for the error.
    value: to check.
    kind: a type, a union, a sequence of a kind, or `Annotated` with `Rule`s.

  Raises:
    ValueError: one line, with the value and what it must be.
  """
  origin = typing.get_origin(kind)
  if origin is Annotated:
    base, *rules = typing.get_args(kind)
    check(what, value, base)
    _hold(what, value, rules)
  elif origin in (typing.Union, builtin_types.UnionType):
    _check_any(what, value, typing.get_args(kind))
  elif not _is(value, origin or kind):
    raise ValueError(
      f'{what} must be of type {label(kind)}; got {type(value).__name__} '
      f'{short(value)}'
    )
  elif kind in _BOUNDS:
    _hold(what, value, _BOUNDS[kind])
  elif origin is not None and typing.get_args(kind):
    _check_entries(what, value, kind)


def _hold(what, value, rules: Iterable[Rule]) -> None:
  for rule in rules:
    if not rule.holds(value):
      raise ValueError(f'{what} must {rule.words}, not {short(value)}')


def _check_any(what, value, kinds) -> None:
  """Refuses a value of none of the kinds; messages leave out None."""
  rest = [k for k in kinds if k is not type(None)]
  if value is None and len(rest) < len(kinds):
    return
  for kind in rest[:-1]:
    try:
      return check(what, value, kind)
    except ValueError:
      continue
  check(what, value, rest[-1])


def _check_entries(what, value, kind) -> None:
  """The entries of a sequence, each of its kind."""
  if isinstance(value, Mapping):
    return
  each = [k for k in typing.get_args(kind) if k is not ...]
  if typing.get_origin(kind) is tuple and ... not in typing.get_args(kind):
    if len(value) != len(each):
      raise ValueError(
        f'{what} must have {len(each)} entries, not {len(value)}: '
        f'{short(value)}'
      )
  else:
    each = each * len(value)
  for entry, k in zip(value, each):
    check(f'an entry of {what}', entry, k)


def _is(value, kind) -> bool:
  """Whether a value is of a plain kind; a bool is no number."""
  if kind in (Any, inspect.Parameter.empty):
    return True
  if kind in (float, int) and isinstance(value, bool):
    return False
  if kind in (Sequence, tuple, list):
    # NumPy's arrays have a length and an order too.
    return isinstance(value, Sequence | np.ndarray) and not isinstance(
      value, str
    )
  if kind in (Mapping, dict):
    return isinstance(value, Mapping) or hasattr(value, 'keys')
  plain = {float: numbers.Real, int: numbers.Integral}.get(kind, kind)
  return not isinstance(plain, type) or isinstance(value, plain)


def label(kind: Any) -> str:
  """A kind in words: 'int', 'list of int', 'dict'."""
  origin, arguments = typing.get_origin(kind), typing.get_args(kind)
  if origin is Annotated:
    return label(arguments[0])
  plain = origin or kind
  each = [label(k) for k in arguments if k is not ...]
  if plain in (Sequence, tuple, list):
    return f'list of {", ".join(each)}' if each else 'list'
  if plain in (Mapping, dict):
    return 'dict'
  return getattr(plain, '__name__', str(plain))


def short(value: Any) -> str:
  """The repr of a value, without the middle where it is long."""
  text = ' '.join(repr(value).split())
  return text if len(text) <= 80 else f'{text[:50]}...{text[-20:]}'


def of_default(value: Any) -> Any:
  """The kind of a default; Any where it does not tell."""
  if isinstance(value, bool | int | float | str):
    return type(value)
  return Sequence if isinstance(value, tuple | list) else Any


def of_options(maker: Callable) -> dict[str, Any]:
  """{option: kind} of the parameters that a maker takes by name."""
  return {
    p.name: of_default(p.default) if p.annotation is p.empty else p.annotation
    for p in inspect.signature(maker).parameters.values()
    if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
  }


def defaults(maker: Callable) -> dict[str, Any]:
  """{option: its default} of the parameters of a maker that have one."""
  return {
    p.name: p.default
    for p in inspect.signature(maker).parameters.values()
    if p.default is not p.empty
  }


def entry(kind: str, table: Mapping[str, Any], name: Any) -> Any:
  """The entry of a table.

  Raises:
    ValueError: for a name that it does not hold, with the near ones.
  """
  check(f'the name of a {kind}', name, str)
  if name not in table:
    raise types.unknown(kind, name, table)
  return table[name]


def options(
  owner: str,
  maker: Callable,
  given: Mapping[str, Any],
  *,
  further: Mapping[str, Any] = {},
  passed: Iterable[str] = (),
  unchecked: Iterable[str] = (),
) -> None:
  """Refuses unknown, missing and invalid options of a maker.

  Args:
    owner: whose options they are, for the error: "network 'cnn'".
    maker: called with them afterwards.
    given: {option: value}.
    further: {option: kind} that its signature does not declare.
    passed: parameters that we pass, not the user.
    unchecked: options whose values are checked elsewhere.

  Raises:
    ValueError: one line, naming the owner and the option.
  """
  known = {**of_options(maker), **further}
  known = {k: v for k, v in known.items() if k not in set(passed)}
  for name, value in given.items():
    if name not in known:
      raise types.lacks(owner, 'option', name, known)
    if name not in set(unchecked):
      check(f"'{name}' of {owner}", value, known[name])
  for p in inspect.signature(maker).parameters.values():
    if p.name in known and p.default is p.empty and p.name not in given:
      raise ValueError(f"{owner} needs the option '{p.name}'")
