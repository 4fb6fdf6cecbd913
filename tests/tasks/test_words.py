"""Outside of tasks/ no code says accuracy where a score is meant."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2] / 'kd_jax'
WORD = re.compile(r'accurac(y|ies)', re.IGNORECASE)

# Where it is meant: how often predictions of a confidence are right, the
# interval of a proportion, and what distill() returns of classification.
MEANT = {
  'compare/fidelity.py': {'accuracy'},
  'compare/by_sums.py': {'accuracy'},
  'report/mistakes.py': {'accuracy'},
  'compare/statistics.py': {'of_accuracy', 'accuracies'},
  'compare/seeds.py': {'of_accuracy'},
  'compare/results.py': {'of_accuracy'},
  'api.py': {'accuracy'},
}


def docstrings(tree: ast.AST) -> set[int]:
  """The identities of the nodes that are docstrings."""
  kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
  return {
    id(node.body[0].value)
    for node in ast.walk(tree)
    if isinstance(node, kinds) and node.body
    if isinstance(node.body[0], ast.Expr)
    if isinstance(node.body[0].value, ast.Constant)
  }


def said(text: str) -> set[str]:
  """The names and texts of code that say the word."""
  tree = ast.parse(text)
  silent, found = docstrings(tree), set()
  for node in ast.walk(tree):
    names = [
      getattr(node, key, None) for key in ('id', 'attr', 'arg', 'name', 'value')
    ]
    if id(node) in silent:
      continue
    found |= {x for x in names if isinstance(x, str) and WORD.search(x)}
  return found


def files() -> list[pathlib.Path]:
  """All code of the package but that of the tasks."""
  tasks = ROOT / 'tasks'
  return [p for p in sorted(ROOT.rglob('*.py')) if tasks not in p.parents]


def test_only_where_it_is_meant():
  spoken = {
    str(path.relative_to(ROOT)): words
    for path in files()
    if (words := said(path.read_text()))
  }
  assert spoken == MEANT


def test_pages_take_the_word_from_the_task():
  pages = sorted(ROOT.rglob('*.jinja'))
  assert pages
  for path in pages:
    assert not WORD.search(path.read_text()), path


@pytest.mark.parametrize('code', [
  "row['accuracy']",
  "x = f'validation_accuracy/{name}'",
  'def f(accuracy):\n  return 1',
  'best.accuracy',
  "d = dict(title='Test accuracy, %')",
])  # fmt: skip
def test_the_word_is_heard(code):
  assert said(code)
  assert not said('"""The accuracy."""')
