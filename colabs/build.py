"""Runs the notebooks and writes them down with their outputs.

  python -m colabs.build [NAME ...]

NAME.py is what one edits, NAME.ipynb what one opens; jupytext pairs them.
"""

import pathlib
import sys
import tempfile
from collections.abc import Sequence

import jupytext
import nbclient
import nbformat

from tests.helpers import children

HERE = pathlib.Path(__file__).resolve().parent
LIMIT = 300  # seconds that a cell may take


def sources() -> list[pathlib.Path]:
  """The notebooks as text, in their order."""
  return sorted(HERE.glob('[0-9]*.py'))


def run(source: pathlib.Path) -> nbformat.NotebookNode:
  """The notebook with its outputs, from a folder of its own.

  Args:
    source: NAME.py.

  Raises:
    nbclient.exceptions.CellExecutionError: where a cell fails.
  """
  notebook = jupytext.read(source)
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


def quiet(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
  """An output without the progress that a busy machine prints."""
  if output.get('name') != 'stderr':
    return output
  lines = output.text.splitlines(keepends=True)
  kept = [line for line in lines if line.strip() and ' steps/s, ' not in line]
  return nbformat.from_dict({**output, 'text': ''.join(kept)})


def environment() -> dict[str, str]:
  """That of the kernel: this checkout, one CPU device."""
  return {**children.environment(), 'PYTHONPATH': str(HERE.parent)}


def main(names: Sequence[str]) -> None:
  """Runs those that are named, or all, and writes NAME.ipynb."""
  for source in sources():
    if not names or source.stem in names:
      nbformat.write(run(source), source.with_suffix('.ipynb'))
      print(source.stem)


if __name__ == '__main__':
  main(sys.argv[1:])
