"""The classical findings of distillation: trains them, and says what they show.

  python -m experiments.classical --workdir runs/classical [--only noise ..]
  python -m experiments.classical --rows runs/classical
  python -m experiments.classical

The first one trains the sweeps of `configs/classical.py` in one folder, without
the pages that a launcher would write of each run; the same command continues.
The second one writes ROWS, a line of JSON for each setting; the third one draws
the section in experiments/README.md and the picture out of that file alone.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments import findings, pages
from experiments.configs import classical
from kd_jax import checkpoint, errors, network_files, sweep
from kd_jax.compare import results, verdict
from kd_jax.report import notebook

CONFIG = str(pages.HERE / 'configs/classical.py')
ROWS = pages.HERE / 'results/classical.jsonl'
PICTURE = pages.HERE / 'classical.svg'
SECTION = 'classical findings'
COMMAND = 'python -m experiments.classical --workdir runs/classical --only'
DECAY = 'train.optimizer.weight_decay'
# In this order: the last one loads what the one before it left.
SWEEPS = {
  'noise': classical.sweep_noise,
  'temperature': classical.sweep_temperature,
  'gap': classical.sweep_gap,
  'ensemble': classical.sweep_ensemble,
  'patience': classical.sweep_patience,
  'smoothed': classical.sweep_smoothed,
  'from_smoothed': classical.sweep_from_smoothed,
}


def train(
  workdir: pathlib.Path, names: Sequence[str], stop: Callable[[], bool]
) -> None:
  """Trains the settings of sweeps that are not finished, and compares them.

  Args:
    workdir: of all sweeps.
    names: keys of SWEEPS, in their order.
    stop: whether to save and end.

  Raises:
    ValueError: as `runs.build_all`.
    errors.StoppedError: `stop` was true.
  """
  from kd_jax import config, runs
  from kd_jax.runs import sweep_run

  base = config.to_json(config.read(CONFIG))
  for name in names:
    settings = sweep_run.make(CONFIG, {}, SWEEPS[name](), workdir)
    prepared = sweep_run.build_all(settings, workdir)
    runs.claim(prepared, sweep_of=base)
    outcomes = runs.train_all(prepared, stop, pages=False)
    for setting, result in outcomes.items():
      if result.failure:
        print(f'{setting}: {result.failure}', file=sys.stderr)


def rows_of(workdir: pathlib.Path, name: str) -> list[dict]:
  """A row for each setting of a sweep, at the decay that validation chose.

  Args:
    workdir: of all sweeps.
    name: a key of SWEEPS.

  Returns:
    'sweep'; 'words' of the argument; the other keys that the sweep changes;
    'decay', of those tried the one with the best mean over replicates on
    'validation'; a number a replicate of 'test', 'agreement' and 'kl' (to the
    teacher; None without); 'alone', the same of the student alone, with its
    own decay, or None; 'teacher', its test accuracy, or None.

  Raises:
    ValueError: for a run that is not finished.
  """
  tried = {}
  for folder, setting in sweep.expand(SWEEPS[name]()).items():
    words, _, _ = setting['arg'].partition('@')
    rest = {k: v for k, v in setting.items() if k not in ('arg', DECAY)}
    settings = tried.setdefault((words, *rest.items()), {})
    of_decay = settings.setdefault(setting.get(DECAY), [])
    of_decay.append(measured(workdir / folder))
  return [
    {'sweep': name, 'words': words, **dict(rest), **chosen(settings)}
    for (words, *rest), settings in tried.items()
  ]


def measured(folder: pathlib.Path) -> dict[str, dict]:
  """{'student', 'baseline', 'teacher': validation, test, agreement, kl}."""
  report = results.read_report(folder)
  rows = {'student': 'student', 'baseline': 'baseline'}
  numbers = {}
  for who, row in {**rows, 'teacher': report['teacher']}.items():
    if row not in report['networks']:
      continue
    network = report['networks'][row]
    spec = folder / 'networks' / row / network_files.SPEC
    held = {}
    if who in rows:
      held = checkpoint.read_json(spec)
      held = {'validation': held['validation'][held['select']]}
    numbers[who] = {
      **held,
      'test': network['accuracy'],
      'agreement': network['agreement'],
      'kl': network['kl'],
    }
  return numbers


def chosen(settings: Mapping[Any, Sequence[Mapping]]) -> dict:
  """The numbers of a setting and of its student alone, each at its best decay.

  Args:
    settings: {decay: what `measured` gives, a replicate each}.
  """
  first = next(iter(settings.values()))[0]
  row = at_best(settings, 'student')
  row['alone'] = at_best(settings, 'baseline') if 'baseline' in first else None
  row['teacher'] = None
  if 'teacher' in first:
    runs = settings[row['decay']]
    row['teacher'] = [round(run['teacher']['test'], 5) for run in runs]
  return row


def at_best(settings: Mapping[Any, Sequence[Mapping]], who: str) -> dict:
  """The numbers of one network at the decay that is best on validation."""
  scores = {
    decay: float(np.mean([run[who]['validation'] for run in runs]))
    for decay, runs in settings.items()
  }
  decay = max(scores, key=scores.get)
  numbers = {
    key: [run[who][key] for run in settings[decay]]
    for key in ('test', 'agreement', 'kl')
  }
  return {
    'decay': decay,
    'validation': round(scores[decay], 5),
    **{
      key: None if None in values else [round(x, 5) for x in values]
      for key, values in numbers.items()
    },
  }


def read(path: pathlib.Path = ROWS) -> list[dict]:
  """The rows of the file."""
  return pages.read_rows(path)


def shown(rows: Sequence[Mapping]) -> dict[str, findings.Finding]:
  """{name: finding} of those all of whose sweeps have rows."""
  trained = {row['sweep'] for row in rows}
  return {
    name: make(rows)
    for name, make in findings.FINDINGS.items()
    if trained >= {*findings.NEEDS[name]}
  }


def text(rows: Sequence[Mapping]) -> str:
  """What the page of the experiments shows: a paragraph for each finding."""
  several = shown(rows)
  counts = [len(finding.pairs) for finding in several.values()]
  return '\n'.join(
    [
      f'{len(rows[0]["test"])} replicates; {sum(counts)} comparisons in '
      f'{len(counts)} families of {min(counts)} to {max(counts)}, each '
      "corrected by Holm's method: in bold is what holds (at most 5 % for any "
      'false one of a family). Points of test accuracy, or of agreement, with '
      '95 % intervals over replicates, not corrected.',
      '',
      *(paragraph(*pair) for pair in several.items()),
    ]
  )


def paragraph(name: str, finding: findings.Finding) -> str:
  """Claim, outcome, differences with intervals, and command."""
  numbers = findings.judged(finding)
  parts = []
  for pair in finding.pairs:
    judged = numbers[pair.title]
    ends = judged['difference'], *judged['interval']
    middle, low, high = (
      f'{100 * x:+.1f}' if pair.points else f'{x:+.2f}' for x in ends
    )
    if judged['outcome'] in verdict.TOLD:
      middle = f'**{middle}**'
    parts.append(f'{pair.title} {middle} ({low} to {high})')
  spreads = [
    pages.spread(pair.ours, pair.theirs)
    for pair in finding.pairs
    if pair.points
  ]
  least = pages.half_width(
    float(np.median(spreads)), len(finding.pairs[0].ours), len(finding.pairs)
  )
  return (
    f'- **{finding.title}**: {finding.claim}. Here it '
    f'{findings.outcome(finding, numbers)}. {"; ".join(parts)}. '
    f'Differences of {100 * least:.1f} points and more can hold '
    'at the median spread. '
    f'`{COMMAND} {" ".join(findings.NEEDS[name])}`'
  )


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0 done, 2 a user's mistake, 130 stopped."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.classical', description=__doc__.split('\n')[0]
  )
  parser.add_argument('--workdir', type=pathlib.Path, metavar='DIR')
  parser.add_argument(
    '--rows', type=pathlib.Path, metavar='DIR', help='write ROWS of this folder'
  )
  parser.add_argument('--only', nargs='+', choices=SWEEPS, default=[*SWEEPS])
  options = parser.parse_args(argv)
  try:
    if options.workdir:
      trained_until_stopped(options.workdir, options.only)
    elif options.rows:
      rows = [
        row for name in options.only for row in rows_of(options.rows, name)
      ]
      pages.write_rows(rows, ROWS)
      print(f'{ROWS}: {len(rows)} settings')
    else:
      rows = read()
      pages.keep(pages.README, SECTION, text(rows))
      panels = map(findings.panel, shown(rows).values())
      PICTURE.write_text(notebook.show(*panels, columns=2).text)
  except (OSError, ValueError) as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return errors.USER
  except errors.StoppedError as stopped:
    print(f'stopped and saved {stopped}', file=sys.stderr)
    return errors.STOPPED
  return 0


def trained_until_stopped(workdir: pathlib.Path, names: Sequence[str]) -> None:
  """`train`, which Ctrl-C and SIGTERM stop."""
  from kd_jax import cli
  from kd_jax.runs import interrupts

  cli.set_up()
  with interrupts.heard() as caught:
    train(workdir, names, lambda: bool(caught()))


if __name__ == '__main__':
  sys.exit(main())
