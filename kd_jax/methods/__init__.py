"""METHODS: the table of methods, name -> maker; makes a method by name."""

import inspect

from kd_jax import types
from kd_jax.losses import attention as attention_losses
from kd_jax.losses import decoupled, divergences, logits, multilevel, svd
from kd_jax.losses import factors as factor_losses
from kd_jax.losses import features as feature_losses
from kd_jax.losses import relations as relation_losses
from kd_jax.methods import (
  base,
  boundaries,
  cat,
  crd,
  ctkd,
  embeddings,
  factors,
  features,
  hints,
  mgd,
  relations,
  review,
  simkd,
  srrl,
  vid,
)

# The methods that read the labels and no teacher.
HARD = ('cross_entropy',)

METHODS = {
  # Labels.
  'cross_entropy': base.on_labels(logits.cross_entropy),
  # Logits.
  'kd': base.on_logits(logits.kd),
  'dkd': base.on_logits(decoupled.dkd),
  'nkd': base.on_logits(decoupled.nkd),
  'dist': base.on_logits(multilevel.dist, batchwise=True),
  'lskd': base.on_logits(logits.lskd),
  'mlld': base.on_logits(multilevel.mlld, batchwise=True),
  'ctkd': ctkd.ctkd,
  'ttm': base.on_logits(logits.ttm),
  'wsld': base.on_logits(logits.wsld),
  'logit_mse': base.on_logits(logits.logit_mse),
  'reverse_kl': base.on_logits(divergences.reverse_kl),
  'generalized_jsd': base.on_logits(divergences.generalized_jsd),
  'skew_kl': base.on_logits(divergences.skew_kl),
  'skew_reverse_kl': base.on_logits(divergences.skew_reverse_kl),
  'symmetric_kl': base.on_logits(divergences.symmetric_kl),
  'js': base.on_logits(divergences.js),
  'tv': base.on_logits(divergences.tv),
  'ofa': base.on_logits(decoupled.ofa),
  'topk_kd': base.on_logits(decoupled.topk_kd),
  # Features.
  'fitnet': hints.fitnet,
  'at': features.on_features(feature_losses.at, static=('power',)),
  'nst': features.on_features(feature_losses.nst),
  'fsp': features.on_features(factor_losses.fsp, joint=True),
  'ab': boundaries.ab,
  'ft': factors.ft,
  'vid': vid.vid,
  'ofd': boundaries.ofd,
  'kdsvd': features.on_features(svd.kdsvd, joint=True),
  'review_kd': review.review_kd,
  'simkd': simkd.simkd,
  'cat_kd': cat.cat_kd,
  'mgd': mgd.mgd,
  'feature_mse': features.on_features(feature_losses.feature_mse),
  'feature_cosine': features.on_features(feature_losses.feature_cosine),
  # Relations and embeddings.
  'rkd': relations.on_relations(relation_losses.rkd),
  'rkd_distance': relations.on_relations(relation_losses.rkd_distance),
  'rkd_angle': relations.on_relations(relation_losses.rkd_angle),
  'sp': relations.on_relations(relation_losses.sp),
  'cc': embeddings.cc,
  'pkt': relations.on_relations(relation_losses.pkt),
  'ickd': relations.ickd,
  'crd': crd.crd,
  'info_nce': embeddings.info_nce,
  'srrl': srrl.srrl,
  # Attention maps.
  'attention_mse': relations.on_attention(attention_losses.attention_mse),
  'attention_kl': relations.on_attention(attention_losses.attention_kl),
  'value_relation': relations.on_attention(attention_losses.value_relation),
}


def make_method(name: str, **options) -> base.Method:
  """The method `name`, with these hyperparameters and static options.

  Raises:
    ValueError: for an unknown name or option, with the known ones.
  """
  if name not in METHODS:
    raise types.unknown('method', name, METHODS)
  maker = METHODS[name]
  taken = inspect.signature(maker).parameters
  if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
    for option in options:
      if option not in taken:
        raise types.unknown(f"option of method '{name}'", option, taken)
  return maker(**options)
