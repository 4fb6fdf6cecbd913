"""Helpers for TFDS builders of labelled images of equal shape."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds


def describe(
  builder: Any, description: str, shape: tuple, names: Any, **more: Any
) -> tfds.core.DatasetInfo:
  """The DatasetInfo of a data set of uint8 images and class labels.

  Args:
    builder: the TFDS builder.
    description: of the data set, in a sentence.
    shape: (H, W, C).
    names: of the classes, or their number.
    **more: further features by name.
  """
  classes = {'num_classes': names} if isinstance(names, int) else {
    'names': list(names)
  }  # fmt: skip
  features = tfds.features.FeaturesDict(
    {
      'image': tfds.features.Tensor(
        shape=shape, dtype=np.uint8, encoding='bytes'
      ),
      'label': tfds.features.ClassLabel(**classes),
      **more,
    }
  )
  # Unshuffled, so an example's index is its position in the raw file.
  return tfds.core.DatasetInfo(
    builder=builder,
    description=description,
    features=features,
    supervised_keys=('image', 'label'),
    disable_shuffling=True,
  )


def examples(images: np.ndarray, **labels: np.ndarray) -> Iterator:
  """(index, example) for TFDS, from images [N, H, W, C] and labels [N]."""
  for index, image in enumerate(images):
    numbers = {name: int(values[index]) for name, values in labels.items()}
    yield index, {'image': image, **numbers}
