"""Reads texts from files: plain, .jsonl, .tsv, .csv or .npy, also as .gz."""

import csv
import gzip
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import types

TABLES = {'.jsonl': 'lines of JSON', '.tsv': 'a table', '.csv': 'a table'}
IDS = '.npy'


def find(given: str) -> list[pathlib.Path]:
  """The files that a path names: itself, those in a folder, or of a pattern.

  Raises:
    ValueError: there are none.
  """
  path = pathlib.Path(given).expanduser()
  if path.is_dir():
    files = sorted(p for p in path.rglob('[!.]*') if p.is_file())
  elif path.is_file():
    files = [path]
  else:
    parent = path.parent if path.parent.is_dir() else pathlib.Path()
    pattern = path.name if parent == path.parent else str(path)
    wild = any(c in pattern for c in '*?[')
    legal = wild and not pathlib.Path(pattern).is_absolute()
    files = (
      sorted(p for p in parent.glob(pattern) if p.is_file()) if legal else []
    )
  if not files:
    raise ValueError(f"there is no file '{given}'")
  return files


def kind(path: pathlib.Path) -> str:
  """The ending of a file's name that says how it is read, without '.gz'."""
  suffixes = [s.lower() for s in path.suffixes if s.lower() != '.gz']
  return suffixes[-1] if suffixes else ''


def documents(files: Sequence[pathlib.Path]) -> list[Any]:
  """A text of each plain file, or an array of ids of each .npy."""
  return [
    _ids(path) if kind(path) == IDS else _read(path).decode(errors='replace')
    for path in files
  ]


def _read(path: pathlib.Path) -> bytes:
  """The content of a file, unpacked where it ends in .gz."""
  try:
    if path.suffix.lower() == '.gz':
      with gzip.open(path) as file:
        return file.read()
    return path.read_bytes()
  except (OSError, EOFError) as error:
    raise ValueError(f"cannot read '{path}': {error}") from error


def _ids(path: pathlib.Path) -> np.ndarray:
  """Ids of tokens, i64 [n]."""
  try:
    values = np.load(path, allow_pickle=False)
  except (OSError, ValueError) as error:
    raise ValueError(f"'{path}' is no array of ids: {error}") from error
  if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
    raise ValueError(
      f"'{path}' is {values.dtype} {list(values.shape)}; legal: integers [n]"
    )
  return values.astype(np.int64)


def table(
  files: Sequence[pathlib.Path], columns: Sequence[str]
) -> dict[str, list]:
  """{column: its values} of tables, one after another.

  Args:
    files: .jsonl, .tsv or .csv; the last two name their columns in the first
      line, and quotation marks of a .tsv are letters.
    columns: that are read.

  Raises:
    ValueError: a file is of another kind, lacks a column, or is damaged.
  """
  values = {column: [] for column in columns}
  for path in files:
    if kind(path) not in TABLES:
      raise ValueError(
        f"'{path}' has no columns; legal: {', '.join(TABLES)}, also as .gz"
      )
    text = _read(path).decode(errors='replace')
    rows = _objects if kind(path) == '.jsonl' else _lines
    for number, row in rows(text, path):
      for column in columns:
        if column not in row:
          where = f"'{path}', line {number},"
          raise types.lacks(where, 'column', column, [k for k in row if k])
        values[column].append(row[column])
  return values


def _objects(text: str, path: pathlib.Path):
  """(number, row) of lines of JSON."""
  for number, line in enumerate(text.split('\n'), 1):
    if not line.strip():
      continue
    try:
      row = json.loads(line)
    except ValueError as error:
      raise ValueError(
        f"'{path}', line {number}, is no JSON: {error}"
      ) from None
    if not isinstance(row, Mapping):
      raise ValueError(f"'{path}', line {number}, is no JSON object")
    yield number, row


def _lines(text: str, path: pathlib.Path):
  """(number, row) of lines under a header."""
  tabs = kind(path) == '.tsv'
  form = {'delimiter': '\t', 'quoting': csv.QUOTE_NONE} if tabs else {}
  rows = csv.reader(text.splitlines(), **form)
  names = next(rows, [])
  for number, row in enumerate(rows, 2):
    if not row:
      continue
    if len(row) != len(names):
      raise ValueError(
        f"'{path}', line {number}, has {len(row)} columns; legal: "
        f'{len(names)}, as in its first line'
      )
    yield number, dict(zip(names, row))
