"""torchdistill's losses, where it is installed, as the twins are called.

pip install torchdistill==1.1.5 torchvision==0.28.0
"""

import importlib.util
from collections.abc import Callable

from experiments.benchmarks import settings

PACKAGE = 'torchdistill'
_PATH, _OUTPUT = 'layer', 'output'
_SAME = (_PATH, _OUTPUT, _PATH, _OUTPUT)


def losses() -> dict[str, Callable]:
  """{method: (parts, student, teacher, labels) -> scalar}, or {} without it.

  Those whose formula is ours, but for `sp`: its rows are divided by their L1
  norms, where the paper's are L2.
  """
  if not importlib.util.find_spec(PACKAGE):
    return {}
  from torchdistill.losses import mid_level

  # With alpha 0 it gives KL alone, without T^2.
  kd = mid_level.KDLoss(*_SAME, temperature=4.0, alpha=0)
  lskd = mid_level.LogitStdKDLoss(*_SAME, temperature=2.0, alpha=0)
  found = {
    'kd': (lambda s, t: 16 * kd(s, t), 'logits'),
    'lskd': (lambda s, t: 4 * lskd(s, t), 'logits'),
    'dist': (mid_level.DISTLoss(*_SAME), 'logits'),
    'pkt': (mid_level.PKTLoss(*_SAME), 'pooled'),
    'rkd': (mid_level.RKDLoss(_PATH, _PATH, 25.0, 50.0, 'mean'), 'pooled'),
    'sp': (mid_level.SPKDLoss(_PATH, _PATH, 'batchmean'), 'stage3'),
  }
  made = {name: _on(loss, layer) for name, (loss, layer) in found.items()}
  return made | {'at': _at(mid_level)}


def _on(loss, layer):
  """A loss that reads one layer of either side."""

  def call(parts, student, teacher, labels):
    del parts, labels
    sides = ({_PATH: {_OUTPUT: x[layer]}} for x in (student, teacher))
    return loss(*sides)

  return call


def _at(mid_level):
  def side(name):
    return {'path': name, 'io': _OUTPUT}

  layers = settings.entry('at').options['layers']
  loss = mid_level.ATLoss(
    {
      ours: {'student': side(ours), 'teacher': side(theirs)}
      for ours, theirs in layers
    }
  )

  def call(parts, student, teacher, labels):
    del parts, labels
    names = [name for name, _ in layers]
    return loss(
      *({n: {_OUTPUT: x[n]} for n in names} for x in (student, teacher))
    )

  return call
