"""How the losses on tokens are computed for their golden values.

FAMILIES is as in `tests.golden`. Masks and reductions are those of
`kd_jax.terms`; sources that count padding get no mask.
"""

import jax.numpy as jnp

from kd_jax import methods, terms
from kd_jax.losses import attention, heads, logits, sparse

# A reduction of `terms` for each of the sources' names.
_REDUCTIONS = {'sequence': 'sequence_mean', 'token': 'token_mean'}


def _counts(labels):
  return (labels != -100).astype(jnp.float32)


def _reduced(loss, x, *, reduction, **hparams):
  values = loss(x.student['logits'], x.teacher['logits'], **hparams)
  counts = _counts(x.labels)
  if reduction == 'fixed_length':  # a bug of the source: zeros in the mean
    return jnp.mean(values * counts)
  return terms.masked_mean(values, counts, reduction=reduction)


def _known(loss, x, *, k, missing, temperature):
  variants = {'zero': 'renormalize_teacher', 'symmetric_uniform': 'tail'}
  log_top, classes = x.teacher['values'], x.teacher['ids']
  assert log_top.shape[-1] == k
  return loss(
    x.student['logits'],
    log_top,
    classes,
    temperature=temperature,
    variant=variants[missing],
  )


def _known_jsd(loss, x, *, k, tail, temperature, **hparams):
  """The divergence of bins, the teacher's out of what is stored."""
  variant = 'tail' if tail else 'renormalize'
  log_top, classes = x.teacher['values'], x.teacher['ids']
  assert log_top.shape[-1] == k
  teacher = sparse.known_bins(log_top, None, temperature, variant)
  log_s = x.student['logits'] / temperature
  log_s = log_s - jnp.log(jnp.sum(jnp.exp(log_s), -1, keepdims=True))
  return loss(sparse.bins(log_s, classes, variant), teacher, **hparams)


def _by_student(loss, x, *, tail, **hparams):
  return loss(
    x.student['logits'],
    x.teacher['logits'],
    variant='tail' if tail else 'renormalize',
    support='student',
    **hparams,
  )


def _sampled(loss, x, *, n):
  """Of n draws; there are at most as many places as classes."""
  classes, weights = x.teacher['ids'], x.teacher['weights']
  assert classes.shape[-1] <= n
  return loss(x.student['logits'], classes, weights)


def _linear(loss, x, *, soft_weight, hard_weight, **hparams):
  """In chunks of five tokens, which divide none of the cases."""
  sides = {'student': x.student, 'teacher': x.teacher}
  given = {
    name: {'kernel': side['kernel'].T, 'bias': side.get('bias')}
    for name, side in sides.items()
  }

  def compare(z, rest):
    hard = logits.cross_entropy(z['student'], rest['labels'])
    soft = loss(z['student'], z['teacher'], **hparams)
    return soft_weight * soft + hard_weight * hard

  return heads.in_chunks(
    compare,
    given,
    {name: side['hidden'] for name, side in sides.items()},
    {'labels': x.labels},
    5,
  )


def _distilbert(
  kd,
  x,
  *,
  temperature,
  restrict_ce_to_mask,
  alpha_ce,
  alpha_mlm,
  alpha_cos,
  alpha_mse=0.0,
):
  """Four terms of one loss; `logit_mse` has the mean over classes."""
  del kd
  classes = x.student['logits'].shape[-1]
  hidden = [('hidden', 'hidden')]
  void = not restrict_ce_to_mask
  pair = ('student', 'teacher')
  make = methods.make_method
  soft = make('kd', temperature=temperature)
  parts = {
    'soft': terms.Term(*pair, soft, alpha_ce, void=void),
    'hard': terms.Term(
      'student', terms.LABELS, make('cross_entropy'), alpha_mlm
    ),
    'cosine': terms.Term(
      *pair, make('feature_cosine', layers=hidden), alpha_cos
    ),
    'mse': terms.Term(*pair, make('logit_mse'), alpha_mse * classes, void=void),
  }
  batch = {
    'inputs': {'attention_mask': x.mask},
    'labels': x.labels,
    'mask': _counts(x.labels),
  }
  total, _ = terms.total_loss(
    parts,
    {name: {} for name in parts},
    {'student': x.student, 'teacher': x.teacher, terms.LABELS: {}},
    batch,
    {name: terms.hparams_of(term) for name, term in parts.items()},
    jnp.int32(0),
  )
  return total


def _tinybert(loss, x, *, student_layers, teacher_layers):
  """By the method, without a mask, with the projection given."""
  del loss
  assert f'att{student_layers - 1}' in x.student
  assert f'att{teacher_layers - 1}' in x.teacher
  method = methods.make_method(
    'tinybert',
    layers=[('rep0', 'rep0'), ('rep[1-9]', 'rep[1-9] evenly')],
    scores=[('att#', 'att# evenly')],
  )
  params = {'projection0': x.params}
  values, _ = method.loss(
    {'params': params, 'state': {}}, x.student, x.teacher, {}, {}
  )
  return values


def _over_classes(loss, x, **hparams):
  value = loss(x.student['logits'], x.teacher['logits'], **hparams)
  return value / x.student['logits'].shape[-1]


def _scores(side):
  q, k = side['q'], side['k']
  scores = jnp.einsum('bhid,bhjd->bhij', q, k, precision='highest')
  return scores / q.shape[-1] ** 0.5


def _reduce(values, mask, reduction):
  if reduction == 'all_positions':
    return jnp.mean(values)
  return terms.masked_mean(values, mask, reduction=_REDUCTIONS[reduction])


def _minilm(relation, x, *, reduction):
  masks = {'tokens': x.mask, 'by_query': True}
  values = relation(x.student['v'], x.teacher['v'], **masks)
  values += attention.attention_kl(
    _scores(x.student), _scores(x.teacher), **masks
  )
  return _reduce(values, x.mask, reduction)


def _minilm_v2(relation, x, *, reduction, **hparams):
  values = sum(
    relation(
      x.student[part], x.teacher[part], tokens=x.mask, by_query=True, **hparams
    )
    for part in 'qkv'
  )
  return _reduce(values, x.mask, reduction)


def _patient(loss, x, **hparams):
  """The source has the mean over layers, where we sum."""
  student, teacher = x.student['cls'], x.teacher['cls']
  count = student.shape[1]
  total = sum(
    loss(student[:, i], teacher[:, i], **hparams) for i in range(count)
  )
  return total / count


def _hidden(loss, x, *, kind):
  """By the methods; the source has the mean over layers, where we sum."""
  del loss
  names = sorted(x.student)
  method = methods.make_method(
    f'feature_{kind}', layers=[(name, name) for name in names]
  )
  batch = {'inputs': {'attention_mask': x.mask}}
  values, _ = method.loss(
    {'params': {}, 'state': {}}, x.student, x.teacher, batch, {}
  )
  return terms.masked_mean(values, x.mask) / len(names)


_ENTROPY = {'variant': 'cross_entropy'}
_JSD = 'divergences.generalized_jsd'
FAMILIES = {
  'reduced_jsd': (_JSD, _reduced),
  'topk_kl_cached': ('sparse.topk_kl', _known),
  'topk_jsd': (_JSD, _known_jsd),
  'topk_student_support': ('sparse.topk_jsd', _by_student),
  'sampled_cross_entropy': ('sparse.sampled_cross_entropy', _sampled),
  'linear_jsd': (_JSD, _linear),
  'distilbert_total': ('logits.kd', _distilbert),
  'tinybert_intermediate': ('attention.attention_mse', _tinybert),
  'tinybert_prediction': (
    'divergences.forward_kl',
    _over_classes,
    {},
    _ENTROPY,
  ),
  'minilm_v1': ('attention.value_relation', _minilm),
  'minilm_v2': ('attention.value_relation', _minilm_v2),
  'pkd': ('features.pkd', _patient),
  'masked_hidden': ('features.feature_mse', _hidden),
}
