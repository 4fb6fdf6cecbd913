"""Settings of every test: eight CPU devices, strict broadcasting, a cache."""

import os
import tempfile

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '')
  + ' --xla_force_host_platform_device_count=8'
)
# The tests compile thousands of small programs and run each a few times.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
# One folder for all that is temporary, removed by the first process; what
# one test compiled, another need not.
if 'PYTEST_XDIST_WORKER' not in os.environ:
  os.environ.setdefault('PYTEST_DEBUG_TEMPROOT', tempfile.gettempdir())
  _own = tempfile.TemporaryDirectory(prefix='kd_jax_tests_')
  os.environ['TMPDIR'] = tempfile.tempdir = _own.name
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', _own.name + '/compiled')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')

import jax

jax.config.update('jax_numpy_rank_promotion', 'raise')
