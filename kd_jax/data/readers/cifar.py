"""CIFAR-10 and CIFAR-100 as TFDS data sets, from the official archives.

The binary archive is preferred, and is what is downloaded; the Python one does
as well. `cifar_raw` reads both.
"""

import pathlib
from collections.abc import Iterator

import tensorflow_datasets as tfds

from kd_jax.data.readers import builders, cifar_raw, download

URL = 'https://www.cs.toronto.edu/~kriz/'
MD5_10 = (
  {'cifar-10-binary.tar.gz': 'c32a1d4ab5d03f1284b67883e8d87530'},
  {'cifar-10-python.tar.gz': 'c58f30108f718f92721af3b95e74349a'},
)
MD5_100 = (
  {'cifar-100-binary.tar.gz': '03b5dce01913d631647c71ecec9e9cb8'},
  {'cifar-100-python.tar.gz': 'eb9058c3a382ffc7106e4002c42a8d85'},
)
# Of the files in the binary archive: who packs them anew has another archive.
SHA256_100 = {
  'train.bin': (
    'ca8d086f6bae99bdf3ebb3d81c87f651d6d20f15bfe908676cc5a7aa1fb36fbf'
  ),
  'test.bin': (
    'b7fb9496c967a250d08a28bcf9e9fc0d694a28e9c0c6132534d11e233aa0524e'
  ),
}

# Of the training images; the deviations often seen for CIFAR-10, (0.2023,
# 0.1994, 0.2010), are means of each image's own.
NORMAL_10 = {
  'mean': (0.4914, 0.4822, 0.4465), 'std': (0.2470, 0.2435, 0.2616)
}  # fmt: skip
NORMAL_100 = {
  'mean': (0.5071, 0.4867, 0.4408), 'std': (0.2675, 0.2565, 0.2761)
}  # fmt: skip

_SHAPE = (32, 32, 3)
NAMES_10 = 'airplane automobile bird cat deer dog frog horse ship truck'
NAMES_100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy
bridge bus butterfly camel can castle caterpillar cattle chair chimpanzee clock
cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange
orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
snail snake spider squirrel streetcar sunflower sweet_pepper table tank
telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
GROUPS_100 = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables
household_electrical_devices household_furniture insects large_carnivores
large_man-made_outdoor_things large_natural_outdoor_scenes
large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people
reptiles small_mammals trees vehicles_1 vehicles_2
"""


def packed_anew(path: pathlib.Path) -> bool:
  """Whether an archive holds the files of CIFAR-100's binary archive."""
  return cifar_raw.digests(path) == SHA256_100


class KdCifar10(tfds.core.GeneratorBasedBuilder):
  """60,000 photographs of ten things, 32x32x3 uint8: 50,000 to train.

  Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images,
    2009, https://www.cs.toronto.edu/~kriz/cifar.html
  """

  VERSION = tfds.core.Version('1.0.0')

  def __init__(self, *, raw_dir: str = '', **options):
    super().__init__(**options)
    self._raw_dir = raw_dir

  def _info(self) -> tfds.core.DatasetInfo:
    return builders.describe(self, 'CIFAR-10.', _SHAPE, NAMES_10.split())

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    paths = download.fetch(dl_manager, 'cifar10', URL, MD5_10, self._raw_dir)
    splits = cifar_raw.archive(*paths.values())
    return {name: self._generate_examples(s) for name, s in splits.items()}

  def _generate_examples(self, split) -> Iterator:
    return builders.examples(split['image'], label=split['label'])


class KdCifar100(tfds.core.GeneratorBasedBuilder):
  """60,000 photographs of a hundred things in twenty groups, 32x32x3 uint8.

  50,000 are to train. 'label' is the thing, 'coarse_label' its group.
  Source: as for CIFAR-10.
  """

  VERSION = tfds.core.Version('1.0.0')

  def __init__(self, *, raw_dir: str = '', **options):
    super().__init__(**options)
    self._raw_dir = raw_dir

  def _info(self) -> tfds.core.DatasetInfo:
    return builders.describe(
      self, 'CIFAR-100.', _SHAPE, NAMES_100.split(),
      coarse_label=tfds.features.ClassLabel(num_classes=20),
    )  # fmt: skip

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    paths = download.fetch(
      dl_manager, 'cifar100', URL, MD5_100, self._raw_dir, packed_anew
    )
    splits = cifar_raw.archive(*paths.values())
    return {name: self._generate_examples(s) for name, s in splits.items()}

  def _generate_examples(self, split) -> Iterator:
    return builders.examples(
      split['image'], label=split['label'], coarse_label=split['coarse_label']
    )
