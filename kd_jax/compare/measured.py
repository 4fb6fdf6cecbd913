"""What is measured of the networks of a run on its test set."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Measured(NamedTuple):
  """The networks of a run on its test set.

  Attributes:
    rows: {row: its numbers, JSON-like}, the score and its interval too.
    moments: {'last' or 'best': {row: score and interval}} of the networks at
      other steps.
    counts: predictions of each class, by their labels.
    judged: 'verdicts', 'verdict', 'gap_closed', 'examples' of a report.
    arrays: those that lie beside the report.
  """

  rows: Mapping[str, dict[str, Any]]
  moments: Mapping[str, Mapping[str, dict]]
  counts: list[int]
  judged: dict[str, Any]
  arrays: dict[str, np.ndarray]


def pixels(images: np.ndarray) -> np.ndarray:
  """Images as uint8 [n, H, W, C]; floats are stretched to their range."""
  if images.dtype == np.uint8 or not images.size:
    return images.astype(np.uint8)
  low, high = images.min(), images.max()
  return np.round(255 * (images - low) / max(high - low, 1e-9)).astype(np.uint8)
