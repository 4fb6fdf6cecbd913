"""Settings of every test: eight CPU devices, strict broadcasting, a cache."""

import functools
import gc
import importlib.metadata
import json
import os
import tempfile

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
_flags = ['--xla_force_host_platform_device_count=8']
_known = importlib.metadata.version('jaxlib').startswith('0.10.')
if _known:
  # Compile in half the time; XLA ends a program that names an unknown flag.
  _flags += [
    '--xla_cpu_use_fusion_emitters=false',
    '--xla_cpu_parallel_codegen_split_count=1',
  ]
os.environ['XLA_FLAGS'] = ' '.join([os.environ.get('XLA_FLAGS', ''), *_flags])
# The tests compile thousands of small programs and run each a few times.
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
# What was traced and compiled stays: Python looks through it once, not often.
gc.disable()
if _known:
  from jax._src.interpreters import mlir

  # Of its 25 ms for a single operation, JAX takes 5 to set up MLIR anew.
  mlir.make_ir_context = functools.cache(mlir.make_ir_context)


@pytest.fixture(scope='module', autouse=True)
def collected():
  """Frees what a file of tests left in circles, and lets the rest be."""
  yield
  if _known:
    mlir.make_ir_context.cache_clear()
  gc.collect()
  gc.freeze()


@pytest.fixture(scope='module')
def compiled_once():
  """Stages of equal settings share what is compiled: only the state is found
  again. That a process which starts afresh goes on as well is test_resume's."""
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
