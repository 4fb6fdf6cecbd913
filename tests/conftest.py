"""Settings of every test: eight CPU devices, strict broadcasting, a cache.

The tests compile thousands of small programs and run each a few times. So they
switch off or patch three things, all of them here; a user has none of this:

- XLA's optimizations (JAX_DISABLE_MOST_OPTIMIZATIONS and two flags): a program
  compiles in half the time.
- JAX's MLIR context: one serves a whole file of tests, where JAX sets up a new
  one for 5 of the 25 ms that a single operation takes.
- The garbage collector: Python would look through all that was traced and
  compiled again and again; here it does so once after each file.

KD_JAX_TESTS_OPTIMIZED=1 leaves all three as a user has them, and the fixture
`compiled_once` too. tests/test_optimized.py runs those tests so that compare
bit for bit.

They run on CPU, whatever there is. On a GPU: JAX_PLATFORMS=cuda and -n 1 (a
process takes three quarters of its memory otherwise); products are then taken
in full f32, programs are optimized and deterministic, and what needs several
devices cannot pass on one.

KD_JAX_PASSED=FILE names tests that need not run again: a session leaves out
those in the file, and adds those that passed.

KD_JAX_NO_SKIPS=1 is for a machine that has everything optional: a skip is a
failure, unless its reason begins with one of `RIGHTLY`.
"""

import collections
import functools
import gc
import importlib.metadata
import json
import os
import pathlib
import shutil
import tempfile

ON_CPU = os.environ.setdefault('JAX_PLATFORMS', 'cpu') == 'cpu'
HURRIED = ON_CPU and os.environ.get('KD_JAX_TESTS_OPTIMIZED') != '1'
RIGHTLY = ('by design: ', 'this system ')
# What takes more than half a minute in the whole suite, the longest first.
LONG = (
  'colabs/test_notebooks.py',
  'methods/test_devices.py',
  'export/onnx/test_zoo.py',
  'test_optimized.py',
  'slurm/test_slurm.py',
  'training/test_resume.py',
  'training/test_chunks.py',
  'training/test_loop.py',
  'experiments/benchmarks/test_dense.py',
  'test_golden.py',
  'schemes/test_schemes.py',
  'experiments/benchmarks/test_sides.py',
  'experiments/test_scenes.py',
  'methods/test_trains.py',
  'experiments/test_hinton.py',
  'training/test_tracing.py',
)

_flags = ['--xla_force_host_platform_device_count=8']
if not ON_CPU:
  _flags.append('--xla_gpu_deterministic_ops=true')
  os.environ.setdefault('JAX_DEFAULT_MATMUL_PRECISION', 'highest')
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
# XLA ends a program that names an unknown flag, and JAX may rename its parts.
_known = HURRIED and importlib.metadata.version('jaxlib').startswith('0.10.')
if _known:
  _flags += [
    '--xla_cpu_use_fusion_emitters=false',
    '--xla_cpu_parallel_codegen_split_count=1',
  ]
os.environ['XLA_FLAGS'] = ' '.join([os.environ.get('XLA_FLAGS', ''), *_flags])
if HURRIED:
  os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
# One folder for all that is temporary, removed by the first process; what
# one process compiled, another need not.
if 'PYTEST_XDIST_WORKER' not in os.environ:
  os.environ.setdefault('PYTEST_DEBUG_TEMPROOT', tempfile.gettempdir())
  _own = tempfile.TemporaryDirectory(prefix='kd_jax_tests_')
  os.environ['TMPDIR'] = tempfile.tempdir = _own.name
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', _own.name + '/compiled')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')

import jax  # noqa: E402  (reads the environment)
import pytest  # noqa: E402

from kd_jax.training import runtime  # noqa: E402

jax.config.update('jax_numpy_rank_promotion', 'raise')
if HURRIED:
  gc.disable()
if _known:
  from jax._src.interpreters import mlir

  mlir.make_ir_context = functools.cache(mlir.make_ir_context)


@pytest.fixture(scope='module', autouse=True)
def collected():
  """Frees what a file of tests left in circles, and lets the rest be."""
  yield
  if _known:
    mlir.make_ir_context.cache_clear()
  if HURRIED:
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='module')
def compiled_once():
  """Stages of equal settings share what is compiled: only the state is found
  again. That a process which starts afresh goes on as well is test_resume's."""
  if not HURRIED:
    yield
    return
  original, kept = runtime.make_runtime, {}

  def make(experiment, stage, teachers=None):
    if teachers is not None:
      return original(experiment, stage, teachers)
    placement = experiment.placement
    key = json.dumps(
      [
        stage.name,
        experiment.identities[stage.name],
        experiment.options,
        placement.name,
        placement.count,
      ]
    )
    if key not in kept:
      kept[key] = original(experiment, stage)
    return kept[key]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(runtime, 'make_runtime', make)
    yield


def passed_before() -> set[str]:
  """The tests in KD_JAX_PASSED."""
  path = os.environ.get('KD_JAX_PASSED')
  if not path or not os.path.exists(path):
    return set()
  return {*pathlib.Path(path).read_text().splitlines()}


def pytest_sessionfinish(session):
  """Notes what passed, in the process that hears of all tests."""
  path = os.environ.get('KD_JAX_PASSED')
  reporter = session.config.pluginmanager.get_plugin('terminalreporter')
  if path and reporter and 'PYTEST_XDIST_WORKER' not in os.environ:
    passed = {report.nodeid for report in reporter.stats.get('passed', ())}
    lines = sorted(passed | passed_before())
    pathlib.Path(path).write_text(''.join(f'{line}\n' for line in lines))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
  """Has the longest files begin first and those of few tests last.

  A process takes file by file, and waits at the end for the others. What
  passed before is left out.
  """
  before = passed_before()
  left_out = [item for item in items if item.nodeid in before]
  if left_out:
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item.nodeid not in before]
  first = {f'tests/{name}': i for i, name in enumerate(LONG)}
  count = collections.Counter(map(file_of, items))

  def place(item):
    file = file_of(item)
    return first.get(file, len(first)), -count[file], file

  items.sort(key=place)


def file_of(item) -> str:
  """From the root."""
  return item.nodeid.partition('::')[0]


def refuse_skip(report) -> None:
  """Makes a failure of a skip for want of something, where nothing may be."""
  if os.environ.get('KD_JAX_NO_SKIPS') != '1' or hasattr(report, 'wasxfail'):
    return
  if not report.skipped:
    return
  reason = str(report.longrepr[-1]).removeprefix('Skipped: ')
  if not reason.startswith(RIGHTLY):
    report.outcome = 'failed'
    report.longrepr = f'skipped with KD_JAX_NO_SKIPS=1: {reason}'


def pytest_terminal_summary(terminalreporter):
  """Says that a GPU was left alone."""
  if ON_CPU and shutil.which('nvidia-smi'):
    terminalreporter.line('all on CPU; for the GPU: JAX_PLATFORMS=cuda, -n 1')


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
  """A test or its fixtures that skip."""
  report = yield
  refuse_skip(report)
  return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
  """A file that skips as a whole."""
  report = yield
  refuse_skip(report)
  return report
