"""Reads MNIST, as a TFDS data set, from its four original files."""

import gzip
import math
import pathlib
import struct
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from kd_jax.data.readers import builders, download

URL = 'https://storage.googleapis.com/cvdf-datasets/mnist/'
MD5 = {
  'train-images-idx3-ubyte.gz': 'f68b3c2dcbeaaa9fbdd348bbdeb94873',
  'train-labels-idx1-ubyte.gz': 'd53e105ee54ea40749a09fcbcd1e9432',
  't10k-images-idx3-ubyte.gz': '9fb629c4189551a2d022fa330f9573f3',
  't10k-labels-idx1-ubyte.gz': 'ec29112dd5afa0611ce80d1b7f02629c',
}


class KdMnist(tfds.core.GeneratorBasedBuilder):
  """70,000 handwritten digits, 28x28x1 uint8: 60,000 to train, 10,000 to test.

  The files come from `raw_dir`, or else through TFDS's download manager; their
  md5 is checked in both cases. The order is that of the files.
  Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning
    applied to document recognition, 1998, https://doi.org/10.1109/5.726791
  """

  VERSION = tfds.core.Version('1.0.0')

  def __init__(self, *, raw_dir: str = '', **options):
    super().__init__(**options)
    self._raw_dir = raw_dir

  def _info(self) -> tfds.core.DatasetInfo:
    text = 'The MNIST database of handwritten digits.'
    return builders.describe(self, text, (28, 28, 1), 10)

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    paths = download.fetch(dl_manager, 'mnist', URL, [MD5], self._raw_dir)
    train_x, train_y, test_x, test_y = (read_idx(paths[file]) for file in MD5)
    return {
      'train': self._generate_examples(train_x, train_y),
      'test': self._generate_examples(test_x, test_y),
    }

  def _generate_examples(self, pixels, labels) -> Iterator:
    return builders.examples(pixels[..., None], label=labels)


def read_idx(path: pathlib.Path) -> np.ndarray:
  """The array of a gzipped idx file of bytes.

  Its header is two zero bytes, 8 for unsigned bytes, the rank, and each size
  as a big-endian 32-bit number.
  """
  with gzip.open(path, 'rb') as file:
    zeros, kind, rank = struct.unpack('>HBB', file.read(4))
    shape = struct.unpack(f'>{rank}I', file.read(4 * rank))
    body = file.read()
  if (zeros, kind) != (0, 8) or len(body) != math.prod(shape):
    raise ValueError(f"'{path}' is not an idx file of unsigned bytes")
  return np.frombuffer(body, np.uint8).reshape(shape)
