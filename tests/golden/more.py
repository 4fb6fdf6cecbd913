"""How the losses of `values/more` are computed for their golden values.

FAMILIES is as in `tests.golden`: family -> (function in kd_jax.losses, call,
names of attrs). '' is for a call that makes the method as a whole, with the
given parameters in its own modules, or that takes several losses.
"""

import itertools
import re

import jax
import jax.numpy as jnp

from kd_jax import methods
from kd_jax.losses import information, logits, regions, rotations, transport
from kd_jax.methods import vkd
from tests.golden import dense


def _logits(loss, x, **hparams):
  return loss(x.student['logits'], x.teacher['logits'], **hparams)


def _labeled(loss, x, **hparams):
  return loss(x.student['logits'], x.teacher['logits'], x.labels, **hparams)


def _rld(loss, x, *, logit_stand, **hparams):
  sides = [x.student['logits'], x.teacher['logits']]
  if logit_stand:
    sides = [logits.standardize(z) for z in sides]
  return loss(*sides, x.labels, **hparams)


def _wkd_l(loss, x, *, cost_matrix_sharpen=None, **hparams):
  cost = x.params.get('cost')
  if cost is None:
    kernel = x.params['teacher_kernel']
    cost = transport.class_costs(kernel, sharpen=cost_matrix_sharpen)
  sides = x.student['logits'], x.teacher['logits'], x.labels, cost
  return loss(*sides, **hparams)


def _norm(x, scale, bias):
  """Batch normalization by the batch's own statistics."""
  axes = tuple(range(x.ndim - 1))
  centered = x - x.mean(axes, keepdims=True)
  variance = (centered**2).mean(axes, keepdims=True)
  shape = (1,) * (x.ndim - 1) + (-1,)
  unit = centered / jnp.sqrt(variance + 1e-5)
  return unit * scale.reshape(shape) + bias.reshape(shape)


def _wkd_f(loss, x, **hparams):
  student, p = x.student['feature'], x.params
  if p:
    student = dense.project(student, p['kernel'], p['bias'])
    student = jax.nn.relu(_norm(student, p['bn_scale'], p['bn_bias']))
  return loss(student, x.teacher['feature'], **hparams)


def _regions(loss, x, *, scales=(), **hparams):
  sides = []
  for who, side in (('student', x.student), ('teacher', x.teacher)):
    if scales:
      mean = regions.pyramid(side['feature'], scales)
      kernel, bias = (x.params[f'{who}_{name}'] for name in ('kernel', 'bias'))
      sides.append(dense.project(mean, kernel, bias))
    else:
      sides.append(side['region_logits'])
  return loss(*sides, x.labels, **hparams)


def _itrd(loss, x, *, lambda_corr, lambda_mutual, alpha):
  parts = (
    (lambda_corr, _correlation, {'alpha': alpha}),
    (lambda_mutual, _mutual, {}),
  )
  return sum(weight * part(None, x, **more) for weight, part, more in parts)


def _correlation(loss, x, **hparams):
  mapped = dense.project(
    x.student['embedding'], x.params['kernel'], x.params['bias']
  )
  return information.itrd_correlation(mapped, x.teacher['embedding'], **hparams)


def _mutual(loss, x):
  student, teacher = x.student['embedding'], x.teacher['embedding']
  if student.shape != teacher.shape:
    student = dense.project(student, x.params['kernel'], x.params['bias'])
  return information.itrd_mutual(student, teacher)


def _uskd(loss, x, **hparams):
  weak = dense.project(
    x.student['feature'], x.params['kernel'], x.params['bias']
  )
  return loss(x.student['logits'], weak, x.labels, **hparams)


def _vkd(loss, x, *, alpha, orthogonal_map=''):
  kernel = x.params.get('kernel')
  if orthogonal_map:
    # The source holds X as [out, in].
    kernel = vkd.semi_orthogonal(x.params['unconstrained'].T).T
  student = dense.project(x.student['tokens'].mean(1), kernel)
  return alpha * loss(student, x.teacher['feature'].mean((1, 2)))


def _sskd(loss, x, **h):
  """All four terms: cross-entropy and the soft loss stand beside ours."""
  (z_s, p_s), (z_t, p_t) = (
    (_by_image(side['logits']), _by_image(side['projection']))
    for side in (x.student, x.teacher)
  )
  valid = jnp.ones(len(z_s), bool)
  hard = logits.cross_entropy(z_s[:, 0], x.labels)
  soft = logits.kd(z_s[:, 0], z_t[:, 0], temperature=h['kd_T'])
  rotated = rotations.transformed(
    z_s, z_t, x.labels, valid, temperature=h['tf_T'], ratio=h['ratio_tf']
  )
  own = rotations.contrasted(
    p_s, p_t, valid, temperature=h['ss_T'], ratio=h['ratio_ss']
  )
  parts = {'ce': hard, 'kd': soft, 'tf': rotated, 'ss': own}
  return sum(h[f'{name}_weight'] * part for name, part in parts.items())


def _by_image(x):
  return x.reshape(-1, 4, x.shape[-1])


def _kd_each(loss, x):
  sides = x.student['logits'], x.teacher['logits']
  return loss(*sides, x.params['temperature'], variant='code')


def _exits(loss, x, *, stages, **attrs):
  """The method as a whole; a map of the student's smallest size is there."""
  names = [name for name in x.student if name != 'logits']
  side = min(x.student[name].shape[1] for name in names)
  small = side // 2 ** (4 - stages[-1])
  student = {**x.student, 'smallest': jnp.zeros((1, small, small, 1))}
  layers = [(name, 'logits') for name in sorted(names)]
  method = methods.make_method('ofa_exits', layers=layers, **attrs)
  init = jax.eval_shape(method.init, jax.random.key(0), student, x.teacher)
  variables = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), init)
  variables['params'] = jax.tree_util.tree_map_with_path(
    lambda path, _: x.params[_exit_key(*(k.key for k in path))],
    variables['params'],
  )
  batch = {'labels': x.labels}
  return method.loss(variables, student, x.teacher, batch, method.hparams)[0]


def _exit_key(pair, *path) -> str:
  """The source's name of one of an exit's parameters."""
  *blocks, part, name = path
  exit_ = pair.removeprefix('pair')
  if not blocks:
    return f'{exit_}_{"widen" if part == "Dense_0" else part}_{name}'
  kind, _, number = part.partition('_')
  kind = {'Conv': 'depthwise', 'Dense': 'pointwise', 'BatchNorm': 'bn'}[kind]
  block = blocks[0].removeprefix('Separable_')
  return f'{exit_}_block_{block}_{kind}_{number}_{name}'


def _attending(name: str):
  """The method as a whole, with the given parameters in its own."""

  def call(loss, x, **attrs):
    sides = zip_names(x.student, x.teacher)
    method = methods.make_method(name, layers=sides, **attrs)
    init = jax.eval_shape(method.init, jax.random.key(0), x.student, x.teacher)
    variables = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), init)
    params = {
      '/'.join(_place(name, key, x)): value for key, value in x.params.items()
    }
    variables['params'] = jax.tree_util.tree_map_with_path(
      lambda path, _: params['/'.join(k.key for k in path)], variables['params']
    )
    hparams = method.hparams
    return method.loss(variables, x.student, x.teacher, {}, hparams)[0]

  return call


def zip_names(student, teacher) -> list[tuple[str, str]]:
  """Pairs that name every layer of either side."""
  ours, theirs = (
    sorted(side, key=lambda name: (len(name), name))
    for side in (student, teacher)
  )
  pairs = itertools.zip_longest(ours, theirs)
  return [(s or ours[-1], t or theirs[-1]) for s, t in pairs]


def _place(method, key, x) -> tuple[str, ...]:
  """Where a source's parameter is among ours."""
  if method == 'semckd':
    layer, part, leaf = re.fullmatch(
      r'(.+?)_(linear\d|conv\d|bn\d)_(\w+)', key
    ).groups()
    kind, _, number = layer.partition('_')
    kind = {'regressor': 'projection'}.get(kind, kind)
    parts = {
      'linear1': 'Dense_0', 'linear2': 'Dense_1', 'conv1': 'Dense_0',
      'conv2': 'Conv_0', 'conv3': 'Dense_1', 'bn1': 'BatchNorm_0',
      'bn2': 'BatchNorm_1',
    }  # fmt: skip
    return f'{kind}{number}', parts[part], leaf
  if key in ('p_t', 'p_s'):
    return ({'p_t': 'teacher_places', 'p_s': 'student_places'}[key],)
  kind, number, bn, leaf = re.fullmatch(
    r'(query|key|bilinear)_?(\d*)_(bn_)?(\w+)', key
  ).groups()
  if not bn:
    return f'{kind}{number}', leaf
  before = {
    'query': 0,
    'key': len(x.teacher),
    'bilinear': len(x.teacher) + len(x.student),
  }
  return f'BatchNorm_{before[kind] + int(number or 0)}', leaf


_SINKHORN = {'sinkhorn_lambda': 'regularization', 'sinkhorn_iter': 'iterations'}
_SCALES = {'M': 'scales'}
FAMILIES = {
  'rld': ('decoupled.rld', _rld),
  'normkd': ('temperatures.normkd', _logits),
  'normkd_dkd': ('temperatures.normkd_dkd', _labeled),
  'ctkd_instance': ('temperatures.kd_each', _kd_each),
  'wkd_l': ('transport.wkd_l', _wkd_l, _SINKHORN),
  'wkd_f': ('transport.wkd_f', _wkd_f, {'mean_cov_ratio': 'mean_weight'}),
  'sdd_kd': ('regions.sdd_kd', _regions, _SCALES),
  'sdd_dkd': ('regions.sdd_dkd', _regions, _SCALES),
  'sdd_nkd': ('regions.sdd_nkd', _regions, _SCALES),
  'itrd_correlation': ('', _correlation),
  'itrd_mutual': ('', _mutual),
  'itrd': ('', _itrd),
  'uskd': ('teacher_free.uskd', _uskd),
  'vkd': ('features.vkd', _vkd),
  'semckd': ('', _attending('semckd'), {'soft': 'sharpness'}),
  'afd': ('', _attending('afd'), {'qk_dim': 'width'}),
  'sskd': ('', _sskd),
  'ofa_exits': ('', _exits),
}
