"""The pyramid: no import points up, and importing kd_jax costs little."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLOORS = {
  'types': 0,
  'config': 0,
  'sweep': 0,
  'locks': 0,
  'machine': 0,
  'once': 0,
  'losses': 1,
  'methods': 2,
  'models': 2,
  'data': 2,
  'terms': 3,
  'stages': 3,
  'views': 3,
  'reuse': 3,
  'schemes': 4,
  'state': 4,
  'step': 4,
  'parallel': 4,
  'optim': 4,
  'checkpoint': 4,
  'metrics': 4,
  'quantize': 4,
  'shards': 4,
  'cache': 4,
  'parts': 5,
  'casting': 5,
  'stored': 5,
  'build': 5,
  'tools': 6,
  'keep': 6,
  'recall': 6,
  'lane': 6,
  'grid': 6,
  'train': 6,
  'strategies': 6,
  'halving': 6,
  'folders': 6,
  'compare': 6,
  'report': 7,
  'export': 7,
  'describe': 8,
  'runs': 8,
}
TOP = 9  # the public functions, the command lines


def imports(path: pathlib.Path) -> set[str]:
  """The modules of kd_jax that a file imports, anywhere in it."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      found |= {f'{node.module}.{alias.name}' for alias in node.names}
  return {name for name in found if name.split('.')[0] == 'kd_jax'}


def floor(name: str) -> int:
  """The floor of the module 'kd_jax.x.y'."""
  parts = name.split('.')
  return FLOORS.get(parts[1], TOP) if len(parts) > 1 else TOP


FILES = sorted((ROOT / 'kd_jax').rglob('*.py'))


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.name))
def test_no_import_points_up(path):
  name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
  if name == 'kd_jax.__init__' or name.endswith('__main__'):
    pytest.skip('the public names come from every floor')
  for found in imports(path):
    assert floor(found) <= floor(name), f'{name} imports {found}'


def test_an_arrow_that_points_up_is_seen(tmp_path):
  bad = tmp_path / 'bad.py'
  bad.write_text('def f():\n  from kd_jax import build\n  return build\n')
  assert max(map(floor, imports(bad))) == FLOORS['build']


def test_losses_import_nothing_else_of_ours():
  for path in (ROOT / 'kd_jax' / 'losses').glob('*.py'):
    others = {n for n in imports(path) if not n.startswith('kd_jax.losses')}
    assert not others, f'{path.name} imports {others}'


def test_only_build_and_what_is_above_reads_a_config():
  for path in FILES:
    name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    if 'kd_jax.config' in imports(path):
      assert floor(name) >= FLOORS['build'], name


def costs_nothing(code: str, heavy: set[str]) -> None:
  """Nothing heavy is imported by this code, in a process of its own."""
  code += f'; import sys; found = {heavy} & set(sys.modules)'
  done = subprocess.run(
    [sys.executable, '-c', f'{code}; sys.exit(str(found) if found else 0)'],
    capture_output=True,
    text=True,
    cwd=ROOT,
    check=False,
  )
  assert done.returncode == 0, done.stderr


def test_importing_costs_no_tfds_orbax_or_matplotlib():
  costs_nothing(
    'import kd_jax',
    {'tensorflow_datasets', 'orbax.checkpoint', 'matplotlib', 'tensorboardX'},
  )


def test_tensorboard_costs_no_torch(tmp_path):
  costs_nothing(
    'from kd_jax import metrics; writer = metrics.make_writer'
    f"({str(tmp_path)!r}); writer.write('student', 1, {{'loss': 2.0}}); "
    'writer.close()',
    {'torch'},
  )
  assert list(tmp_path.glob('events*'))
