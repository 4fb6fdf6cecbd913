"""Writes the report of a run as one self-contained page.

  python -m kd_jax.report DIR [DIR ...] [--out FILE]

makes it again from what is on disk; `--out` also writes a page that shows
several runs beside each other.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

PAGE = 'report.html'
ONE, MANY = 'report.html.jinja', 'across.html.jinja'


def write(folder: str | os.PathLike) -> pathlib.Path:
  """Writes report.html of a finished run, or of a folder of its seeds.

  Args:
    folder: with report.json, as `compare` leaves it.

  Returns:
    The page.

  Raises:
    ValueError: one line, where there is no finished run.
  """
  from kd_jax.compare import results
  from kd_jax.report import page

  result = results.read(folder)
  return save(pathlib.Path(folder) / PAGE, ONE, page.context(result))


def across(folders: Sequence[str | os.PathLike], out: pathlib.Path) -> None:
  """Writes a page that shows several finished runs beside each other.

  Raises:
    ValueError: where one of them is not finished.
  """
  from kd_jax.compare import results
  from kd_jax.report import page

  runs = [results.read(folder) for folder in folders]
  save(out, MANY, page.across(runs, out.parent))


def save(
  path: pathlib.Path, template: str, context: dict[str, Any]
) -> pathlib.Path:
  """Fills the template and writes the page atomically."""
  part = path.with_name(f'.{path.name}.{os.getpid()}')
  part.write_text(render(template, context), encoding='utf-8')
  part.replace(path)
  return path


def render(template: str, context: dict[str, Any]) -> str:
  """Fills a template."""
  import jinja2

  here = pathlib.Path(__file__).parent
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(here),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  return environment.get_template(template).render(context)


def main(argv: Sequence[str] | None = None) -> int:
  """The exit code: 0, or 2 for a folder without a readable run."""
  parser = argparse.ArgumentParser(
    prog='python -m kd_jax.report', description=__doc__.split('\n')[0]
  )
  parser.add_argument('folders', nargs='+', metavar='DIR')
  parser.add_argument(
    '--out',
    type=pathlib.Path,
    metavar='FILE',
    help='also write a page that shows all of them beside each other',
  )
  options = parser.parse_args(argv)
  try:
    for folder in options.folders:
      print(write(folder))
    if options.out:
      across(options.folders, options.out)
      print(options.out)
  except (ValueError, OSError) as mistake:
    print(f'error: {mistake}', file=sys.stderr)
    return 2
  return 0
