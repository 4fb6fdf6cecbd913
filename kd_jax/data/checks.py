"""What is asked of a data set at the border, and how it is cut in two.

Plain NumPy, no table and no TFDS: arrays in, arrays or a one-line ValueError
out.
"""

import hashlib
import numbers
from collections.abc import Iterable, Mapping

import numpy as np

from kd_jax import types

# Pixels summed at once by `statistics`: bounds its memory to some 100 MB.
_CHUNK = 1 << 22


def pair(value: object, where: str) -> tuple:
  """`value` as (images, labels)."""
  if not isinstance(value, (tuple, list)) or len(value) != 2:
    raise ValueError(
      f'{where} is a {type(value).__name__}; legal: a pair (images, labels)'
    )
  return tuple(value)


def images(inputs: object, where: str) -> np.ndarray:
  """`inputs` as uint8 or f32 [N, H, W, C], or a ValueError naming `where`.

  Vectors [N, D] pass too: their features stand in the place of channels.
  """
  inputs = np.asarray(inputs)
  rank(inputs.shape, where)
  if inputs.dtype == np.uint8:
    return inputs
  if not np.issubdtype(inputs.dtype, np.floating):
    raise ValueError(
      f'images of {where} are {inputs.dtype}; legal: uint8 or floats'
    )
  inputs = inputs.astype(np.float32, copy=False)
  if not np.isfinite(inputs).all():
    raise ValueError(f'images of {where} hold NaN or infinite pixels')
  return inputs


# What text comes as: the indices of tokens, and what is said of each token.
TEXT = (
  'input_ids',
  'attention_mask',
  'segment_ids',
  'positions',
  'token_type_ids',
  'decoder_input_ids',
  'decoder_attention_mask',
)


def inputs(
  values: object, where: str, vocabulary: int = 0
) -> np.ndarray | dict[str, np.ndarray]:
  """`values` as `images` or, where they have names, as `text`."""
  if isinstance(values, Mapping):
    return text(values, where, vocabulary)
  return images(values, where)


def text(values: Mapping, where: str, vocabulary: int = 0) -> dict:
  """`values` as {name: i32 [N, L]}, or a ValueError naming `where`.

  Args:
    values: integers or bools by names of TEXT; 'input_ids' are needed.
    where: whose they are.
    vocabulary: V, above every index; 0: it is not known.
  """
  if 'input_ids' not in values:
    raise types.lacks(f'the text of {where}', 'input', 'input_ids', values)
  arrays = {}
  for name in values:
    if name not in TEXT:
      raise types.unknown('input', name, TEXT, f'the text of {where}')
    arrays[name] = _tokens(values[name], name, where)
  for side in ('', 'decoder_'):
    ids = arrays.get(f'{side}input_ids')
    for name, array in arrays.items():
      alike = name.startswith('decoder_') == bool(side)
      if alike and ids is not None and array.shape != ids.shape:
        raise ValueError(
          f'{name} of {where} are {list(array.shape)} and {side}input_ids '
          f'{list(ids.shape)}; legal: one value for every token'
        )
      most = array.max(initial=0)
      if name == f'{side}input_ids' and vocabulary and most >= vocabulary:
        raise ValueError(
          f'{name} of {where} have the index {most}; legal: '
          f'0..{vocabulary - 1} ({vocabulary} tokens)'
        )
  return dict(sorted(arrays.items()))


def _tokens(values: object, name: str, where: str) -> np.ndarray:
  """Values of tokens as i32 [N, L]."""
  values = np.asarray(values)
  whole = np.issubdtype(values.dtype, np.integer) or values.dtype == bool
  if values.ndim != 2 or not whole:
    raise ValueError(
      f'{name} of {where} are {values.dtype} {list(values.shape)}; legal: '
      'integers [N, L], each sequence filled up to L tokens'
    )
  if 0 in values.shape:
    raise ValueError(f'{where} is empty: {name} of shape {list(values.shape)}')
  if values.min() < 0:
    raise ValueError(
      f'{name} of {where} have the value {values.min()}; legal: 0 or more'
    )
  return values.astype(np.int32)


def shape(inputs: np.ndarray | Mapping[str, np.ndarray]) -> tuple[int, ...]:
  """[N, H, W, C] of images; [N, L] of the tokens that labels may be of."""
  if isinstance(inputs, Mapping):
    inputs = inputs.get('decoder_input_ids', inputs['input_ids'])
  return tuple(inputs.shape)


def rank(shape: tuple[int, ...], where: str) -> None:
  """Refuses a shape of neither images nor vectors, or that holds nothing."""
  if len(shape) not in (2, 4):
    hint = '; add the channel: images[..., None]' if len(shape) == 3 else ''
    raise ValueError(
      f'images of {where} have rank {len(shape)}, shape {list(shape)}; '
      f'legal: rank 4, [N, H, W, C], or vectors [N, D]{hint}'
    )
  if 0 in shape:
    raise ValueError(f'{where} is empty: images of shape {list(shape)}')


def count(name: str, value: float, size: int, where: str) -> int:
  """How many of `size` training examples the option `name` takes out."""
  legal = f'legal: a fraction in [0, 1) or a number in 0..{size - 1}'
  if isinstance(value, bool) or not isinstance(value, numbers.Real):
    raise ValueError(f'{name}={value!r} of {where}; {legal}')
  if isinstance(value, numbers.Integral):
    held = int(value)
  elif 0 <= value < 1:
    held = round(value * size)
  else:
    raise ValueError(f'{name}={value} of {where}; {legal}')
  if not 0 <= held < size:
    raise ValueError(f'{name}={value} of {where}; {legal}')
  return held


def share(name: str, value: object, where: str) -> float:
  """`value` as a number in [0, 1)."""
  number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if not number or not 0 <= value < 1:
    raise ValueError(
      f'{name}={value!r} of {where}; legal: a fraction in [0, 1)'
    )
  return float(value)


def whole(name: str, value: object, where: str) -> int:
  """`value` as an integer >= 0."""
  if isinstance(value, bool) or not isinstance(value, numbers.Integral):
    raise ValueError(f'{name}={value!r} of {where}; legal: an integer >= 0')
  if value < 0:
    raise ValueError(f'{name}={value} of {where}; legal: an integer >= 0')
  return int(value)


def sequences(values: object, size: int, where: str) -> np.ndarray:
  """`values` as the films i64 [N] of `size` test examples."""
  values = np.asarray(values)
  if values.shape != (size,) or not np.issubdtype(values.dtype, np.integer):
    raise ValueError(
      f'sequences of {where} are {values.dtype} {list(values.shape)}; legal: '
      f'integers [{size}], the film of each test example'
    )
  return values.astype(np.int64)


def palette(values: object, classes: int, where: str) -> tuple:
  """`values` as a color of each class, or ()."""
  values = np.asarray(values)
  if not values.size:
    return ()
  whole = np.issubdtype(values.dtype, np.integer)
  if values.shape != (classes, 3) or not whole or values.min() < 0:
    raise ValueError(
      f'palette of {where} is {values.dtype} {list(values.shape)}; legal: '
      f'integers [{classes}, 3] in 0..255, a color of each class'
    )
  return tuple(tuple(color) for color in values.clip(max=255).tolist())


def limit(value: object, where: str) -> float:
  """`value` in MB as bytes."""
  if isinstance(value, bool) or not isinstance(value, numbers.Real):
    raise ValueError(f'memory_limit={value!r} of {where}; legal: MB >= 0')
  if not value >= 0:
    raise ValueError(f'memory_limit={value} of {where}; legal: MB >= 0')
  return value * 1e6


def stratify(
  values: np.ndarray, held: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Cuts N examples in two with every class in proportion.

  Each class is shuffled and its members get the quantiles 1/2n, 3/2n, ...;
  the `held` smallest quantiles are held out. So the count is exact, and each
  class is within one example of its share.

  Args:
    values: classes i [N].
    held: how many to hold out.
    seed: an integer >= 0.

  Returns:
    Indices kept and indices held out, each i64 and ascending.
  """
  shuffled = np.random.default_rng(seed).permutation(len(values))
  quantile = np.empty(len(values))
  for label in np.unique(values):
    members = shuffled[values[shuffled] == label]
    quantile[members] = (np.arange(len(members)) + 0.5) / len(members)
  # Ties between classes are settled by the shuffled order.
  ranked = shuffled[np.argsort(quantile[shuffled], kind='stable')]
  return np.sort(ranked[held:]), np.sort(ranked[:held])


def statistics(inputs: np.ndarray) -> tuple[tuple, tuple]:
  """Mean and standard deviation per channel, of pixels / 255 where uint8."""
  rows = inputs.reshape(-1, inputs.shape[-1])
  scale = 255.0 if inputs.dtype == np.uint8 else 1.0
  total = square = 0.0
  for start in range(0, len(rows), _CHUNK):
    part = rows[start : start + _CHUNK].astype(np.float64) / scale
    total, square = total + part.sum(axis=0), square + (part**2).sum(axis=0)
  mean = total / len(rows)
  std = np.sqrt(np.maximum(square / len(rows) - mean**2, 0))
  # A constant channel stays as it is instead of becoming NaN.
  std = np.where(std < 1e-6, 1.0, std)
  return tuple(mean.tolist()), tuple(std.tolist())


def fingerprint(arrays: Iterable[np.ndarray], **settings: object) -> str:
  """sha256 (hex) over settings, and every array's type, shape and bytes."""
  digest = hashlib.sha256(repr(sorted(settings.items())).encode())
  for array in arrays:
    digest.update(f'{array.dtype}{array.shape}'.encode())
    digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()
