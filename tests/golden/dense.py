"""How the losses on maps are computed for their golden values.

FAMILIES is as in `tests.golden`: family -> (function in kd_jax.losses, call,
names of attrs). Where a source has a factor that the docstring of our loss
states, the call has it.
"""

import jax
import jax.numpy as jnp

from kd_jax.losses import spatial
from kd_jax.methods import mgd


def project(x, kernel, bias=None):
  """A 1x1 convolution, kernel [in, out]."""
  out = jnp.einsum('...i,io->...o', x, kernel, precision='highest')
  return out if bias is None else out + jnp.broadcast_to(bias, out.shape)


def _logits(loss, x, **hparams):
  return loss(x.student['logits'], x.teacher['logits'], **hparams)


def _feature(loss, x, *extra, **hparams):
  return loss(x.student['feature'], x.teacher['feature'], *extra, **hparams)


def _summed_over_images(loss, x, **hparams):
  """SKD sums over the images of a batch, where we take the mean."""
  value = _logits(loss, x, **hparams)
  return value * len(value)


def _over_all_elements(loss, x, *, upsample, temperature):
  """IFVD has no T^2 and the mean over the classes, where we sum."""
  sides = []
  for side in (x.student['logits'], x.teacher['logits']):
    size = tuple(upsample * n for n in side.shape[1:3])
    sides.append(spatial.bilinear(side, size, align_corners=True))
  value = loss(*sides, temperature=temperature)
  return value / (temperature**2 * sides[0].shape[-1])


def _adapted(loss, x, **hparams):
  """CIRKD divides by the channels before the convolution."""
  student = x.student['feature']
  value = loss(
    project(student, x.params['kernel']), x.teacher['feature'], **hparams
  )
  return value * x.teacher['feature'].shape[-1] / student.shape[-1]


def _labelled(loss, x, **hparams):
  return _feature(loss, x, x.labels, **hparams)


def _remembered(loss, x, **hparams):
  return _feature(loss, x, x.params['queue'], **hparams)


def _generated(loss, x, *, alpha, mask_ratio):
  """MGD by the module of our method, with the weights given."""
  given, teacher = x.params, x.teacher['feature']
  params = {
    f'Conv_{i}': {
      part: given[f'generation_{2 * i}_{part}'] for part in ('kernel', 'bias')
    }
    for i in range(2)
  }
  if 'align_kernel' in given:
    dense = {part: given[f'align_{part}'] for part in ('kernel', 'bias')}
    params['Pointwise_0'] = {'Dense_0': dense}
  mask = (given['noise'] <= 1 - mask_ratio).astype(jnp.float32)
  with jax.default_matmul_precision('highest'):
    rebuilt = mgd.Generator(teacher.shape).apply(
      {'params': params}, x.student['feature'], mask
    )
  return alpha * loss(rebuilt, teacher)


def _levels(loss, x, **hparams):
  return sum(
    loss(x.student[name], x.teacher[name], **hparams) for name in x.student
  )


def _sides_of_boxes(loss, x, **hparams):
  """LD's head divides by 4 times the sum of the anchors' weights."""
  value = _logits(loss, x, **hparams)
  if 'weight' not in x.params:
    return value
  weight = x.params['weight'][:, None]
  return jnp.sum(value * weight) / (4 * jnp.sum(weight))


# name of a weight of `detection.global_context` -> FGD's, for a side 's' or 't'
_CONTEXT = {
  'mask_kernel': 'mask_{}_kernel',
  'mask_bias': 'mask_{}_bias',
  'first_kernel': 'add_{}_0_kernel',
  'first_bias': 'add_{}_0_bias',
  'norm_scale': 'add_{}_norm_scale',
  'norm_bias': 'add_{}_norm_bias',
  'second_kernel': 'add_{}_3_kernel',
  'second_bias': 'add_{}_3_bias',
}


def _detector(loss, x, **hparams):
  given = x.params
  student = x.student['feature']
  if 'align_kernel' in given:
    student = project(student, given['align_kernel'], given['align_bias'])
  contexts = {
    side: {ours: given[name.format(side[0])] for ours, name in _CONTEXT.items()}
    for side in ('student', 'teacher')
  }
  teacher = x.teacher['feature']
  return loss(student, teacher, given['boxes'], contexts, **hparams)


_ENTROPY = {'variant': 'cross_entropy'}
FAMILIES = {
  'pixel_kd': ('logits.kd', _logits),
  'pixel_kd_masked': ('logits.kd', _logits),
  'pixel_ce_skd': ('divergences.forward_kl', _summed_over_images, {}, _ENTROPY),
  'pixel_kd_ifvd': ('logits.kd', _over_all_elements),
  'cwd': ('dense.cwd', _logits),
  'cwd_adapter': ('dense.cwd', _adapted),
  'ifvd': ('dense.ifvd', _labelled),
  'skd_pairwise': ('pixel_relations.skd_pairwise', _feature),
  'skd_pairwise_stride2': (
    'pixel_relations.skd_pairwise',
    _feature,
    {},
    {'variant': 'cirkd'},
  ),
  'cirkd_minibatch': ('pixel_relations.cirkd_minibatch', _feature),
  'cirkd_memory': ('pixel_relations.cirkd_memory', _remembered),
  'dist_seg': ('multilevel.dist', _logits),
  'mgd_seg': ('features.feature_sse', _generated),
  'pearson_pkd': ('detection.pearson_pkd', _levels),
  'ld': ('detection.ld', _sides_of_boxes),
  'fgd': ('detection.fgd', _detector),
}
