"""CIFAR's official archives as arrays; nothing is unpickled.

A split is 'image' uint8 [N, 32, 32, 3], 'label' [N] and, for CIFAR-100,
'coarse_label' [N].
"""

import hashlib
import pathlib
import pickletools
import re
import tarfile
from collections.abc import Mapping

import numpy as np

Split = Mapping[str, np.ndarray]

_PIXELS = 3 * 32 * 32
# Which files of an archive hold which split, in their order.
_FILES = {
  'train': re.compile(r'(data_batch_\d|train)(\.bin)?'),
  'test': re.compile(r'(test_batch|test)(\.bin)?'),
}
_KEYS = {
  'labels': 'label', 'fine_labels': 'label', 'coarse_labels': 'coarse_label'
}  # fmt: skip


def archive(path: pathlib.Path) -> dict[str, Split]:
  """The splits of an official archive, binary or Python, CIFAR-10 or -100."""
  parts = {'train': [], 'test': []}
  with tarfile.open(path) as tar:
    for member in sorted(tar.getmembers(), key=lambda m: m.name):
      name = pathlib.PurePath(member.name).name
      for split, pattern in _FILES.items():
        if member.isfile() and pattern.fullmatch(name):
          body = tar.extractfile(member).read()
          hundred = 'cifar-100' in member.name
          parts[split].append(
            records(body, hundred) if name.endswith('.bin') else python(body)
          )
  if not all(parts.values()):
    raise ValueError(f"'{path}' is no archive of CIFAR: batches are missing")
  return {split: _join(batches) for split, batches in parts.items()}


def digests(path: pathlib.Path) -> dict[str, str]:
  """{name of a file of an archive that holds examples: its sha256 in hex}."""
  with tarfile.open(path) as tar:
    return {
      name: hashlib.sha256(tar.extractfile(member).read()).hexdigest()
      for member in tar.getmembers()
      for name in [pathlib.PurePath(member.name).name]
      if member.isfile() and any(x.fullmatch(name) for x in _FILES.values())
    }


def _join(batches: list[Split]) -> Split:
  return {key: np.concatenate([b[key] for b in batches]) for key in batches[0]}


def _images(planes: np.ndarray) -> np.ndarray:
  """[N, 3072], a plane after the other, as [N, 32, 32, 3]."""
  return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def records(body: bytes, hundred: bool) -> Split:
  """A file of the binary archive: labels (of CIFAR-100: coarse, fine), pixels.

  Args:
    body: the file.
    hundred: whether it is of CIFAR-100, which has two labels.
  """
  heads = 2 if hundred else 1
  if len(body) % (heads + _PIXELS):
    raise ValueError(f'a batch of {len(body)} bytes is not whole records')
  rows = np.frombuffer(body, np.uint8).reshape(-1, heads + _PIXELS)
  split = {'image': _images(rows[:, heads:]), 'label': rows[:, heads - 1]}
  return {**split, 'coarse_label': rows[:, 0]} if hundred else split


def python(body: bytes) -> Split:
  """A file of the Python archive, read without unpickling it.

  pickletools names the opcodes one by one and builds nothing. What follows
  the name of a list of labels, up to the next string, are its numbers; the
  one long string is the array of pixels, and the last truth value before it
  says whether the array is in column order.
  """
  numbers, pixels, columns, key = {}, None, False, None
  for opcode, value, _ in pickletools.genops(body):
    if opcode.name in ('NEWTRUE', 'NEWFALSE'):
      columns = opcode.name == 'NEWTRUE'
    elif isinstance(value, (str, bytes)):
      text = value.encode('latin-1') if isinstance(value, str) else value
      if len(text) >= _PIXELS:
        order = 'F' if columns else 'C'
        pixels = np.frombuffer(text, np.uint8).reshape(
          (-1, _PIXELS), order=order
        )
      else:
        key = text.decode('latin-1')
    elif key in _KEYS and opcode.name in ('BININT', 'BININT1', 'BININT2'):
      numbers.setdefault(_KEYS[key], []).append(value)
  lengths = {len(values) for values in numbers.values()}
  if pixels is None or lengths != {len(pixels)}:
    raise ValueError('a batch without as many labels as images')
  labels = {name: np.array(values) for name, values in numbers.items()}
  return {'image': _images(pixels), **labels}
