"""How each method of the table is made for the contract, and what is true.

A case 'method/label' is one more way to make the method.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers.methods import signals

VECTORS = [('features', 'features')]
MAP = [('map2', 'map2')]
MAPS = [('map1', 'map1'), ('map2', 'map2')]
PRE = [('pre1', 'pre1'), ('pre2', 'pre2')]
LAST = [('last', 'last')]
BLOCK = [('layer0', 'layer0')]
SCORES = [('layer0_scores', 'layer0_scores')]


def same(variables, teacher, batch):
  """The student's outputs are the teacher's."""
  del batch
  return variables, teacher


def _logits(function) -> Callable:
  """The student's logits are a function of the teacher's and the labels."""

  def at(variables, teacher, batch):
    hot = jax.nn.one_hot(batch['labels'], signals.CLASSES)
    logits = function(jnp.asarray(teacher['logits']), hot)
    return variables, {**teacher, 'logits': logits}

  return at


def _swapped(t, hot):
  """The teacher's logits, its choice and the label exchanged."""
  top = jax.nn.one_hot(t.argmax(-1), t.shape[-1])
  label, choice = ((t * x).sum(-1, keepdims=True) for x in (hot, top))
  return jnp.where(hot > 0, choice, jnp.where(top > 0, label, t))


def _tied(variables, teacher, batch):
  """Both sides have one embedding."""
  del batch
  params = {
    pair: {'student': sides['teacher'], 'teacher': sides['teacher']}
    for pair, sides in variables['params'].items()
  }
  return {**variables, 'params': params}, teacher


def _beyond(variables, teacher, batch):
  """The student's pre-activations lie beyond the margin on the same side."""
  del batch
  return variables, {
    name: np.where(x > 0, 2, -2).astype(x.dtype) if 'pre' in name else x
    for name, x in teacher.items()
  }


class Case(NamedTuple):
  """One method under test.

  Attributes:
    options: what it is made with.
    least: at its documented minimum the value is 'zero' and the least there
      is, or its gradient by the student is 'still'; 'none' says in `why` that
      no such point is known beforehand.
    at: (variables, teacher, batch) -> variables and student's outputs there.
    why: there is no such point, and where it is tested instead.
    ordered: depends on the order of the batch, as documented.
    detached: its gradient by the student or its own parameters is, on purpose,
      not the slope of its value: no finite differences.
    idle: hyperparameters that the options leave without effect.
    dense: there are logits and a label for every pixel.
    head: reads the classifier, though it is given no layers.
  """

  options: Mapping[str, Any] = {}
  least: str = 'zero'
  at: Callable = same
  why: str = ''
  ordered: bool = False
  detached: bool = False
  idle: tuple[str, ...] = ()
  dense: bool = False
  head: bool = False

  @property
  def reads(self) -> set[str]:
    """The outputs that the method looks at."""
    pairs = [*self.options.get('layers', ()), *self.options.get('scores', ())]
    names = {name for pair in pairs for name in pair}
    if pairs == BLOCK:
      parts = ('scores', 'query', 'key', 'value')
      names |= {f'layer0_{part}' for part in parts}
    names |= {self.options['layer']} if 'layer' in self.options else set()
    return names | {'logits', 'head'} if names or self.head else {'logits'}


_EMBEDDED = {'layers': VECTORS, 'dim': 4}
_LEARNED = 'a learned map stands between the sides; see its own test'

CASES = {
  'cross_entropy': Case(at=_logits(lambda t, hot: 1e3 * hot)),
  'kd': Case(),
  'kd/standardized': Case({'standardize': True}),
  'dkd': Case(),
  # The first of its terms falls until the student is sure of the label; the
  # second is the cross-entropy of the others.
  'nkd': Case(least='still', at=_logits(lambda t, hot: t + 1e3 * hot)),
  'dist': Case(),
  'lskd': Case(),
  'mlld': Case(),
  'ctkd': Case({'decay_steps': 8.0}, detached=True),
  'ttm': Case(at=_logits(lambda t, hot: t / 4)),
  'wsld': Case(least='still', detached=True),
  'logit_mse': Case(),
  'forward_kl': Case(),
  'reverse_kl': Case(),
  'generalized_jsd': Case(),
  'skew_kl': Case(),
  'skew_reverse_kl': Case(),
  'symmetric_kl': Case(),
  'js': Case(),
  'tv': Case(),
  'ofa': Case(least='still'),
  # The masked part is for the teacher's choice where the label is another.
  'rld': Case(at=_logits(_swapped)),
  'normkd': Case(),
  'normkd_dkd': Case(),
  'ctkd/instance': Case(
    {'decay_steps': 8.0, 'variant': 'instance'}, detached=True
  ),
  'ofa_exits': Case(
    {'layers': [('map1', 'logits'), ('map2', 'logits')]},
    least='none',
    why=_LEARNED,
  ),
  # A divisor of 0.05 makes much of the rounding of a cost.
  'wkd_l': Case(
    {'regularization': 0.2},
    least='none',
    why='the regularized plan spreads; see its own test',
    head=True,
  ),
  'sdd_kd': Case({'layers': LAST}),
  'sdd_dkd': Case({'layers': LAST}),
  'sdd_nkd': Case(
    {'layers': LAST},
    least='none',
    why='as nkd, and the regions share one head; see its test',
  ),
  'uskd': Case(
    {'layer': 'map1'},
    least='none',
    why='no teacher; see its test',
    detached=True,
  ),
  'wkd_f': Case({'layers': MAPS}, least='none', why=_LEARNED),
  'vkd': Case({'layers': MAPS}, least='none', why=_LEARNED),
  # Embeddings narrower than the batch would be zeros behind a dead ReLU here.
  'semckd': Case(
    {'layers': MAPS, 'factor': 1}, least='none', why=_LEARNED, ordered=True
  ),
  'afd': Case(
    {'layers': MAPS},
    least='none',
    why='compares other layers too; see its test',
  ),
  'itrd': Case({'layers': VECTORS}, least='none', why=_LEARNED),
  # Four rows are an image's. Of two images a share of the mistakes is none.
  # Vectors as narrow as 'features' leave projections that are equal, of which
  # rounding decides which one is kept.
  'sskd': Case(
    {'layers': MAP, 'projection_steps': 0},
    least='none',
    why=_LEARNED,
    ordered=True,
    idle=('ratio', 'contrast_ratio'),
  ),
  'topk_kd': Case({'k': 2}),
  'topk_jsd': Case({'k': 2}),
  'fitnet': Case({'layers': MAPS}, least='none', why=_LEARNED),
  'at': Case({'layers': MAPS}),
  'nst': Case({'layers': MAPS}),
  'fsp': Case({'layers': MAPS}),
  'ab': Case({'layers': PRE}, at=_beyond),
  'ft': Case(
    {'layers': MAP, 'paraphraser_steps': 0},
    least='none',
    why=_LEARNED,
    idle=('reconstruction',),
  ),
  'vid': Case({'layers': MAPS}, least='none', why=_LEARNED),
  'ofd': Case({'layers': PRE}, least='none', why=_LEARNED),
  # A singular vector of a small singular value is known to few digits: not
  # of 'map2', which has four places and is pooled.
  'kdsvd': Case({'layers': [('map1', 'map1'), *LAST]}),
  'review_kd': Case({'layers': MAPS}, least='none', why=_LEARNED),
  'cat_kd': Case({'layers': LAST}),
  # With all channels of an example left out, a ReLU would stand at its kink.
  'mgd': Case({'layers': MAPS, 'masked': 0.05}, least='none', why=_LEARNED),
  'feature_mse': Case({'layers': MAPS}),
  'feature_cosine': Case({'layers': MAPS}),
  'simkd': Case({'layers': MAP}, least='none', why=_LEARNED),
  'rkd': Case({'layers': VECTORS}),
  'rkd_distance': Case({'layers': VECTORS}),
  'rkd_angle': Case({'layers': VECTORS}),
  'sp': Case({'layers': MAPS}),
  'cc': Case(_EMBEDDED, at=_tied, ordered=True, idle=('gamma',)),
  'cc/paper': Case({**_EMBEDDED, 'variant': 'paper'}, at=_tied),
  'pkt': Case({'layers': VECTORS}),
  'ickd': Case({'layers': MAPS}),
  'crd': Case(
    {**_EMBEDDED, 'negatives': 6, 'examples': signals.classes()},
    least='none',
    why='a contrast has no zero; see its own test',
  ),
  'info_nce': Case(
    _EMBEDDED, least='none', why='a contrast has no zero; see its own test'
  ),
  'srrl': Case({'layers': MAP}, least='none', why=_LEARNED),
  'attention_mse': Case({'layers': [('scores', 'scores')]}),
  'attention_kl': Case({'layers': [('scores', 'scores')]}),
  'value_relation': Case({'layers': [('value', 'value')]}),
  'tinybert': Case(
    {'layers': BLOCK, 'scores': SCORES}, least='none', why=_LEARNED
  ),
  'minilm': Case({'layers': BLOCK}),
  'minilm_v2': Case({'layers': BLOCK, 'relation_heads': 4}),
  'mobilebert': Case({'layers': BLOCK}),
  'pkd': Case({'layers': [('states', 'states')]}),
  'pixel_kd': Case(dense=True),
  'boundary_kd': Case(dense=True),
  'cwd': Case({'layers': MAPS}),
  'cwd/logits': Case({'layers': [('logits', 'logits')]}, dense=True),
  'ifvd': Case({'layers': MAPS}, dense=True),
  'skd_pairwise': Case({'layers': MAPS}, detached=True),
  'cirkd_minibatch': Case({'layers': MAPS}),
  'pearson_pkd': Case({'layers': MAPS}),
  'squared_error': Case(
    at=_logits(lambda t, hot: 0 * t + hot.argmax(-1, keepdims=True))
  ),
  'binary_cross_entropy': Case(at=_logits(lambda t, hot: 1e3 * (2 * hot - 1))),
  'binary_kd': Case(),
}

# A few of each kind, for laws that take long.
QUICK = (
  'cross_entropy', 'kd', 'kd/standardized', 'dkd', 'dist', 'mlld', 'ctkd',
  'generalized_jsd', 'rld', 'sdd_kd', 'wkd_f', 'topk_kd', 'fitnet', 'at', 'ab',
  'ft', 'vid', 'cat_kd', 'mgd', 'semckd', 'simkd', 'rkd', 'sp', 'pkt', 'crd',
  'srrl', 'minilm', 'pixel_kd', 'cwd',
)  # fmt: skip
