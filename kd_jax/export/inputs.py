"""Brings pictures and texts to what an exported file reads."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax.data import pipeline
from kd_jax.data.readers import folders, sizes
from kd_jax.data.text import tokenizing

ARRAY = '.npy'
_MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}  # of Pillow, by channels
_DEEP = ('I', 'I;16', 'I;16B', 'I;16L', 'F')  # more than 8 bits a channel


def files(place: pathlib.Path) -> list[pathlib.Path]:
  """The picture, or the pictures of a folder, in the order of their names.

  Raises:
    ValueError: there is none.
  """
  if place.is_dir():
    paths = sorted(
      path
      for path in place.iterdir()
      if path.suffix.lower() in (*folders.ENDINGS, ARRAY)
    )
    if not paths:
      raise ValueError(
        f'{place} holds no images; legal: {", ".join(folders.ENDINGS)}, {ARRAY}'
      )
    return paths
  if not place.exists():
    raise ValueError(f'no image {place}, and no folder')
  return [place]


def image(path: pathlib.Path, prepare: Mapping[str, Any]) -> np.ndarray:
  """A picture as raw pixels [H, W, C], scaled and cut as in training.

  Args:
    path: of a picture, or of an array [H, W, C] as NumPy saves it.
    prepare: of meta.json.

  Raises:
    ValueError: one line that names the file.
  """
  shape = (*prepare['size'], prepare['channels'])
  if path.suffix.lower() == ARRAY:
    return _array(path, shape, np.dtype(prepare['pixels']))
  if prepare['pixels'] != 'uint8' or len(shape) != 3:
    raise ValueError(
      f'{path}: the network reads {prepare["pixels"]} {list(shape)} and no '
      f'pictures; give an array as NumPy saves it ({ARRAY})'
    )
  if prepare['channels'] not in _MODES:
    raise ValueError(
      f'{path}: the network reads {prepare["channels"]} channels; give an '
      f'array {list(shape)} ({ARRAY})'
    )
  picture = folders.open_picture(path)
  if picture.mode in _DEEP:
    raise ValueError(
      f'{path} has more than 8 bits a channel ({picture.mode}); legal: 8 bits'
    )
  from PIL import ImageOps

  upright = ImageOps.exif_transpose(picture).convert(_MODES[shape[2]])
  pixels = np.asarray(upright).reshape(*upright.size[::-1], shape[2])
  return sizes.fit(pixels, shape[:2])


def _array(path, shape, dtype) -> np.ndarray:
  """The array in a file, of this shape and type."""
  try:
    array = np.load(path, allow_pickle=False)
  except Exception as error:  # a damaged file can raise anything
    raise ValueError(f'{path} is no array that NumPy reads') from error
  if array.shape != shape or array.dtype != dtype:
    raise ValueError(
      f'{path} is {array.dtype} {list(array.shape)}; legal: {dtype} '
      f'{list(shape)}'
    )
  return array


def prepared(pixels: np.ndarray, prepare: Mapping[str, Any]) -> np.ndarray:
  """Raw pixels as a batch of one input, f32 [1, ...]."""
  normalize = pipeline.make_prepare(
    tuple(prepare['mean']), tuple(prepare['std'])
  )
  return np.asarray(normalize(pixels[None]))


def tokenizer(
  folder: pathlib.Path, meta: Mapping[str, Any]
) -> tokenizing.Tokenizer:
  """The tokenizer of an export.

  Raises:
    ValueError: one line, where there is none or it is damaged.
  """
  name = meta['prepare']['tokenizer'] or tokenizing.FILE
  path = folder / name
  if not path.is_file():
    raise ValueError(
      f'{folder} has no {name}; put it there, or export with --tokenizer FILE'
    )
  return tokenizing.of_file(str(path))


def tokens(
  coder: tokenizing.Tokenizer, words: str, meta: Mapping[str, Any]
) -> list[int]:
  """The tokens of a text.

  Raises:
    ValueError: one line, for none, for too many, and for a tokenizer of another
      vocabulary.
  """
  ids = coder.encode([words]).ids.tolist()
  most = meta['prepare']['length']
  if not 0 < len(ids) <= (most or len(ids)):
    raise ValueError(
      f'the text has {len(ids)} tokens; legal: 1 to {most or "any number"}'
    )
  build = meta['network']['build']
  known = build.get('vocabulary') or build['classes']
  if max(ids) >= known:
    raise ValueError(
      f'the tokenizer gives the token {max(ids)}, and the network knows '
      f'{known}: it is the tokenizer of another network'
    )
  return ids


def batch(ids: list[int], meta: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Tokens as a batch of one sequence, padded where the length is fixed.

  A decoder's input is its first token, that of padding, 0.
  """
  fixed = meta['inputs'][0]['shape'][1]
  length = fixed if isinstance(fixed, int) else len(ids)
  arrays = {
    name: np.zeros((1, length), np.int32)
    for name in (x['name'] for x in meta['inputs'])
  }
  arrays['input_ids'][0, : len(ids)] = ids
  arrays['attention_mask'][0, : len(ids)] = 1
  if 'decoder_attention_mask' in arrays:
    arrays['decoder_attention_mask'][0, 0] = 1
  return arrays
