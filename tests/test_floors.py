"""The pyramid: no import points up, and importing kd_jax costs little."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'kd_jax'
MOST = 14  # floors of the whole tree, experiments included


def imports(path: pathlib.Path) -> set[str]:
  """The modules of kd_jax that a file imports, anywhere in it."""
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return {name for name in names if name.startswith('kd_jax.')}


def files() -> list[pathlib.Path]:
  """Every file of the package that is not a command or the public names."""
  return sorted(
    path
    for path in PACKAGE.rglob('*.py')
    if path.name != '__main__.py' and path != PACKAGE / '__init__.py'
  )


def room(path: pathlib.Path) -> str:
  """The file or folder beside config.py that a file is in."""
  return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def rooms() -> dict[str, set[str]]:
  """{room: the rooms that it imports}."""
  graph = {room(path): set() for path in files()}
  for path in files():
    graph[room(path)] |= {name.split('.')[1] for name in imports(path)}
  return {name: below - {name} for name, below in graph.items()}


def module_of(name: str) -> pathlib.Path | None:
  """The file that 'kd_jax.x.y' names, or names something in."""
  parts = name.split('.')
  while len(parts) > 1:
    place = ROOT.joinpath(*parts)
    for path in (place.with_suffix('.py'), place / '__init__.py'):
      if path.exists():
        return path
    parts.pop()
  return None


def floors(graph: dict) -> dict:
  """{node: its floor}: 1 imports nothing, others stand above what they import.

  Raises:
    graphlib.CycleError: for a circle; without one no import points up.
  """
  height = {}
  for node in graphlib.TopologicalSorter(graph).static_order():
    height[node] = 1 + max((height[n] for n in graph[node]), default=0)
  return height


def test_no_import_of_a_room_points_up_and_the_tower_is_low():
  height = floors(rooms())
  # The experiments and notebooks stand above.
  assert max(height.values()) < MOST, height


def test_no_circle_of_files():
  """A folder's public names are all of its files at once: they are left out."""
  paths = [path for path in files() if path.name != '__init__.py']
  graph = {path: {module_of(name) for name in imports(path)} for path in paths}
  floors({path: below & set(paths) for path, below in graph.items()})


def test_an_arrow_that_points_up_is_seen(tmp_path):
  bad = tmp_path / 'bad.py'
  bad.write_text('def f():\n  from kd_jax import training\n')
  graph = rooms()
  graph['losses'] |= {name.split('.')[1] for name in imports(bad)}
  with pytest.raises(graphlib.CycleError):
    floors(graph)


def test_losses_import_nothing_else_of_ours():
  assert rooms()['losses'] == set()


def test_only_build_and_what_is_above_reads_a_config():
  graph = rooms()
  height = floors(graph)
  for name, below in graph.items():
    if 'config' in below:
      assert height[name] >= height['build'], name


def test_only_parallel_and_training_know_of_devices():
  """The names of pmap's axis pass through; nobody else places arrays."""
  allowed = {'parallel', 'training', 'executors', 'cli'}
  for path in files():
    text = path.read_text()
    if room(path) not in allowed:
      assert 'jax.pmap' not in text, path
      assert 'NamedSharding' not in text, path


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
    {
      'tensorflow_datasets',
      'orbax.checkpoint',
      'matplotlib',
      'tensorboardX',
      'tokenizers',
    },
  )


def test_tensorboard_costs_no_torch(tmp_path):
  costs_nothing(
    'from kd_jax import metrics; writer = metrics.make_writer'
    f"({str(tmp_path)!r}); writer.write('student', 1, {{'loss': 2.0}}); "
    'writer.close()',
    {'torch'},
  )
  assert list(tmp_path.glob('events*'))
