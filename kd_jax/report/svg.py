"""Draws Matplotlib figures as SVG inside a page, in the page's colors.

A figure is drawn in placeholder colors, one for each CSS variable of the page,
which are then replaced, so that a picture follows light and dark. Its text
stays text, in the page's font. No state of pyplot is touched.
"""

import io
import itertools
import re
from collections.abc import Callable

# CSS variable -> placeholder, a color that Matplotlib would never pick.
COLORS = {
  'ink': '#010203',
  'muted': '#010204',
  'grid': '#010205',
  'card': '#010206',
  'good': '#010207',
  'bad': '#010208',
  'teacher': '#01020a',
  'alone': '#01020b',
  'student': '#01020c',
  **{f'other{k}': f'#01021{k}' for k in range(6)},
}

FEW = 24  # texts of a picture that are laid out; more lie inside the axes

_RC = {
  'axes.edgecolor': COLORS['muted'],
  'axes.facecolor': 'none',
  'axes.grid': True,
  'axes.labelcolor': COLORS['muted'],
  'axes.labelsize': 9,
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.titlecolor': COLORS['ink'],
  'axes.titlelocation': 'left',
  'axes.titlesize': 10,
  'axes.titleweight': 'bold',
  'axes.unicode_minus': True,
  'figure.facecolor': 'none',
  'font.size': 9,
  'grid.color': COLORS['grid'],
  'grid.linewidth': 0.8,
  'legend.fontsize': 8.5,
  'legend.frameon': False,
  'legend.labelcolor': COLORS['ink'],
  'lines.linewidth': 1.8,
  'savefig.facecolor': 'none',
  'svg.fonttype': 'none',
  'text.color': COLORS['ink'],
  'xtick.color': COLORS['muted'],
  'xtick.labelsize': 8.5,
  'ytick.color': COLORS['muted'],
  'ytick.labelsize': 8.5,
}


def panel(
  draw: Callable, name: str, label: str, width: float = 4, height: float = 3
) -> str:
  """Draws one picture as SVG text.

  Args:
    draw: a function that draws on the Matplotlib axes it is given.
    name: unique on the page; letters, digits, hyphens.
    label: a description for screen readers.
    width, height: in inches; the page scales it.
  """
  import matplotlib
  from matplotlib.backends import backend_svg
  from matplotlib.figure import Figure

  # With a fixed salt the same picture gives the same bytes every time.
  with matplotlib.rc_context({**_RC, 'svg.hashsalt': name}):
    figure = Figure((width, height), dpi=72)  # of SVG: sizes are as drawn
    canvas = backend_svg.FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    draw(axes)
    # The layout would measure every artist.
    for artist in (*axes.patches, *axes.lines, *axes.collections):
      artist.set_in_layout(False)
    if len(axes.texts) > FEW:
      for text in axes.texts:
        text.set_in_layout(False)
    _fit(axes)
    out = io.StringIO()
    # savefig would draw everything twice.
    canvas.print_svg(out, metadata={'Date': None, 'Creator': None})
  return inline(out.getvalue(), name, label)


def _fit(axes, pad: float = 3) -> None:
  """Lets the axes fill the figure, but for their labels and a margin.

  Matplotlib's own layouts measure everything twice.
  """
  outer = axes.get_tightbbox(for_layout_only=True)
  inner = axes.get_window_extent()
  width, height = axes.figure.bbox.size
  left, bottom = (inner.min - outer.min + pad) / (width, height)
  right, top = 1 - (outer.max - inner.max + pad) / (width, height)
  axes.set_position((left, bottom, right - left, top - bottom))


def inline(text: str, name: str, label: str) -> str:
  """Turns an SVG file into an element of a page that holds others.

  The header is removed, ids get the name as a prefix, colors become variables,
  text takes the page's font.
  """
  text = text[text.index('<svg') :]
  text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
  text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
  text = re.sub(r'url\(#([^)]+)\)', rf'url(#{name}-\1)', text)
  text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
  text = re.sub(r'<!--.*?-->\s*', '', text, flags=re.DOTALL)
  text = re.sub(r'font-family: [^;\"]+;?', '', text)
  text = re.sub(r"font: ([^;\"]*?)('[^\"]*|sans-serif)(?=[;\"])", _font, text)
  for variable, placeholder in COLORS.items():
    text = text.replace(placeholder, f'var(--{variable})')
  size = re.search(r'viewBox="[^"]+"', text).group()
  head = f'<svg role="img" aria-label="{_escaped(label)}" {size}>'
  return head + text[text.index('>') + 1 :].strip()


def _font(match: re.Match) -> str:
  """'font: bold 9px ..' without the family."""
  parts = match.group(1).split()
  px = next((p for p in parts if p.endswith('px')), '9px')
  bold = 'font-weight: bold; ' if {'bold', '700'} & set(parts) else ''
  return f'{bold}font-size: {px}'


def _escaped(text: str) -> str:
  return text.replace('&', '&amp;').replace('"', '&quot;').replace('<', '&lt;')


def palette(report) -> dict[str, str]:
  """{row: CSS variable}, by role: teacher, student alone, distilled, others."""
  students, used = report['students'], itertools.count()
  alone = {b for b in students.values() if b}
  chosen = {}
  for row in report['networks']:
    if row == report['teacher']:
      chosen[row] = 'teacher'
    elif row in alone and 'alone' not in chosen.values():
      chosen[row] = 'alone'
    elif row in students and 'student' not in chosen.values():
      chosen[row] = 'student'
    else:
      chosen[row] = f'other{next(used) % 6}'
  return chosen
