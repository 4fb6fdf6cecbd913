"""MNIST: from the raw folder, or through the download manager."""

import gzip
import hashlib
import http.server
import socket
import struct
import threading

import numpy as np
import pytest

from kd_jax.data import sources
from kd_jax.data.readers import download, mnist
from tests.helpers import shared


def _write_idx(path, array):
  head = struct.pack(f'>HBB{array.ndim}I', 0, 8, array.ndim, *array.shape)
  with gzip.open(path, 'wb') as file:
    file.write(head + array.tobytes())


@pytest.fixture
def tiny(tmp_path, monkeypatch):
  """A folder with four small idx files, whose md5s the builder expects."""
  folder = tmp_path / 'raw' / 'mnist'
  folder.mkdir(parents=True)
  rng = np.random.default_rng(0)
  for number, name in enumerate(mnist.MD5):
    size = 30 if number < 2 else 10
    array = rng.integers(0, 256, (size, 28, 28), np.uint8)
    if number % 2:
      array = (np.arange(size) % 10).astype(np.uint8)
    _write_idx(folder / name, array)
    monkeypatch.setitem(
      mnist.MD5, name, hashlib.md5((folder / name).read_bytes()).hexdigest()
    )
  monkeypatch.delenv(download.VARIABLE, raising=False)
  return folder


def test_the_four_files():
  folder = shared.need('data', 'mnist')
  data = sources.make_data(
    'mnist', raw_dir=str(folder), data_dir=shared.prepared(), limit=1000
  )
  assert data.train.inputs.shape == (1000, 28, 28, 1)
  assert data.validation.inputs.shape == (6000, 28, 28, 1)
  test = data.test()
  assert len(test.labels) == 10_000
  # The numbers that every tutorial normalizes MNIST with.
  np.testing.assert_allclose(data.mean, 0.1307, atol=5e-5)
  np.testing.assert_allclose(data.std, 0.3081, atol=5e-5)
  assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
  images = mnist.read_idx(folder / 't10k-images-idx3-ubyte.gz')
  np.testing.assert_array_equal(test.inputs[..., 0], images)


@pytest.mark.parametrize('where', ['option', 'parent', 'environment'])
def test_the_raw_folder_is_an_option_or_a_variable(
  tiny, tmp_path, monkeypatch, where
):
  options = {'option': str(tiny), 'parent': str(tiny.parent)}
  if where == 'environment':
    monkeypatch.setenv(download.VARIABLE, str(tiny))
  data = sources.make_data(
    'mnist', raw_dir=options.get(where, ''), data_dir=str(tmp_path)
  )
  assert len(data.train.labels) == 27 and len(data.test().labels) == 10
  images = mnist.read_idx(tiny / 'train-images-idx3-ubyte.gz')
  assert set(map(bytes, data.train.inputs)) < set(map(bytes, images))


def test_a_damaged_file_is_refused_by_its_md5(tiny, tmp_path):
  path = tiny / 'train-labels-idx1-ubyte.gz'
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(ValueError, match=r'train-labels.* has md5 .*fetch it'):
    sources.make_data('mnist', raw_dir=str(tiny), data_dir=str(tmp_path))
  assert not (tmp_path / 'kd_mnist' / '1.0.0').exists()


def test_a_raw_folder_without_the_files_is_refused(tmp_path):
  with pytest.raises(ValueError, match="does not hold 'mnist'; needed there"):
    sources.make_data(
      'mnist', raw_dir=str(tmp_path), data_dir=str(tmp_path / 'tfds')
    )


@pytest.fixture
def server(tiny, monkeypatch):
  """The folder `tiny` over HTTP, at the address that the builder knows."""

  class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args):
      super().__init__(*args, directory=str(tiny))

    def log_message(self, *args):
      pass

  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
    monkeypatch.setattr(
      mnist, 'URL', f'http://127.0.0.1:{running.server_port}/'
    )
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()


def test_files_are_downloaded_where_no_folder_has_them(
  server, tmp_path, monkeypatch
):
  monkeypatch.setenv(download.VARIABLE, str(tmp_path))
  data = sources.make_data('mnist', data_dir=str(tmp_path / 'tfds'))
  assert len(data.train.labels) == 27 and len(data.test().labels) == 10


def test_a_damaged_download_is_refused_and_forgotten(server, tiny, tmp_path):
  path = tiny / 't10k-labels-idx1-ubyte.gz'
  good = path.read_bytes()
  path.write_bytes(good[:-1])
  with pytest.raises(ValueError, match=r'has md5 .* fetch it again'):
    sources.make_data('mnist', data_dir=str(tmp_path))
  path.write_bytes(good)
  sources.make_data('mnist', data_dir=str(tmp_path))


def test_no_network_is_one_line_with_the_remedy(tiny, tmp_path, monkeypatch):
  with socket.socket() as closed:
    closed.bind(('127.0.0.1', 0))
    address = f'http://127.0.0.1:{closed.getsockname()[1]}/'
    monkeypatch.setattr(mnist, 'URL', address)
    with pytest.raises(ValueError, match=r'cannot download.*raw_dir') as error:
      sources.make_data('mnist', data_dir=str(tmp_path))
  assert '\n' not in str(error.value)


def test_a_file_that_is_no_idx_file(tmp_path):
  with gzip.open(tmp_path / 'x.gz', 'wb') as file:
    file.write(b'\0\0\x0d\x01' + b'\0\0\0\1' + b'abcd')
  with pytest.raises(ValueError, match='is not an idx file'):
    mnist.read_idx(tmp_path / 'x.gz')
