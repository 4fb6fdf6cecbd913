"""A family of comparisons with the student alone, corrected for their number.

Of 40 methods without any effect, two are expected to differ "at the 5 %
level". Holm's correction keeps the probability of any false difference in the
whole family at 5 %, also where the comparisons share a baseline.
"""

from collections.abc import Mapping
from typing import Any

from kd_jax.compare import statistics, verdict

NAMED = 8  # comparisons that a sentence names


def correct(
  verdicts: Mapping[str, Mapping[str, Any] | None],
) -> dict[str, dict[str, Any]]:
  """Corrects the verdicts of a family by Holm's method.

  Args:
    verdicts: {name: as `verdict.of_seeds` gives it; None without a baseline}.
      Those of one run, or without a score, have no p over seeds and are not
      part of the family.

  Returns:
    {name: 'p', 'p_holm' (None where there is none), 'outcome' after the
    correction, 'comparisons' in the family}.
  """
  tested = {
    name: single['p']
    for name, single in verdicts.items()
    if single and single.get('p') is not None
  }
  adjusted = dict(zip(tested, statistics.holm(list(tested.values()))))
  rows = {}
  for name, single in verdicts.items():
    outcome = single['outcome'] if single else None
    p = adjusted.get(name)
    if p is not None and p > 1 - statistics.LEVEL:
      outcome = verdict.SAME
    rows[name] = {
      'p': tested.get(name),
      'p_holm': p,
      'outcome': outcome,
      'comparisons': len(tested),
    }
  return rows


def sentence(rows: Mapping[str, Mapping[str, Any]]) -> str:
  """How many comparisons of a family hold, in words; '' without any.

  Args:
    rows: as `correct` gives them.
  """
  tested = [row for row in rows.values() if row['p_holm'] is not None]
  if not tested:
    return _untested(rows)
  better = [n for n, row in rows.items() if row['outcome'] == verdict.HELPED]
  worse = [n for n, row in rows.items() if row['outcome'] == verdict.HURT]
  alone = sum(row['p'] <= 1 - statistics.LEVEL for row in tested)
  holding, total = len(better) + len(worse), len(tested)
  if total == 1:
    text = f'The one comparison {"holds" if holding else "does not hold"}'
  else:
    text = (
      f'{holding} of {total} comparisons with the student alone '
      f"{'holds' if holding == 1 else 'hold'} after Holm's correction (at most "
      f'5 % for any false one among the {total})'
    )
    if alone != holding:
      text += f'; {alone} would without it'
  text += ''.join(
    f'; {word}: {_named(names)}'
    for word, names in (('better', better), ('worse', worse))
    if names
  )
  return f'{text}. {_untested(rows)}'.rstrip()


def shown_p(row: Mapping[str, Any]) -> str:
  """The cell of a corrected p; '-' where there is none."""
  if row['p_holm'] is None:
    return '-'
  return verdict.shown_p(row['p_holm']).removeprefix('= ')


def _untested(rows: Mapping[str, Mapping[str, Any]]) -> str:
  """How many comparisons are not part of the family, and why."""
  outcomes, sentences = [row['outcome'] for row in rows.values()], []
  single = outcomes.count(verdict.UNKNOWN)
  if single:
    subject = '1 comparison rests on one run'
    if single > 1:
      subject = f'{single} comparisons rest on one run each'
    sentences.append(
      f'{subject}, which gives no verdict: intervals are over the test '
      'examples alone, other seeds are unknown.'
    )
  without = outcomes.count(verdict.UNDEFINED)
  if without:
    subject = '1 comparison has'
    if without > 1:
      subject = f'{without} comparisons have'
    sentences.append(f'{subject} no score, and so no p.')
  return ' '.join(sentences)


def _named(names) -> str:
  more = len(names) - NAMED
  shown = ', '.join(names[:NAMED])
  return f'{shown} and {more} more' if more > 0 else shown
