"""Raw files of a data set: from a folder of the user's, or downloaded."""

import hashlib
import os
import pathlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

# The environment variable that names a folder of raw files.
VARIABLE = 'KD_JAX_RAW_DIR'


def fetch(
  dl_manager: Any, name: str, url: str, md5: Mapping[str, str], raw_dir: str
) -> dict[str, pathlib.Path]:
  """Where each file is, its md5 checked.

  A folder given as `raw_dir` must hold the files, itself or in a folder
  `name`; one given by the environment may.

  Args:
    dl_manager: TFDS's download manager.
    name: of the data set.
    url: address that the file names are appended to.
    md5: file name -> md5 in hex.
    raw_dir: folder of raw files; '' is KD_JAX_RAW_DIR in the environment.

  Raises:
    ValueError: a file is missing from `raw_dir`, cannot be downloaded, or has
      another md5.
  """
  found = find(name, md5, raw_dir)
  own = found is None
  if own:
    found = _download(dl_manager, name, url, md5)
  for file, path in found.items():
    actual = _md5(path)
    if actual == md5[file]:
      continue
    if own:
      # TFDS would find it again in its cache.
      path.unlink()
      pathlib.Path(f'{path}.INFO').unlink(missing_ok=True)
    raise ValueError(
      f"'{path}' has md5 {actual}; legal: {md5[file]}; the file is damaged "
      'or another one: fetch it again'
    )
  return found


def find(name: str, files, raw_dir: str = '') -> dict | None:
  """Paths of `files` in the raw folder; None where they may be downloaded."""
  given = raw_dir or os.environ.get(VARIABLE, '')
  if not given:
    return None
  root = pathlib.Path(given).expanduser()
  for folder in (root, root / name):
    if all((folder / file).is_file() for file in files):
      return {file: folder / file for file in files}
  if raw_dir:
    raise ValueError(
      f"raw_dir '{raw_dir}' does not hold '{name}'; needed there, or in its "
      f"folder '{name}': {', '.join(files)}"
    )
  return None


def _download(dl_manager, name, url, files) -> dict[str, pathlib.Path]:
  """Downloads through TFDS, or says what to do without a network."""
  try:
    _reach(url)
    paths = dl_manager.download({file: url + file for file in files})
  # Of requests' errors some are OSErrors; TFDS's own are not.
  except Exception as error:
    reason = str(error).splitlines()[0]
    raise ValueError(
      f"cannot download '{name}' ({reason}); put {', '.join(files)} from "
      f'{url} into a folder and name it by raw_dir, or by {VARIABLE} in the '
      'environment'
    ) from error
  return {file: pathlib.Path(path) for file, path in paths.items()}


def _reach(url: str) -> None:
  """Fails in seconds where TFDS would retry for minutes."""
  if urllib.request.getproxies():
    return
  parts = urllib.parse.urlsplit(url)
  port = parts.port or {'http': 80, 'https': 443}[parts.scheme]
  socket.create_connection((parts.hostname, port), timeout=10).close()


def _md5(path: pathlib.Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'md5').hexdigest()
