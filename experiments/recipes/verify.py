"""Reads the sources' own files, in clones, for what `origins` says of them."""

import pathlib
import re
import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.recipes import check, origins, sources

_NUMBER = re.compile(r'(?<![\w.])-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?')


class Verified(NamedTuple):
  """What was read.

  Attributes:
    flags, files: how many.
    read, absent: repositories.
    missing: one line for each flag whose file does not say it.
  """

  flags: int
  files: int
  read: list[str]
  absent: list[str]
  missing: list[str]


def verify(folder: pathlib.Path) -> Verified:
  """Looks up every flag of every origin in the clones of a folder.

  Args:
    folder: with clones OWNER+NAME/repo or NAME, of which the recorded commit
      is read.
  """
  wanted = _wanted()
  clones = {name: clone_of(folder, name) for name in sources.COMMITS}
  texts = {
    (name, file): text_of(clones[name], sources.COMMITS[name], file)
    for name, file in {(name, file) for name, file, _ in wanted}
    if clones[name]
  }
  missing, count = [], 0
  for (name, file, mark), flags in sorted(wanted.items()):
    if clones[name]:
      count += len(flags)
      missing += [
        f'{name} {file} {mark}: {flag} = {value} is not there'
        for flag, value in sorted(flags)
        if not says(file, texts[name, file], mark, flag, value)
      ]
  read = [name for name, clone in clones.items() if clone]
  return Verified(
    count, len(texts), read, [n for n in clones if n not in read], missing
  )


def _wanted() -> Mapping[tuple[str, str, str], set[tuple[str, Any]]]:
  """{(repository, file, text of the line): {(flag, value)}}, of all recipes."""
  wanted = {}
  for _, known, of_pairs in check.CONFIGS.values():
    for method in known:
      for pair in of_pairs:
        origin = origins.origin(method, *pair)
        for place, flags in origin.says.items():
          found = wanted.setdefault(origin.parts(place), set())
          found.update(flags.items())
  return wanted


def clone_of(folder: pathlib.Path, name: str) -> pathlib.Path | None:
  """The git directory or working copy of a repository; None if it is absent."""
  owner, _, short = name.partition('/')
  for path in (folder / f'{owner}+{short}' / 'repo', folder / short):
    if path.is_dir():
      return path
  return None


def text_of(clone: pathlib.Path, commit: str, file: str) -> str | None:
  """The text of a file at a commit; None where it has no such file."""
  command = ['git', '-C', str(clone), 'show', f'{commit}:{file}']
  shown = subprocess.run(command, capture_output=True, check=False)
  return shown.stdout.decode(errors='replace') if not shown.returncode else None


def says(file: str, text: str | None, mark: str, flag: str, value: Any) -> bool:
  """Whether a line of a file that holds `mark` has the flag and its value.

  The name of a log says its values itself.
  """
  if text is None:
    return False
  if file.startswith('logs/'):
    return _holds(file.rpartition('/')[2].removesuffix('.txt'), value)
  flag = re.escape(flag.rpartition('.')[2])
  pattern = re.compile(rf'(?<![\w-]){flag}(?!\w)')
  return any(
    mark in line and pattern.search(line) and _holds(line, value)
    for line in text.splitlines()
  )


def _holds(line: str, value: Any) -> bool:
  """Whether a line has a value: numbers as numbers, else as text."""
  if isinstance(value, bool | str):
    return str(value) in line
  numbers = [float(x) for x in _NUMBER.findall(line)]
  values = value if isinstance(value, tuple) else (value,)
  return all(float(x) in numbers for x in values)
