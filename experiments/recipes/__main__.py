"""Prints recipes beside their sources: `python -m experiments.recipes --check`.

One line for every method and pair: what ours sets, what the source's file
says in our terms, where it stands, and why ours differs where it does. The
exit code is 1 where a setting differs without a stated reason (`reasons`), or
a reason has become idle. With `--verify DIR` the files themselves are read:
DIR/OWNER+NAME/repo, or DIR/NAME, is a clone of each repository that is there.
"""

import argparse
import pathlib
import sys

from experiments.recipes import check, translate, verify


def main(arguments: list[str]) -> int:
  """The exit code."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.recipes', description=__doc__.split('\n\n')[1]
  )
  parser.add_argument('--check', action='store_true', help='compare all')
  parser.add_argument('--all', action='store_true', help='show equal training')
  parser.add_argument(
    '--verify', metavar='DIR', type=pathlib.Path, help='read clones in DIR'
  )
  options = parser.parse_args(arguments)
  if not options.check and options.verify is None:
    parser.error('nothing to do: give --check or --verify DIR')
  bad = check_all(options.all) if options.check else 0
  if options.verify is not None:
    bad += verify_all(options.verify)
  return int(bad > 0)


def check_all(everything: bool) -> int:
  """Prints every row; returns how many differ without reason."""
  found, bad = list(check.rows()), 0
  print('method | pair | ours | source | file@commit | reason')
  for row in found:
    print(' | '.join(cells(row, everything)))
    bad += bool(row.unexplained)
  idle = check.idle(found)
  for data, method, key in idle:
    print(f'{data} {method}: the reason for {key} is idle; nothing differs')
  differ = sum(bool(row.differs) for row in found)
  print(
    f'{len(found)} recipes: {differ - bad} differ for a stated reason, {bad} '
    'without'
  )
  return bad + len(idle)


def cells(row: check.Row, everything: bool = False) -> list[str]:
  """The cells of a row: the terms' settings, and of training what differs."""
  keys = [
    key
    for key in row.theirs
    if everything or key not in translate.TRAINING or key in row.differs
  ]
  keys += [key for key in row.differs if key not in keys]
  alike = {}
  for key, why in row.reasons.items():
    alike.setdefault(why, []).append(key)
  reasons = [f'{", ".join(of)}: {why}' for why, of in alike.items()]
  reasons += [f'{key}: DIFFERS WITHOUT A REASON' for key in row.unexplained]
  reasons += [f'({row.note})'] if row.note else []
  return [
    row.method,
    f'{row.teacher},{row.student}',
    _shown(row.ours, keys),
    _shown(row.theirs, keys),
    row.place,
    '; '.join(reasons),
  ]


def _shown(settings, keys) -> str:
  return ' '.join(f'{key}={_value(settings.get(key))}' for key in keys)


def _value(value) -> str:
  if value is None:
    return '-'
  if isinstance(value, list | tuple):
    return ','.join(map(_value, value))
  if isinstance(value, str | bool):
    return str(value)
  return f'{value:g}'


def verify_all(folder: pathlib.Path) -> int:
  """Prints what files do not say; returns how many flags are not there."""
  found = verify.verify(folder)
  for line in found.missing:
    print(line)
  print(
    f'{found.flags} flags in {found.files} files of {len(found.read)} '
    f'repositories: {len(found.missing)} are not there; '
    f'{len(found.absent)} repositories not in {folder}'
  )
  return len(found.missing) + (not found.read)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
