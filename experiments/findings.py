"""What the classical findings claim, and which runs they compare.

A finding is read from rows of `classical.py`: pairs of settings, compared
replicate by replicate, with the sign that the source says, and a picture.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.configs import classical
from kd_jax.compare import family, statistics, verdict
from kd_jax.report import svg

Row = Mapping[str, Any]
LONG, SHORT = classical.EPOCHS[-1], classical.EPOCHS[0]
SOFTER = max(classical.SMOOTHING)
ONE = 'teacher_128'
HOLDS = {1: verdict.HELPED, -1: verdict.HURT}


class Pair(NamedTuple):
  """Two settings, or a number that is compared with zero.

  Attributes:
    title: what is compared.
    ours: a number a replicate.
    theirs: likewise.
    claimed: the sign that the source says, 1 or -1; 0: it says none.
    points: whether they are fractions, shown in points.
  """

  title: str
  ours: Sequence[float]
  theirs: Sequence[float]
  claimed: int = 0
  points: bool = True


class Finding(NamedTuple):
  """A claim and the evidence.

  Attributes:
    title: a word or two.
    claim: what the source says, in a clause.
    pairs: the comparisons, a family.
    lines: {title: {place on the x axis, a name or a number: (ours, theirs)}},
      of the picture.
    axis: of x.
    against: what the picture's points are measured against.
  """

  title: str
  claim: str
  pairs: Sequence[Pair]
  lines: Mapping[str, Mapping[str | float, tuple]]
  axis: str
  against: str


def pick(rows: Sequence[Row], sweep: str, words: str, **values) -> Row:
  """The row of a setting.

  Raises:
    ValueError: where there is none.
  """
  for row in rows:
    same = (row['sweep'], row['words']) == (sweep, words)
    if same and all(row[key] == value for key, value in values.items()):
      return row
  raise ValueError(f"no row of '{words}' {values or ''} in the sweep '{sweep}'")


def alone(row: Row) -> Sequence[float]:
  """Test accuracy of the student alone, a number a replicate."""
  return row['alone']['test']


def gain(row: Row) -> np.ndarray:
  """Distilled minus alone."""
  return np.subtract(row['test'], alone(row))


def noise(rows: Sequence[Row]) -> Finding:
  """Wrong labels: the gain at each share."""
  of = {s: pick(rows, 'noise', f'wrong_{s}') for s in classical.SHARES}
  most, least = max(of), min(of)
  pairs = [
    Pair(f'distilled - alone, {100 * s:g} % wrong', row['test'], alone(row))
    for s, row in of.items()
  ]
  pairs = [pair._replace(claimed=int(s > 0)) for s, pair in zip(of, pairs)]
  pairs.append(
    Pair(
      f'gain at {100 * most:g} % - gain at none',
      gain(of[most]),
      gain(of[least]),
      1,
    )
  )
  line = {f'{100 * s:g}': (r['test'], alone(r)) for s, r in of.items()}
  return Finding(
    'Noisy labels',
    'a teacher helps more, the more labels are wrong',
    pairs,
    {'distilled': line},
    'wrong training labels, %',
    'student alone',
  )


def temperature(rows: Sequence[Row]) -> Finding:
  """Softer targets against T = 1, of clean and wrong labels."""
  pairs, lines = [], {}
  for title, words in (
    ('clean labels', classical.CLEAN),
    ('half wrong', classical.WRONG),
  ):
    of = {
      t: pick(rows, 'temperature', words, temperature=t)
      for t in classical.SOFTNESS
    }
    first, *others = of
    pairs += [
      Pair(f'T = {t:g} - T = 1, {title}', of[t]['test'], of[first]['test'], 1)
      for t in others
    ]
    lines[title] = {
      f'{t:g}': (row['test'], of[first]['test']) for t, row in of.items()
    }
  return Finding(
    'Temperature',
    'targets softer than T = 1 teach more (Hinton et al. 2015)',
    pairs,
    lines,
    'temperature',
    'T = 1',
  )


def gap(rows: Sequence[Row]) -> Finding:
  """Teachers of growing size, and assistants, against the largest teacher."""
  direct = pick(rows, 'gap', ONE)['test']
  sizes = {
    size: pick(rows, 'gap', f'teacher_{size}') for size in classical.SIZES
  }
  by = {size: pick(rows, 'gap', f'by_{size}') for size in classical.ASSISTANTS}
  largest = max(sizes)
  pairs = [
    Pair(f'teacher of {s} - of {largest}', row['test'], direct, 1)
    for s, row in sizes.items()
    if s != largest
  ]
  pairs += [
    Pair(f'assistant of {s} - none', row['test'], direct, 1)
    for s, row in by.items()
  ]
  line = {f'{s}': (row['test'], direct) for s, row in sizes.items()}
  line |= {f'{largest}, {s}': (row['test'], direct) for s, row in by.items()}
  return Finding(
    'Capacity gap, assistants',
    'too large a teacher teaches a small student worse (Cho and Hariharan '
    '2019), and an assistant between them helps (Mirzadeh et al. 2019)',
    pairs,
    {'student': line},
    'width of teacher, assistant',
    f'teacher of {largest}',
  )


def ensemble(rows: Sequence[Row]) -> Finding:
  """Four teachers against one: themselves, and their students."""
  several = pick(rows, 'ensemble', 'ensemble')
  single = pick(rows, 'ensemble', ONE)
  kinds = {
    'teacher': (several['teacher'], single['teacher']),
    'student': (several['test'], single['test']),
  }
  count = f'{classical.MEMBERS} teachers - one'
  return Finding(
    'Ensembles',
    'a student keeps what an ensemble has over a single teacher (Hinton et '
    'al. 2015)',
    [Pair(f'{count}, the {k}', *pair, 1) for k, pair in kinds.items()],
    {count: kinds},
    'who is scored',
    'one teacher',
  )


def smoothing(rows: Sequence[Row]) -> Finding:
  """Teachers of smoothed clean labels, and their students at their best T."""
  taught, made, words = {}, {}, classical.CLEAN
  for s in classical.SMOOTHING:
    made[s] = pick(rows, 'smoothed', f'{words}+labels_{s}')
    same = [row for row in rows if row['words'] == f'{words}+from_{s}']
    taught[s] = max(same, key=lambda row: row['validation'])
  none = min(made)
  kinds = {
    who: (of[SOFTER]['test'], of[none]['test'])
    for who, of in (('teacher', made), ('student', taught))
  }
  return Finding(
    'Smoothed teachers',
    'a teacher of smoothed labels is no worse itself, and teaches worse '
    '(Mueller et al. 2019)',
    [
      Pair(f'{who} smoothed by {SOFTER} - not', *both, sign)
      for (who, both), sign in zip(kinds.items(), (0, -1))
    ],
    {'smoothed': kinds},
    'who is scored, clean labels',
    'no smoothing',
  )


def patience(rows: Sequence[Row]) -> Finding:
  """More epochs, alone and distilled; what the teacher sees."""

  def of(words, epochs):
    return pick(rows, 'patience', words, **{'train.epochs': epochs})

  long, short = of('mix', LONG), of('mix', SHORT)
  grown = np.subtract(long['test'], short['test'])
  pairs = [
    Pair(f'distilled, {LONG} - {SHORT} epochs', long['test'], short['test'], 1),
    Pair(f'alone, {LONG} - {SHORT} epochs', alone(long), alone(short)),
    Pair(
      'the first minus the second',
      grown,
      np.subtract(alone(long), alone(short)),
      1,
    ),
    Pair(
      f'same shifted image - original for the teacher, {LONG} epochs',
      of('shift', LONG)['test'],
      of('fixed', LONG)['test'],
      1,
    ),
    Pair(
      f'mixed images - shifted ones, {LONG} epochs',
      long['test'],
      of('shift', LONG)['test'],
      1,
    ),
  ]
  lines = {
    'distilled': {
      f'{e}': (of('mix', e)['test'], alone(short)) for e in classical.EPOCHS
    },
    'alone': {
      f'{e}': (alone(of('mix', e)), alone(short)) for e in classical.EPOCHS
    },
  }
  return Finding(
    'Patient and consistent',
    'distillation goes on gaining for very many epochs, if both see the same '
    'strongly augmented image (Beyer et al. 2021)',
    pairs,
    lines,
    'epochs',
    f'alone, {SHORT} epochs',
  )


def fidelity(rows: Sequence[Row]) -> Finding:
  """Agreement with one and the same teacher against accuracy, over settings."""
  same = [
    row
    for row in rows
    if row['sweep'] == 'patience'
    or (row['sweep'], row['words']) == ('temperature', classical.WRONG)
  ]
  tuned = max(same, key=lambda row: row['validation'])
  zero = np.zeros(len(tuned['test']))
  pairs = [
    Pair(
      'agreement with the teacher, distilled - alone',
      tuned['agreement'],
      tuned['alone']['agreement'],
    ),
    *(
      Pair(
        f'rank correlation of {title} and accuracy, {len(same)} settings',
        ranked(same, key),
        zero,
        sign,
        False,
      )
      for title, key, sign in (
        ('agreement', 'agreement', -1),
        ('KL from the teacher', 'kl', 1),
      )
    ),
  ]
  line = {
    100 * float(np.mean(row['agreement'])): (row['test'], alone(row))
    for row in same
  }
  return Finding(
    'Fidelity',
    'a student that is closer to its teacher is not a better one (Stanton et '
    'al. 2021)',
    pairs,
    {'distilled': line},
    'agreement with the teacher, %',
    'student alone',
  )


def ranked(rows: Sequence[Row], key: str) -> np.ndarray:
  """Spearman's correlation of a number and accuracy, in each replicate."""
  from scipy import stats

  sides = (np.array([row[name] for row in rows]).T for name in (key, 'test'))
  return np.array([stats.spearmanr(x, y).statistic for x, y in zip(*sides)])


FINDINGS: Mapping[str, Callable[[Sequence[Row]], Finding]] = {
  'noise': noise,
  'temperature': temperature,
  'gap': gap,
  'ensemble': ensemble,
  'smoothing': smoothing,
  'patience': patience,
  'fidelity': fidelity,
}
# The sweeps that each reads.
NEEDS = {
  **{name: (name,) for name in FINDINGS},
  'smoothing': ('smoothed', 'from_smoothed'),
  'fidelity': ('temperature', 'patience'),
}


def judged(finding: Finding) -> dict[str, dict]:
  """{title of a pair: its numbers, corrected for all of the finding}."""
  numbers = {p.title: verdict.of_seeds(p.ours, p.theirs) for p in finding.pairs}
  corrected = family.correct(numbers)
  return {title: {**numbers[title], **corrected[title]} for title in numbers}


def outcome(finding: Finding, numbers: Mapping[str, Mapping]) -> str:
  """Whether a finding reproduces, in words."""
  claimed = [pair for pair in finding.pairs if pair.claimed]
  outcomes = [(p.claimed, numbers[p.title]['outcome']) for p in claimed]
  holds = sum(HOLDS[sign] == word for sign, word in outcomes)
  opposite = sum(HOLDS[-sign] == word for sign, word in outcomes)
  if holds == len(claimed):
    return 'reproduces'
  word = 'does not reproduce' if opposite else 'is not seen'
  word = 'reproduces in part' if holds else word
  text = f'{word}: {holds} of {len(claimed)} hold'
  return text + (f', {opposite} the other way' if opposite else '')


def panel(finding: Finding) -> str:
  """Paired differences with their intervals over replicates."""
  lines = finding.lines
  places = list(dict.fromkeys(x for line in lines.values() for x in line))
  numbers = isinstance(places[0], float)
  colors = ('student', 'teacher', 'other0', 'alone')

  def draw(axes):
    axes.axhline(0, color=svg.COLORS['ink'], lw=1)
    for number, (title, line) in enumerate(lines.items()):
      color = svg.COLORS[colors[number]]
      shift = 0.12 * (number - (len(lines) - 1) / 2)
      points = []
      for place, (ours, theirs) in line.items():
        x = place if numbers else places.index(place) + shift
        change = 100 * np.subtract(ours, theirs)
        low, high = statistics.over_seeds(change)
        points.append((x, change.mean()))
        axes.plot([x, x], [low, high], color=color, lw=4, alpha=0.35)
      axes.plot(*zip(*points), 'o', color=color, ms=6, label=title)
    if not numbers:
      axes.set_xticks(range(len(places)), places)
    axes.margins(x=0.08)
    axes.set(
      title=finding.title,
      xlabel=finding.axis,
      ylabel=f'points against {finding.against}',
    )
    if len(lines) > 1:
      axes.legend(loc='best')

  name = ''.join(c for c in finding.title.lower() if c.isalpha())
  return svg.panel(draw, name, f'{finding.title}: {finding.claim}', 4.6, 3.2)
