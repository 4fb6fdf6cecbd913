"""Resizing and scores of maps: `python -m tests.golden_dense DIR`.

DIR holds `ops/` and `metrics/`, or one of them, each with an index.json and the
.npz files that it names. `ops`: what PyTorch makes of a map and of labels at
another size; ours is `losses.spatial`, and for antialiasing and the nearest
centre `jax.image`. `metrics`: confusion matrices and what follows from them by
winycg/CIRKD@dab64db; ours is `tasks.segmentation`. Prints a line a case; exit
code 1 where an array differs: indices and counts at all, resized maps by more
than 1e-5, ratios by more than 1e-6.
"""

import functools
import json
import pathlib
import sys
from collections.abc import Callable, Mapping

import jax
import numpy as np

from kd_jax import tasks
from kd_jax.losses import spatial
from kd_jax.tasks import segmentation

FOLDERS = ('ops', 'metrics')
IGNORE = -100
MAP_BOUND, RATIO_BOUND = 1e-5, 1e-6
# Another number, which a metric must not be: the mean of the images' scores.
WRONG = 'miou_mean_of_images_wrong'


def _antialiased(x, size, method='bilinear'):
  return jax.image.resize(x, (len(x), *size, x.shape[-1]), method)


def _labels(resize: Callable) -> Callable:
  """Resizes label maps [B, H, W] as a map of one channel."""
  return lambda x, size: resize(x[..., None], size)[..., 0]


RESIZED = {
  'bilinear_align_False': spatial.bilinear,
  'bilinear_align_True': functools.partial(
    spatial.bilinear, align_corners=True
  ),
  'bilinear_antialias': _antialiased,
  'nearest_floor': _labels(spatial.upsample),
  'nearest_exact': _labels(functools.partial(_antialiased, method='nearest')),
}


def resized(golden: Mapping) -> dict[str, np.ndarray]:
  """The map and the labels of a case at every size that it has."""
  found = {}
  for name in RESIZED.keys() & golden.keys():
    side = 'labels' if name.startswith('nearest') else 'map'
    size = golden[name].shape[1:3]
    found[name] = np.asarray(RESIZED[name](golden[f'in_{side}'], size))
  return found


def scored(golden: Mapping) -> dict[str, np.ndarray]:
  """Confusion matrix and scores of a case's logits and labels."""
  logits, task = golden['in_logits'], tasks.SEGMENTATION
  stored = task.labels(
    golden['in_labels'], logits.shape, logits.shape[-1], IGNORE, 'the case'
  )
  labels, mask = tasks.counted(stored, np)
  sums = tasks.add({}, jax.jit(functools.partial(tasks.sums, task))(
    logits, labels, mask
  ))  # fmt: skip
  confusion, scores = sums['confusion'], task.scores(sums)
  iou, share = segmentation.iou(confusion), confusion.sum(1) / confusion.sum()
  return {
    'predictions': spatial.at_labels(logits, labels).argmax(-1),
    'confusion': confusion,
    'iou': iou,
    'miou_present': scores['miou'],
    'miou_absent_zero': np.nan_to_num(iou).mean(),
    'pixel_accuracy': scores['pixel_accuracy'],
    'mean_class_accuracy': scores['class_accuracy'],
    'frequency_weighted_iou': np.nansum(share * iou),
  }


def agrees(name: str, ours, theirs) -> bool:
  """Whether an array is the golden one; NaN only where that is NaN."""
  ours, theirs = np.asarray(ours), np.asarray(theirs)
  if ours.shape != theirs.shape:
    return False
  if np.issubdtype(theirs.dtype, np.integer):
    return bool((ours == theirs).all())
  bound = MAP_BOUND if name in RESIZED else RATIO_BOUND
  return np.allclose(ours, theirs, rtol=0, atol=bound, equal_nan=True)


COMPUTE = {'ops': resized, 'metrics': scored}


def check(kind: str, golden: Mapping) -> list[str]:
  """The names of a case's arrays that differ; `kind` is of FOLDERS."""
  ours = COMPUTE[kind](golden)
  theirs = {name for name in golden if not name.startswith('in_')} - {WRONG}
  wrong = [f'{name} (unknown)' for name in sorted(theirs - ours.keys())]
  known = [name for name in ours if name in theirs]
  wrong += [x for x in known if not agrees(x, ours[x], golden[x])]
  return wrong if known else [*wrong, 'nothing to compare']


def main(arguments: list[str]) -> int:
  """Prints one line a case; 0 if there are cases and all agree."""
  if len(arguments) != 1:
    print('usage: python -m tests.golden_dense DIR', file=sys.stderr)
    return 2
  folder = pathlib.Path(arguments[0])
  indices = [folder / kind / 'index.json' for kind in FOLDERS]
  indices = [path for path in indices if path.is_file()]
  if not indices:
    print(
      f'no ops/ or metrics/ with an index.json in {folder}', file=sys.stderr
    )
    return 2
  results = []
  for path in indices:
    for entry in json.loads(path.read_text()):
      try:
        # GPUs round to TF32 by default, which is coarser than the bounds.
        highest = jax.default_matmul_precision('highest')
        with highest, np.load(path.parent / entry['file']) as arrays:
          wrong = check(path.parent.name, dict(arrays))
      except Exception as e:  # One broken case must not hide the others.
        wrong = [f'{type(e).__name__}: {e}'.splitlines()[0]]
      results.append(not wrong)
      print(
        f'{entry["case"]:<40} {"FAIL " + ", ".join(wrong) if wrong else "ok"}'
      )
  print(f'{sum(results)} of {len(results)} cases ok')
  return 0 if results and all(results) else 1


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
