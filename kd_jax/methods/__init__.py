"""METHODS: the table of methods, name -> maker; makes a method by name."""

import inspect
from collections.abc import Sequence
from typing import Annotated

from kd_jax import kinds
from kd_jax.losses import attention as attention_losses
from kd_jax.losses import (
  decoupled,
  detection,
  divergences,
  independent,
  logits,
  multilevel,
  pixel_relations,
  sparse,
  svd,
  temperatures,
)
from kd_jax.losses import dense as dense_losses
from kd_jax.losses import factors as factor_losses
from kd_jax.losses import features as feature_losses
from kd_jax.losses import regions as region_losses
from kd_jax.losses import relations as relation_losses
from kd_jax.methods import (
  base,
  boundaries,
  cat,
  crd,
  ctkd,
  dense,
  embeddings,
  exits,
  factors,
  features,
  hints,
  information,
  known,
  layer_attention,
  mgd,
  pairs,
  regions,
  relations,
  review,
  rotations,
  simkd,
  srrl,
  teacher_free,
  transformers,
  transport,
  vid,
  vkd,
)

# The methods that read the labels and no teacher.
HARD = ('cross_entropy', 'uskd', 'squared_error', 'binary_cross_entropy')
# Those that read outputs which transformers alone have.
ATTENTION = ('attention_mse', 'attention_kl', 'value_relation')
# Those that read the blocks of transformers on text.
TEXT = ('tinybert', 'minilm', 'minilm_v2', 'mobilebert', 'pkd')
# Those for a number, or for yes or no to each class.
INDEPENDENT = ('squared_error', 'binary_cross_entropy', 'binary_kd')
# Those that are made for maps of predictions.
DENSE = (
  'pixel_kd',
  'boundary_kd',
  'cwd',
  'ifvd',
  'skd_pairwise',
  'cirkd_minibatch',
  'pearson_pkd',
)

METHODS = {
  # Labels.
  'cross_entropy': pairs.on_labels(logits.cross_entropy),
  'uskd': base.only('image', teacher_free.uskd),
  # Logits.
  'kd': pairs.on_logits(logits.kd, binned=known.FORWARD),
  'dkd': pairs.on_logits(decoupled.dkd),
  'rld': pairs.on_logits(decoupled.rld, alpha_temperature=kinds.Temperature),
  'nkd': pairs.on_logits(decoupled.nkd),
  'dist': pairs.on_logits(multilevel.dist, batchwise=True),
  'lskd': pairs.on_logits(logits.lskd),
  'normkd': pairs.on_logits(temperatures.normkd, t_norm=kinds.Positive),
  'normkd_dkd': pairs.on_logits(temperatures.normkd_dkd, t_norm=kinds.Positive),
  # Its Gram matrix of all predictions is too large for pixels.
  'mlld': base.only(
    'image',
    pairs.on_logits(
      multilevel.mlld,
      batchwise=True,
      temperatures=Annotated[Sequence[kinds.Temperature], kinds.NOT_EMPTY],
    ),
  ),
  'ctkd': ctkd.ctkd,
  'ttm': pairs.on_logits(logits.ttm),
  'wsld': pairs.on_logits(logits.wsld),
  'logit_mse': pairs.on_logits(logits.logit_mse),
  'forward_kl': pairs.on_logits(divergences.forward_kl, binned=known.FORWARD),
  'reverse_kl': pairs.on_logits(divergences.reverse_kl, binned=known.TAIL),
  'generalized_jsd': pairs.on_logits(
    divergences.generalized_jsd, binned=known.TAIL, beta=kinds.Share
  ),
  'skew_kl': pairs.on_logits(divergences.skew_kl, binned=known.TAIL),
  'skew_reverse_kl': pairs.on_logits(
    divergences.skew_reverse_kl, binned=known.TAIL
  ),
  'symmetric_kl': pairs.on_logits(divergences.symmetric_kl, binned=known.TAIL),
  'js': pairs.on_logits(divergences.js, binned=known.TAIL),
  'tv': pairs.on_logits(divergences.tv, binned=known.TAIL),
  'ofa': pairs.on_logits(decoupled.ofa),
  'ofa_exits': base.only('image', exits.ofa_exits),
  'wkd_l': transport.wkd_l,
  'sdd_kd': base.only('image', regions.on_regions(region_losses.sdd_kd)),
  'sdd_dkd': base.only('image', regions.on_regions(region_losses.sdd_dkd)),
  'sdd_nkd': base.only('image', regions.on_regions(region_losses.sdd_nkd)),
  'topk_kd': pairs.on_logits(decoupled.topk_kd, counted=('k',), k=kinds.Count),
  'topk_jsd': pairs.on_logits(
    sparse.topk_jsd, counted=('k',), k=kinds.Count, beta=kinds.Share
  ),
  # Features.
  'fitnet': hints.fitnet,
  'at': features.on_features(
    feature_losses.at, static=('power',), power=kinds.Positive
  ),
  'nst': features.on_features(feature_losses.nst),
  'fsp': features.on_features(factor_losses.fsp, joint=True),
  'ab': boundaries.ab,
  'ft': factors.ft,
  'vid': vid.vid,
  'ofd': boundaries.ofd,
  'kdsvd': features.on_features(svd.kdsvd, joint=True, components=kinds.Count),
  'review_kd': review.review_kd,
  'simkd': base.only('image', simkd.simkd),
  'cat_kd': cat.cat_kd,
  'mgd': mgd.mgd,
  'feature_mse': features.on_features(feature_losses.feature_mse, each=True),
  'feature_cosine': features.on_features(
    feature_losses.feature_cosine, each=True
  ),
  'wkd_f': transport.wkd_f,
  'vkd': vkd.vkd,
  'semckd': layer_attention.semckd,
  'afd': layer_attention.afd,
  # Relations and embeddings.
  'rkd': relations.on_relations(relation_losses.rkd),
  'rkd_distance': relations.on_relations(relation_losses.rkd_distance),
  'rkd_angle': relations.on_relations(relation_losses.rkd_angle),
  'sp': relations.on_relations(relation_losses.sp),
  'cc': embeddings.cc,
  'pkt': relations.on_relations(relation_losses.pkt),
  'ickd': relations.ickd,
  'crd': base.only('image', crd.crd),
  'info_nce': embeddings.info_nce,
  'srrl': base.only('image', srrl.srrl),
  'itrd': information.itrd,
  'sskd': base.only('image', rotations.sskd),
  # Attention maps.
  'attention_mse': relations.on_attention(attention_losses.attention_mse),
  'attention_kl': relations.on_attention(attention_losses.attention_kl),
  'value_relation': relations.on_attention(
    attention_losses.value_relation, relation_heads=kinds.Count | None
  ),
  # Transformers on text.
  'tinybert': transformers.tinybert,
  'minilm': transformers.minilm,
  'minilm_v2': transformers.minilm_v2,
  'mobilebert': transformers.mobilebert,
  'pkd': transformers.pkd,
  # Pixels.
  'pixel_kd': base.only('pixel', dense.pixel_kd),
  'boundary_kd': base.only('pixel', dense.boundary_kd),
  'cwd': features.on_features(dense_losses.cwd, choice='bilinear'),
  'ifvd': base.only('pixel', dense.ifvd),
  'skd_pairwise': features.on_features(
    pixel_relations.skd_pairwise, static=('scale',), scale=kinds.Portion
  ),
  'cirkd_minibatch': features.on_features(
    pixel_relations.cirkd_minibatch, batchwise=True
  ),
  'pearson_pkd': features.on_features(
    detection.pearson_pkd, batchwise=True, choice='bilinear'
  ),
  # Logits that are no distribution.
  'squared_error': pairs.on_labels(independent.squared_error),
  'binary_cross_entropy': pairs.on_labels(independent.binary_cross_entropy),
  'binary_kd': pairs.on_logits(independent.binary_kd),
}


def make_method(name: str, **options) -> base.Method:
  """The method `name`, with these hyperparameters and static options.

  Raises:
    ValueError: for an unknown name or option, with the known ones, or a value
      that the option cannot have.
  """
  maker = kinds.entry('method', METHODS, name)
  # Layers are looked at by the method, which shows how they are written.
  kinds.options(
    f"method '{name}'", maker, options, unchecked=('layers', 'examples')
  )
  return maker(**options)


def reads_layers(name: str) -> bool:
  """Whether the method `name` compares layers that a user names."""
  return 'layers' in inspect.signature(METHODS[name]).parameters
