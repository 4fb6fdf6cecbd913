"""Finds the raw files of a data set in the user's folder, or downloads them."""

import hashlib
import os
import pathlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# The environment variable that names a folder of raw files.
VARIABLE = 'KD_JAX_RAW_DIR'


def fetch(
  dl_manager: Any,
  name: str,
  url: str,
  choices: Sequence[Mapping[str, str]],
  raw_dir: str = '',
  same: Callable[[pathlib.Path], bool] | None = None,
) -> dict[str, pathlib.Path]:
  """The path of each raw file, after its md5 was checked.

  A folder given as `raw_dir` must hold the files, directly or in its folder
  `name`. A folder given by the environment may hold them; otherwise they are
  downloaded.

  Args:
    dl_manager: TFDS's download manager.
    name: of the data set.
    url: address to which the file names are appended.
    choices: alternatives {file name: md5 in hex}. Any of them is enough; the
      first is the one that is downloaded.
    raw_dir: folder of raw files; '' is KD_JAX_RAW_DIR in the environment.
    same: path -> whether a file with another md5 holds the same all the same:
      an archive that was packed again.

  Raises:
    ValueError: a file is missing from `raw_dir`, cannot be downloaded, or has
      another md5.
  """
  paths = find(name, choices, raw_dir)
  downloaded = paths is None
  if downloaded:
    paths = _download(dl_manager, name, url, choices[0])
  md5 = {file: md5 for choice in choices for file, md5 in choice.items()}
  for file, path in paths.items():
    actual = _md5(path)
    if actual == md5[file] or (same is not None and same(path)):
      continue
    if downloaded:
      # TFDS would take the damaged file from its cache again.
      path.unlink()
      pathlib.Path(f'{path}.INFO').unlink(missing_ok=True)
    raise ValueError(
      f"'{path}' has md5 {actual}; legal: {md5[file]}; the file is damaged "
      'or another one: fetch it again'
    )
  return paths


def find(
  name: str, choices: Sequence[Iterable[str]], raw_dir: str = ''
) -> dict[str, pathlib.Path] | None:
  """Paths of the first of `choices` whose files are in the raw folder.

  Returns:
    {file: path}; None where the environment names no folder, or one without
    the files.

  Raises:
    ValueError: `raw_dir` is given and does not hold the files.
  """
  folder_name = raw_dir or os.environ.get(VARIABLE, '')
  if not folder_name:
    return None
  root = pathlib.Path(folder_name).expanduser()
  for files in choices:
    for folder in (root, root / name):
      if all((folder / file).is_file() for file in files):
        return {file: folder / file for file in files}
  if raw_dir:
    needed = ' or '.join(', '.join(files) for files in choices)
    raise ValueError(
      f"raw_dir '{raw_dir}' does not hold '{name}'; needed there, or in its "
      f"folder '{name}': {needed}"
    )
  return None


def _download(dl_manager, name, url, files) -> dict[str, pathlib.Path]:
  """Downloads through TFDS; the error says what to do without a network."""
  try:
    _reach(url)
    paths = dl_manager.download({file: url + file for file in files})
  # Some errors of requests are OSErrors; TFDS's are not.
  except Exception as error:
    reason = str(error).splitlines()[0]
    raise ValueError(
      f"cannot download '{name}' ({reason}); put {', '.join(files)} from "
      f'{url} into a folder and name it by raw_dir, or by {VARIABLE} in the '
      'environment'
    ) from error
  return {file: pathlib.Path(path) for file, path in paths.items()}


def _reach(url: str) -> None:
  """Fails within seconds without a network; TFDS would retry for minutes."""
  if urllib.request.getproxies():
    return
  parts = urllib.parse.urlsplit(url)
  port = parts.port or {'http': 80, 'https': 443}[parts.scheme]
  socket.create_connection((parts.hostname, port), timeout=10).close()


def _md5(path: pathlib.Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'md5').hexdigest()
