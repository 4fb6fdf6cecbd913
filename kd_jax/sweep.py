"""Makes sweeps, lists of settings {dotted.key: value}, and combines them.

product(grid('temperature', 1., 4.), grid('alpha', .5, .9))    four settings
zipped(grid('alpha', .1, .9), grid('seed', 0, 1))              two
chain(grid('beta', 0.), sample(3, {'beta': uniform(1, 100)}))  one and three
"""

import hashlib
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from kd_jax import kinds

Setting = dict[str, Any]
# Settings of a sweep: each takes a folder and a config in memory. More of them
# are a mistake, such as a step size in place of a count.
MOST = 10_000
LONGEST = 200  # bytes of a setting's folder; file systems take 255


def grid(key: str, *values) -> list[Setting]:
  """One setting for each value of a key."""
  if not values:
    raise ValueError(f"an empty sweep: grid('{key}') has no values")
  return [{key: value} for value in values]


def product(*sweeps: Sequence[Setting]) -> list[Setting]:
  """Every combination of a setting of each; the last varies fastest.

  Raises:
    ValueError: for a key that two sweeps change, or more than `MOST`.
  """
  check_count(math.prod(map(len, sweeps)))
  settings = []
  for combination in itertools.product(*sweeps):
    merged = {}
    for setting in combination:
      both = merged.keys() & setting.keys()
      if both:
        raise ValueError(f"'{both.pop()}' is in two sweeps of a product")
      merged |= setting
    settings.append(merged)
  return settings


def check_count(count: int, what: str = 'settings') -> None:
  """Refuses more settings than a sweep can have, before they are made.

  Raises:
    ValueError: with the count.
  """
  if count > MOST:
    raise ValueError(
      f'{count:,} {what} are more than the {MOST:,} that a sweep can have; '
      'sample some of them'
    )


def zipped(*sweeps: Sequence[Setting]) -> list[Setting]:
  """The first settings together, the second together, and so on.

  Raises:
    ValueError: where the sweeps have different lengths.
  """
  lengths = [len(sweep) for sweep in sweeps]
  if len(set(lengths)) > 1:
    raise ValueError(f'zipped sweeps have different lengths: {lengths}')
  return [
    {k: v for s in settings for k, v in s.items()} for settings in zip(*sweeps)
  ]


def chain(*sweeps: Sequence[Setting]) -> list[Setting]:
  """One sweep after the other."""
  return [setting for sweep in sweeps for setting in sweep]


class Draw(NamedTuple):
  """A distribution of the values of a key.

  Attributes:
    kind: 'uniform', 'log_uniform' or 'choice'.
    low, high: of the first two.
    values: of the last.
  """

  kind: str
  low: float = 0.0
  high: float = 0.0
  values: tuple = ()

  def __call__(self, rng: random.Random) -> Any:
    """Draws a value."""
    if self.kind == 'choice':
      return rng.choice(self.values)
    if self.kind == 'uniform':
      return rng.uniform(self.low, self.high)
    return math.exp(rng.uniform(math.log(self.low), math.log(self.high)))


def uniform(low: float, high: float) -> Draw:
  """A draw between two numbers."""
  for name, value in (('low', low), ('high', high)):
    kinds.check(f'{name} of uniform', value, float)
  if low > high:
    raise ValueError(f'uniform needs low <= high, not {low}, {high}')
  return Draw('uniform', low, high)


def log_uniform(low: float, high: float) -> Draw:
  """A draw whose logarithm is uniform."""
  for name, value in (('low', low), ('high', high)):
    kinds.check(f'{name} of log_uniform', value, float)
  if not 0 < low <= high:
    raise ValueError(f'log_uniform needs 0 < low <= high, not {low}, {high}')
  return Draw('log_uniform', low, high)


def choice(*values) -> Draw:
  """A draw of one of the values."""
  kinds.check('choice', values, Annotated[Sequence, kinds.NOT_EMPTY])
  return Draw('choice', values=values)


def sample(
  count: int, draws: Mapping[str, Draw], seed: int = 0
) -> list[Setting]:
  """`count` settings drawn at random, the same for the same seed."""
  kinds.check('the count of a sample', count, kinds.Count)
  check_count(count)
  rng = random.Random(seed)
  return [{key: draw(rng) for key, draw in draws.items()} for _ in range(count)]


def parse(text: str) -> list[Setting]:
  """A sweep written on a command line.

  Args:
    text: 'key=1,2,4;other=0.1:0.9:5': values, or low:high:count; keys make a
      product.

  Raises:
    ValueError: for a part of another form.
  """
  parts = [part for part in text.split(';') if part.strip()]
  if not parts:
    raise ValueError('an empty sweep')
  return product(*(_parse_key(part) for part in parts))


def _parse_key(part: str) -> list[Setting]:
  key, equals, values = part.partition('=')
  if not equals or not values:
    raise ValueError(f"a sweep is 'key=1,2,3' or 'key=0.1:0.9:5', not '{part}'")
  if values.count(':') == 2:
    low, high, count = values.split(':')
    try:
      low, high, count = float(low), float(high), int(count)
    except ValueError:
      raise ValueError(
        f"'{values}' is not of the form low:high:count"
      ) from None
    for end in (low, high):
      kinds.check(f"an end of '{values}'", end, float)
    check_count(count)
    step = (high - low) / max(count - 1, 1)
    return grid(key.strip(), *(round(low + i * step, 9) for i in range(count)))
  return grid(key.strip(), *(value.strip() for value in values.split(',')))


def text_of(value: Any) -> str:
  """A value in a few words: '0.5', 'shift pixels=1 + mixup alpha=1'."""
  if isinstance(value, float):
    return f'{value:g}'
  if isinstance(value, Mapping):
    named = [str(value['name'])] if 'name' in value else []
    rest = {k: v for k, v in value.items() if k != 'name'}
    return ' '.join(named + [f'{k}={text_of(v)}' for k, v in rest.items()])
  if isinstance(value, (list, tuple)):
    return ' + '.join(map(text_of, value)) or 'none'
  return str(value)


def name_of(setting: Mapping[str, Any]) -> str:
  """The folder of a setting: 'alpha=0.5,temperature=4'.

  A name that is too long for a folder ends in a hash of the whole.
  """

  def short(value):
    text = text_of(value).replace(' + ', '+')
    return ''.join(c if c.isalnum() or c in '.-_+' else '_' for c in text)

  pairs = [f'{key}={short(value)}' for key, value in sorted(setting.items())]
  name = ','.join(pairs)
  if len(name.encode()) <= LONGEST:
    return name
  start = name.encode()[: LONGEST - 20].decode(errors='ignore')
  return f'{start}..{hashlib.sha256(name.encode()).hexdigest()[:12]}'


def expand(settings: Sequence[Setting]) -> dict[str, Setting]:
  """{folder: setting}.

  Raises:
    ValueError: for an empty sweep, a sweep that is too large, a setting that
      changes nothing, or two with the same folder.
  """
  if not settings:
    raise ValueError('an empty sweep: it has no settings')
  check_count(len(settings))
  named = {}
  for setting in settings:
    name = name_of(setting)
    if not name:
      raise ValueError('a setting of the sweep changes no key: it has no name')
    if name in named:
      raise ValueError(f"two settings have the same folder '{name}'")
    named[name] = setting
  return named


def check_apart(configs: Mapping[str, Mapping[str, Any]]) -> None:
  """Refuses settings that are the same experiment under two names.

  A table would have it twice, and a family of comparisons be too large.

  Args:
    configs: {setting: {dotted key: value}}, complete, of what is read alone.

  Raises:
    ValueError: naming the first two.
  """
  names = {}
  for name, flat in configs.items():
    # 4 and 4.0 are equal, True and 1 are not.
    same = names.setdefault(
      tuple(
        (key, value if type(value) in (int, float) else repr(value))
        for key, value in sorted(flat.items())
      ),
      name,
    )
    if same != name:
      raise ValueError(
        f"the settings '{same}' and '{name}' of the sweep are the same "
        'experiment: nothing reads what tells them apart; leave one out'
      )


def stackable(
  configs: Mapping[str, Mapping[str, Any]], numbers: Callable[[str], bool]
) -> list[tuple[str | None, list[str]]]:
  """Groups settings that can train together in one program.

  Args:
    configs: {name: {dotted key: value}}, complete.
    numbers: whether a key is a number of the state, which lanes may differ in.

  Returns:
    [(the first key that splits the group from those before it, or None,
    names)].
  """
  groups = []
  for name, flat in configs.items():
    fixed = {k: v for k, v in flat.items() if not numbers(k)}
    splits = None
    for first, names, _ in groups:
      differs = [k for k in {**first, **fixed} if first.get(k) != fixed.get(k)]
      if not differs:
        names.append(name)
        break
      splits = splits or sorted(differs)[0]
    else:
      groups.append((fixed, [name], splits))
  return [(splits, names) for _, names, splits in groups]
