"""Trained tokenizers and the tokens of texts, kept in the data folder.

Each is found again by a hash of all that it was made from. Several processes
may write at once: each writes a file of its own and renames it.
"""

import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kd_jax import errors
from kd_jax.data.readers import prepared
from kd_jax.data.text import tokenizing, trained

FOLDER = 'kd_text'


def train(
  name: str,
  texts: Sequence[Any],
  vocabulary: int,
  lowercase: bool,
  data_dir: str = '',
) -> tokenizing.Tokenizer:
  """The tokenizer that training gives, trained once (see `trained.train`)."""
  settings = {
    'kind': name, 'vocabulary': vocabulary, 'lowercase': lowercase,
    'library': trained.require().__version__,
  }  # fmt: skip
  path = _path(settings, texts, '.json', data_dir)

  def make(file: pathlib.Path) -> None:
    plain = tokenizing.plain(texts)
    text = trained.train(name, plain, vocabulary, lowercase)
    file.write_text(text, encoding='utf-8')

  _once(path, make)
  return tokenizing.of_json(path.read_text(encoding='utf-8'), name)


def encode(
  tokenizer: tokenizing.Tokenizer, texts: Sequence[Any], data_dir: str = ''
) -> tokenizing.Tokens:
  """The tokens of texts, from the data folder where they are there.

  Bytes, characters and ids are encoded in no time, and not stored.
  """
  if tokenizer.name in (*tokenizing.BUILT_IN, 'ids'):
    return tokenizer.encode(texts)
  path = _path({'tokenizer': tokenizer.json}, texts, '.npz', data_dir)

  def make(file: pathlib.Path) -> None:
    tokens = tokenizer.encode(texts)
    parts = {k: v for k, v in tokens._asdict().items() if v is not None}
    small = np.uint16 if tokenizer.size <= 1 << 16 else np.int32
    with file.open('wb') as opened:
      np.savez(opened, **{**parts, 'ids': tokens.ids.astype(small)})

  _once(path, make)
  with np.load(path, allow_pickle=False) as stored:
    parts = {name: stored[name] for name in stored.files}
  return tokenizing.Tokens(**{**parts, 'ids': parts['ids'].astype(np.int32)})


def _path(settings, texts, ending: str, data_dir: str) -> pathlib.Path:
  """The file of what settings make of texts."""
  digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
  for text in texts:
    part = json.dumps(text).encode()
    digest.update(b'%d:' % len(part) + part)
  return prepared.folder(data_dir) / FOLDER / f'{digest.hexdigest()}{ending}'


def _once(path: pathlib.Path, make: Callable[[pathlib.Path], None]) -> None:
  """Makes a file that is not there, by another name first."""
  if path.exists():
    return
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix='.making-', dir=path.parent)
    os.close(handle)
  except OSError as error:
    raise errors.unwritable(path.parent, error) from error
  temporary = pathlib.Path(name)
  try:
    make(temporary)
    temporary.rename(path)
  finally:
    temporary.unlink(missing_ok=True)
