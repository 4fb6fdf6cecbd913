"""One TFDS data folder for all the tests of a session."""

import pytest

from kd_jax.data import sources


@pytest.fixture(scope='session')
def data_dir(tmp_path_factory) -> str:
  """An empty TFDS data folder; what one test prepares, the next one finds."""
  return str(tmp_path_factory.mktemp('tfds'))


@pytest.fixture(scope='session')
def digits(data_dir) -> sources.Data:
  """The digits, prepared in `data_dir`."""
  return sources.make_data('digits', data_dir=data_dir)
