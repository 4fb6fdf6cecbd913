"""Draws the README's picture: what a sweep over T and alpha found.

python -m experiments.picture runs/sweep
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from kd_jax import checkpoint
from kd_jax.report import maps, notebook, swept

PICTURE = pathlib.Path(__file__).with_name('softness.svg')


def draw(workdir: pathlib.Path) -> str:
  """Heat maps and learning curves of a sweep's folder, as an SVG file.

  Raises:
    ValueError: the folder holds no sweep of two keys or more.
  """
  found = workdir / 'sweep.json'
  rows = checkpoint.read_json(found) if found.exists() else []
  heats = maps.heats(rows)
  if not heats:
    raise ValueError(f"'{workdir}' holds no finished sweep over two keys")
  curves = swept.learning(workdir, rows)
  return notebook.show(*heats, *filter(None, [curves])).text


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0, or 2 for a folder that cannot be drawn."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.picture', description=__doc__.split('\n')[0]
  )
  parser.add_argument('workdir', type=pathlib.Path, metavar='SWEEP')
  parser.add_argument('--out', type=pathlib.Path, default=PICTURE)
  options = parser.parse_args(argv)
  try:
    options.out.write_text(draw(options.workdir))
  except ValueError as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return 2
  print(options.out)
  return 0


if __name__ == '__main__':
  sys.exit(main())
