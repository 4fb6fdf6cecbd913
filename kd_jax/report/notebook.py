"""Shows the pictures of a report in a notebook.

  show(*maps.heats(rows))

A picture takes its colors from the page; here it is given the light ones and
a background, so that it can be read anywhere.
"""

import pathlib
import re
from typing import NamedTuple

PAGE = pathlib.Path(__file__).with_name('report.html.jinja')
GAP = 12  # points between pictures
HEAD = (
  'xmlns="http://www.w3.org/2000/svg" '
  'xmlns:xlink="http://www.w3.org/1999/xlink" font-family="sans-serif"'
)


class Shown(NamedTuple):
  """An SVG file that a notebook draws.

  Attributes:
    text: of the file.
  """

  text: str

  def __repr__(self) -> str:
    # A notebook also stores this text beside the picture.
    return f'Shown({len(self.text):,} characters of SVG)'

  def _repr_svg_(self) -> str:
    return self.text


def show(*panels: str, columns: int = 3) -> Shown:
  """Places pictures beside each other.

  Args:
    panels: SVG elements, as `svg.panel` makes them.
    columns: pictures in a row.
  """
  parts, x, y, across, below = [], GAP, GAP, 0.0, 0.0
  for i, panel in enumerate(panels):
    if i and i % columns == 0:
      x, y = GAP, y + below + GAP
    width, height = size(panel)
    place = f'<svg x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
    parts.append(place + panel.removeprefix('<svg '))
    x += width + GAP
    across = max(across, x)
    below = height if i % columns == 0 else max(below, height)
  extent = f'{across:g} {y + below + GAP:g}'
  width, height = extent.split()
  paper = '<rect width="100%" height="100%" fill="var(--card)"/>'
  text = (
    f'<svg {HEAD} width="{width}pt" height="{height}pt" viewBox="0 0 {extent}">'
    f'{paper}{"".join(parts)}</svg>'
  )
  return Shown(painted(text))


def size(panel: str) -> tuple[float, float]:
  """Width and height of a picture, in points."""
  box = re.search(r'viewBox="([^"]+)"', panel).group(1)
  _, _, width, height = map(float, box.split())
  return width, height


def painted(text: str) -> str:
  """Replaces the variables of an SVG by the page's light colors."""
  # The page's first block is the light one.
  page = PAGE.read_text(encoding='utf-8')
  style = page.partition(':root {')[2].partition('}')[0]
  colors = dict(re.findall(r'--([\w-]+): (#\w+)', style))
  return re.sub(r'var\(--([\w-]+)\)', lambda m: colors[m.group(1)], text)
