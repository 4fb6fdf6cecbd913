"""Compares the losses with a folder of golden values.

  python -m tests.golden DIR

DIR holds index.json and the .npz files that it names. A case 'family/label'
is computed in f32 by what FAMILIES says for its family, with its `attrs` as
hyperparameters: the value, and the gradient by every student input. One line
is printed a case. The exit code is 0 if there are cases and all are within
1e-5 (values) and 1e-4 (gradients), relative.
"""

import importlib
import json
import pathlib
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.golden import data_free, dense, more, sequences

# The copy of the golden values that comes with the tests; README.md says more.
VALUES = pathlib.Path(__file__).resolve().parent / 'values'
VALUE_BOUND = 1e-5
GRADIENT_BOUND = 1e-4
# Each program runs once: nearly all of the time is spent on compiling.
QUICK = {
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
}


class Inputs(NamedTuple):
  """The arrays of a case, by side; 'in_student_logits' is student['logits']."""

  student: dict[str, jax.Array]
  teacher: dict[str, jax.Array]
  params: dict[str, jax.Array]
  labels: jax.Array | None
  mask: jax.Array | None = None


class Family(NamedTuple):
  """How a family is computed: call(function, inputs, **attrs, **fixed)."""

  path: str  # 'module.function' in kd_jax.losses; '' if `call` needs none
  call: Callable
  rename: Mapping[str, str] = {}  # an attr's name -> ours
  fixed: Mapping[str, Any] = {}


class Result(NamedTuple):
  """Relative errors of a case; `note` says why there are none."""

  case: str
  value: float = float('nan')
  gradient: float = float('nan')
  note: str = ''

  @property
  def ok(self) -> bool:
    """Whether both errors are numbers within their bounds."""
    return self.value <= VALUE_BOUND and self.gradient <= GRADIENT_BOUND


class NotCoveredError(Exception):
  """A case that nothing here computes."""


def _find(path: str) -> Callable | None:
  """A loss by 'module.function', looked up when a case asks for it."""
  if not path:
    return None
  module, name = path.rsplit('.', 1)
  try:
    return getattr(importlib.import_module(f'kd_jax.losses.{module}'), name)
  except (ImportError, AttributeError) as e:
    raise NotCoveredError(f'no kd_jax.losses.{path}') from e


def layers(side: Mapping[str, jax.Array]) -> tuple[jax.Array, ...]:
  """Every array but the logits, by the number at the end of its name."""
  names = [name for name in side if name != 'logits']
  return tuple(side[name] for name in sorted(names, key=_number))


def _number(name: str) -> tuple[int, str]:
  found = re.search(r'\d+', name)
  return (int(found.group()) if found else -1, name)


def _logits(loss, x: Inputs, **hparams):
  return loss(x.student['logits'], x.teacher['logits'], **hparams)


def _labeled(loss, x: Inputs, **hparams):
  return loss(x.student['logits'], x.teacher['logits'], x.labels, **hparams)


def _pairs(loss, x: Inputs, **hparams):
  """The sum over layers of a loss on one layer."""
  both = zip(layers(x.student), layers(x.teacher), strict=True)
  return sum(loss(s, t, **hparams) for s, t in both)


def _tuples(loss, x: Inputs, **hparams):
  return loss(layers(x.student), layers(x.teacher), **hparams)


def _scores(loss, x: Inputs, **hparams):
  (scores,) = layers(x.student)
  return loss(scores, **hparams)


def _hinton(kd, x: Inputs, *, alpha, beta=0.0, **hparams):
  """alpha times the soft loss, 1 - alpha the hard one, beta the features'."""
  hard = _find('logits.cross_entropy')(x.student['logits'], x.labels)
  total = alpha * _logits(kd, x, **hparams) + (1 - alpha) * hard
  if layers(x.student):
    total += beta * _pairs(_find('features.feature_mse'), x)
  return total


def _hint(loss, x: Inputs):
  (student,), (teacher,) = layers(x.student), layers(x.teacher)
  bias = x.params.get('bias', jnp.zeros(teacher.shape[-1]))
  return loss(dense.project(student, x.params['kernel'], bias), teacher)


def _vid(loss, x: Inputs):
  """The larger map is pooled before the regressor, as in the source."""
  (student,), (teacher,) = layers(x.student), layers(x.teacher)
  student, teacher = _find('spatial.align')(student, teacher)
  names = [name for name in x.params if name.endswith('_kernel')]
  for i, name in enumerate(sorted(names, key=_number)):
    student = dense.project(
      jax.nn.relu(student) if i else student, x.params[name]
    )
  return loss(student, teacher, x.params['log_scale'])


def _ofd(loss, x: Inputs):
  (student,), (teacher,) = layers(x.student), layers(x.teacher)
  return loss(student, teacher, x.params['margin'])


_CE = {'variant': 'cross_entropy'}
FAMILIES = {
  'kd': Family('logits.kd', _logits),
  'hinton_total': Family('logits.kd', _hinton),
  'feature_total': Family('logits.kd', _hinton),
  'dkd': Family('decoupled.dkd', _labeled),
  'nkd': Family('decoupled.nkd', _labeled),
  'dist': Family('multilevel.dist', _logits),
  'lskd': Family('logits.lskd', _logits),
  'mlld_class': Family('multilevel.mlld_class', _logits),
  'mlld_batch': Family('multilevel.mlld_batch', _logits),
  'generalized_jsd': Family('divergences.generalized_jsd', _logits),
  'seq_forward_kl': Family('divergences.forward_kl', _logits, fixed=_CE),
  'seq_reverse_kl': Family('divergences.reverse_kl', _logits),
  'seq_symmetric_kl': Family(
    'divergences.symmetric_kl', _logits, {'lam': 'mix'}, _CE
  ),
  'seq_js_distance': Family('divergences.js', _logits, {'lam': 'mix'}),
  'seq_tv_distance': Family('divergences.tv', _logits),
  'seq_skewed_forward_kl': Family(
    'divergences.skew_kl', _logits, {'lam': 'skew'}, _CE
  ),
  'seq_skewed_reverse_kl': Family(
    'divergences.skew_reverse_kl', _logits, {'lam': 'skew'}
  ),
  'at': Family('features.at', _pairs, {'p': 'power'}),
  'nst': Family('features.nst', _pairs),
  'sp': Family('relations.sp', _pairs),
  'ft_factor': Family('factors.factor', _pairs),
  'rkd': Family('relations.rkd', _pairs),
  'rkd_distance': Family('relations.rkd_distance', _pairs),
  'rkd_angle': Family('relations.rkd_angle', _pairs),
  'pkt': Family('relations.pkt', _pairs),
  'cc': Family('relations.cc', _pairs),
  'fsp': Family('factors.fsp', _tuples),
  'ab': Family('boundaries.ab', _tuples),
  'ofd_distance': Family('boundaries.ofd', _ofd),
  'review_hcl': Family('features.hierarchical_context', _tuples),
  'vid': Family('features.vid_nll', _vid),
  'hint': Family('features.feature_mse', _hint),
  'crd_nce': Family('contrastive.crd_nce', _scores),
  'cat_kd': Family('features.cat', _pairs),
  **{name: Family(*how) for name, how in data_free.FAMILIES.items()},
  **{name: Family(*how) for name, how in dense.FAMILIES.items()},
  **{name: Family(*how) for name, how in more.FAMILIES.items()},
  **{name: Family(*how) for name, how in sequences.FAMILIES.items()},
}


def _inputs(arrays: Mapping[str, np.ndarray]) -> Inputs:
  """Sorts a file's arrays into sides; floats as f32, integers as i32."""
  sides: dict[str, dict] = {'in_student_': {}, 'in_teacher_': {}, 'param_': {}}
  for name, value in arrays.items():
    for prefix, side in sides.items():
      if name.startswith(prefix):
        side[name.removeprefix(prefix)] = _narrow(value)
  labels = arrays.get('in_labels', arrays.get('in_soft_labels'))
  alone = [labels, arrays.get('in_mask')]
  alone = [None if x is None else _narrow(x) for x in alone]
  return Inputs(*sides.values(), *alone)


def _narrow(x: np.ndarray) -> jax.Array:
  whole = np.issubdtype(x.dtype, np.integer)
  return jnp.asarray(x, jnp.int32 if whole else jnp.float32)


def _mean(values: jax.Array, labels: jax.Array | None) -> jax.Array:
  """The mean over predictions; one whose label is -100 does not count."""
  if labels is None or labels.shape != values.shape:
    return jnp.mean(values)
  counts = labels != -100
  return jnp.sum(jnp.where(counts, values, 0)) / jnp.sum(counts)


def _relative(got, expected) -> float:
  """|got - expected| / |expected|; absolute where expected is 0."""
  got, expected = (np.asarray(x, np.float64).ravel() for x in (got, expected))
  error = np.linalg.norm(got - expected)
  return float(error / (np.linalg.norm(expected) or 1.0))


def check(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Result:
  """Computes one case: `entry` of the index, `arrays` of its file."""
  family = FAMILIES.get(entry['case'].split('/')[0])
  if family is None:
    raise NotCoveredError('no such family')
  loss, inputs = _find(family.path), _inputs(arrays)
  hparams = {family.rename.get(k, k): v for k, v in entry['attrs'].items()}

  def scalar(student):
    x = inputs._replace(student=student)
    return _mean(family.call(loss, x, **hparams, **family.fixed), x.labels)

  compute = jax.jit(jax.value_and_grad(scalar), compiler_options=QUICK)
  value, grads = compute(inputs.student)
  # The number stands in both places; an edited one must not go unseen.
  losses = [x['loss'] for x in (entry, arrays) if 'loss' in x]
  value_errors = [_relative(value, loss) for loss in losses]
  gradient_errors = [
    _relative(grad, arrays[f'grad_student_{name}'])
    for name, grad in grads.items()
  ]
  # Not Python's max, which passes over a NaN.
  return Result(entry['case'], np.max(value_errors), np.max(gradient_errors))


def run(folder: pathlib.Path) -> list[Result]:
  """Checks every case of a folder; one that breaks is a failed result."""
  results = []
  for entry in json.loads((folder / 'index.json').read_text()):
    try:
      with np.load(folder / entry['file']) as arrays:
        results.append(check(entry, dict(arrays)))
    except NotCoveredError as e:
      results.append(Result(entry['case'], note=f'not covered: {e}'))
    except Exception as e:  # One broken case must not hide the others.
      note = f'{type(e).__name__}: {e}'.splitlines()[0]
      results.append(Result(entry['case'], note=note))
  return results


def main(arguments: list[str]) -> int:
  """Prints one line a case; 0 if there are cases and all are ok."""
  if len(arguments) != 1:
    print('usage: python -m tests.golden DIR', file=sys.stderr)
    return 2
  folder = pathlib.Path(arguments[0])
  if not (folder / 'index.json').is_file():
    print(f'no index.json in {folder}', file=sys.stderr)
    return 2
  # GPUs round to TF32 by default, which is coarser than the bounds.
  with jax.default_matmul_precision('highest'):
    results = run(folder)
  for r in results:
    state = 'ok' if r.ok else f'FAIL {r.note}'.rstrip()
    print(f'{r.case:<40} {r.value:9.2e} {r.gradient:9.2e}  {state}')
  good = sum(r.ok for r in results)
  print(f'{good} of {len(results)} cases ok')
  return 0 if results and good == len(results) else 1
