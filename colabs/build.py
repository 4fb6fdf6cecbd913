"""Runs the notebooks and writes them down with their outputs.

  python -m colabs.build [NAME ...]

NAME.py is what one edits, NAME.ipynb what one opens; jupytext pairs them. In
NAME.py, badge and install cell say REPOSITORY for the constant below. Needs
the extra `notebooks`.
"""

import importlib.util
import pathlib
import re
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kd_jax import errors, types
from tests.helpers import children

if TYPE_CHECKING:
  import nbformat

# OWNER/NAME at GitHub. A placeholder until the repository is public: change it
# here, run `python -m colabs.build`, and nowhere else.
REPOSITORY = 'kd-jax/kd_jax'
PACKAGES = ('jupytext', 'nbformat', 'nbclient', 'ipykernel')
HERE = pathlib.Path(__file__).resolve().parent
LIMIT = 300  # seconds that a cell may take
# What a run says of its progress (see `kd_jax.metrics`).
PROGRESS = re.compile(
  r': step \d+/\d+|: finished before, read from |: \d+ steps in one program|'
  r'^(training|comparing|measuring|writing|reading|building) '
)


def sources() -> list[pathlib.Path]:
  """The notebooks as text, in their order."""
  return sorted(HERE.glob('[0-9]*.py'))


def read(source: pathlib.Path) -> 'nbformat.NotebookNode':
  """The notebook without outputs, with the repository's name."""
  import jupytext

  text = source.read_text().replace('REPOSITORY', REPOSITORY)
  return jupytext.reads(text, 'py:percent')


def run(source: pathlib.Path) -> 'nbformat.NotebookNode':
  """The notebook with its outputs, from a folder of its own.

  Args:
    source: NAME.py.

  Raises:
    nbclient.exceptions.CellExecutionError: where a cell fails.
  """
  import nbclient

  notebook = read(source)
  for i, cell in enumerate(notebook.cells):
    cell['id'] = f'cell-{i}'  # the same every time
  with tempfile.TemporaryDirectory() as folder:
    client = nbclient.NotebookClient(
      notebook,
      timeout=LIMIT,
      kernel_name='python3',
      record_timing=False,
      resources={'metadata': {'path': folder}},
    )
    client.execute(env=environment())
  for cell in notebook.cells:
    if cell.cell_type == 'code':
      cell.outputs = [o for o in map(quiet, cell.outputs) if o.get('text', 1)]
  kept = {'name', 'file_extension', 'mimetype'}
  info = notebook.metadata['language_info']
  notebook.metadata['language_info'] = {k: info[k] for k in sorted(kept)}
  return notebook


def quiet(output: 'nbformat.NotebookNode') -> 'nbformat.NotebookNode':
  """An output without progress, which depends on how busy the machine is."""
  import nbformat

  if output.get('name') != 'stderr':
    return output
  lines = output.text.splitlines(keepends=True)
  kept = [line for line in lines if line.strip() and not PROGRESS.search(line)]
  return nbformat.from_dict({**output, 'text': ''.join(kept)})


def environment() -> dict[str, str]:
  """That of the kernel: this checkout, one CPU device."""
  return {**children.environment(), 'PYTHONPATH': str(HERE.parent)}


def check(names: Sequence[str]) -> None:
  """Refuses an unknown notebook, and to begin without what it takes.

  Raises:
    ValueError: one line.
  """
  known = [source.stem for source in sources()]
  for name in names:
    if name not in known:
      raise types.unknown('notebook', name, known)
  missing = [p for p in PACKAGES if importlib.util.find_spec(p) is None]
  if missing:
    raise ValueError(
      f'the notebooks need {", ".join(missing)}, not installed here: '
      "pip install -e '.[notebooks]'"
    )


def main(names: Sequence[str]) -> int:
  """Runs those that are named, or all, and writes NAME.ipynb; the exit code."""
  try:
    check(names)
  except ValueError as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return errors.exit_code(mistake)
  import nbformat

  for source in sources():
    if not names or source.stem in names:
      nbformat.write(run(source), source.with_suffix('.ipynb'))
      print(source.stem)
  return errors.DONE


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
