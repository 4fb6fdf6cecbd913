"""Pictures of a report beside each other in a notebook."""

from xml.etree import ElementTree

from kd_jax.report import notebook, svg


def panel(name: str, width: float = 2.0) -> str:
  """A line in a picture, in inches."""

  def draw(axes):
    axes.plot([0, 1], [0, 1], color=svg.COLORS['student'])

  return svg.panel(draw, name, 'a line', width, 1.0)


def test_it_is_one_file_in_colors_of_its_own():
  shown = notebook.show(panel('a'), panel('b'))
  text = shown._repr_svg_()
  root = ElementTree.fromstring(text)
  assert [child.tag.split('}')[1] for child in root] == ['rect', 'svg', 'svg']
  assert 'var(' not in text and '#0b78a8' in text
  assert len(repr(shown)) < 80


def test_pictures_lie_in_rows_and_do_not_overlap():
  panels = panel('a'), panel('b', 3.0), panel('c')
  root = ElementTree.fromstring(notebook.show(*panels, columns=2).text)
  boxes = [
    [float(child.get(key)) for key in ('x', 'y', 'width', 'height')]
    for child in root
    if child.tag.endswith('svg')
  ]
  (ax, ay, aw, ah), (bx, by, bw, _), (cx, cy, _, ch) = boxes
  assert ay == by and bx >= ax + aw
  assert cx == ax and cy >= ay + ah
  _, _, width, height = map(float, root.get('viewBox').split())
  assert width >= bx + bw and height >= cy + ch


def test_no_picture_is_an_empty_one():
  assert ElementTree.fromstring(notebook.show().text) is not None
