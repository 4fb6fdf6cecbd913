"""Flags by name, and how a student is trained by those of two programs.

RepDistiller's and mdistiller's, of which most other repositories descend.
"""

from collections.abc import Mapping
from typing import Any

Settings = dict[str, Any]

# What helper/loops.py of RepDistiller and SimKD gives a loss, in our words.
_READS = {
  'feat_t[opt.hint_layer]': 'hint',
  'feat_s[1:-1]': 'stages',
  '[feat_s[-2]]': 'last',
  'module_list[1](feat_s[-2])': 'last',
  'module_list[1](feat_s[-2]': 'final',
  'module_list[1](feat_s[1:-1]': 'stages',
  'feat_s[-1]': 'pooled',
  'module_list[1](feat_s[-1])': 'pooled',
  'module_list[1](feat_s[-1]': 'pooled',
}
# PyTorch's SGD of all parameters of the networks of RepDistiller.
_PLAIN = {'nesterov': False, 'decay': 'all', 'clip_norm': 0, 'init': 'pytorch'}


def get(flags: Mapping, name: str) -> Any:
  """A flag by its name, else by the last part of a dotted one.

  A file of mdistiller says BETA where its cfg.py says DKD.BETA, and decides.
  """
  if name in flags:
    return flags[name]
  return next(v for k, v in flags.items() if k.rpartition('.')[2] == name)


def of_repdistiller(flags) -> Settings:
  """The options of train_student.py, and what the loss reads."""
  light = flags.get('opt.learning_rate')
  reads = [_READS[x] for x in flags.values() if x in _READS]
  return {
    'epochs': flags['--epochs'],
    'batch_size': flags['--batch_size'],
    'learning_rate': light or flags['--learning_rate'],
    'drops': flags['--lr_decay_epochs'],
    'factor': flags['--lr_decay_rate'],
    'weight_decay': flags['--weight_decay'],
    'momentum': flags['--momentum'],
    **_PLAIN,
    **({'layers': reads[0]} if reads else {}),
  }


def of_mdistiller(flags) -> Settings:
  """SOLVER of mdistiller and its descendants."""
  return {
    'epochs': flags['EPOCHS'],
    'batch_size': flags['BATCH_SIZE'],
    'learning_rate': flags['LR'],
    'drops': flags['LR_DECAY_STAGES'],
    'factor': flags['LR_DECAY_RATE'],
    'weight_decay': flags['WEIGHT_DECAY'],
    'momentum': flags['MOMENTUM'],
    **_PLAIN,
  }
