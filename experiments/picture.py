"""Draws what a run or a sweep shows, as one SVG file.

  python -m experiments.picture runs/first --out experiments/first.svg

Of a run: the test scores, and the score on validation by epoch. Of a
sweep over two keys: its heat maps and the learning curves of its best settings.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from kd_jax import checkpoint, tasks
from kd_jax.compare import results
from kd_jax.compare import table as tables
from kd_jax.report import curves, maps, notebook, page, pictures, svg, swept
from kd_jax.runs import sweep_run


def draw(workdir: pathlib.Path) -> str:
  """The SVG of a folder.

  Raises:
    ValueError: the folder holds no finished run, and no finished sweep over
      two keys.
  """
  if (workdir / 'sweep.json').exists():
    return draw_sweep(workdir)
  if not (workdir / 'report.json').exists():
    raise ValueError(f"'{workdir}' holds no finished run and no finished sweep")
  return draw_run(results.read(workdir))


def draw_run(result: results.Result) -> str:
  """Scores and curves of a run."""
  names, task = tables.titles(result.report), tasks.task_of(result.report)
  colors = svg.palette(result.report)
  dots = list(page.points(result.report, names, colors).values())
  learning = curves.draw(result, names, colors)[:1]
  return notebook.show(pictures.scores(dots, task), *learning).text


def draw_sweep(workdir: pathlib.Path) -> str:
  """Heat maps and learning curves of a sweep."""
  rows = checkpoint.read_json(workdir / 'sweep.json')
  task = sweep_run.task_of(rows, workdir)
  heats = maps.heats(rows, task)
  if not heats:
    raise ValueError(f"'{workdir}' holds no finished sweep over two keys")
  learning = swept.learning(workdir, rows, task)
  return notebook.show(*heats, *filter(None, [learning])).text


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0, or 2 for a folder that cannot be drawn."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.picture', description=__doc__.split('\n')[0]
  )
  parser.add_argument('workdir', type=pathlib.Path, metavar='RUN_OR_SWEEP')
  parser.add_argument(
    '--out', type=pathlib.Path, help='by default picture.svg in the folder'
  )
  options = parser.parse_args(argv)
  out = options.out or options.workdir / 'picture.svg'
  try:
    out.write_text(draw(options.workdir))
  except (OSError, ValueError) as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return 2
  print(out)
  return 0


if __name__ == '__main__':
  sys.exit(main())
