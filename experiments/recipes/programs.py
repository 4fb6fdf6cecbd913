"""What the sources' programs do unless a method says else.

{file: {flag: value}} in the source's own names, as in `origins`.
"""

from experiments.configs import pairs

Said = dict[str, dict]

_DECAY = (150, 180, 210)
_IMAGENET_DECAY = (30, 60, 90)


def repdistiller(student: str, ctkd: bool = False) -> Said:
  """The train_student.py of RepDistiller and its descendants.

  Args:
    student: MobileNetV2 and the ShuffleNets have a rate of their own.
    ctkd: CTKD's, whose script has batch, rate and temperature.
  """
  said = {
    '--epochs': 240,
    '--lr_decay_epochs': _DECAY,
    '--lr_decay_rate': 0.1,
    '--weight_decay': 5e-4,
    '--momentum': 0.9,
  }
  if ctkd:
    said |= {'--t_start': 1, '--t_end': 20}
  else:
    said |= {'--batch_size': 64, '--learning_rate': 0.05, '--kd_T': 4}
  light = {'train_student.py#opt.learning_rate = ': {'opt.learning_rate': 0.01}}
  return {**(light if student in pairs.LIGHT else {}), 'train_student.py': said}


def rate_of(student: str, rate: float = 0.05) -> float:
  """The rate on CIFAR-100: one of their own for MobileNetV2, ShuffleNets."""
  return 0.01 if student in pairs.LIGHT else rate


def cifar_solver(student: str, rate: float = 0.05) -> dict:
  """SOLVER of a file for CIFAR-100 of mdistiller and its descendants."""
  rate = rate_of(student, rate)
  return _solver(240, 64, rate, _DECAY, 5e-4)


def imagenet_solver(batch: int = 512, rate: float = 0.2) -> dict:
  """SOLVER of a file for ImageNet of mdistiller."""
  return _solver(100, batch, rate, _IMAGENET_DECAY, 1e-4)


def _solver(epochs, batch, rate, stages, decay) -> dict:
  return {
    'EPOCHS': epochs,
    'BATCH_SIZE': batch,
    'LR': rate,
    'LR_DECAY_STAGES': stages,
    'LR_DECAY_RATE': 0.1,
    'WEIGHT_DECAY': decay,
    'MOMENTUM': 0.9,
  }


def reviewkd(student: str) -> Said:
  """ReviewKD's CIFAR-100/train.py."""
  file = 'CIFAR-100/train.py'
  light = {f'{file}#    args.lr = ': {'args.lr': 0.02}}
  said = {
    '--epochs': 240,
    '--batch_size': 128,
    '--lr': 0.1,
    '--lr_adjust_step': _DECAY,
    '--gamma': 0.1,
    '--wd': 5e-4,
    '--kd-loss-weight': 1.0,
    '--kd-warm-up': 20.0,
    '--ce-loss-weight': 1.0,
  }
  return {
    **(light if student in pairs.LIGHT else {}),
    file: said,
    f'{file}#nesterov': {'momentum': 0.9, 'nesterov': True},
  }


_DIST_LOSS = {'lib/models/losses/kd_loss.py#DIST(': {'beta': 1, 'gamma': 1}}
_DIST = {'kd_loss_weight': 2.0, 'ori_loss_weight': 1.0, 'momentum': 0.9}
_DIST |= {'decay_epochs': 30, 'decay_rate': 0.1, 'sched': 'step'}


def dist_cifar(student: str) -> Said:
  """DIST's dist_cifar.yaml; its README has the rate of the light students."""
  file = 'configs/strategies/distill/dist_cifar.yaml'
  said = {
    **_DIST,
    'kd': 'dist_t4',
    'epochs': 240,
    'batch_size': 64,
    'warmup_epochs': 120,
    'weight_decay': 5e-4,
    'sgd_no_nesterov': True,
    'opt_no_filter': True,
  }
  if student in pairs.LIGHT:
    readme = {'hunto/DIST_KD:README.md#--lr 0.01': {'--lr': 0.01}}
    return {file: said, **_DIST_LOSS, **readme}
  return {file: {**said, 'lr': 0.05}, **_DIST_LOSS}


def dist_imagenet() -> Said:
  """DIST's resnet_dist.yaml, which its README runs in eight processes."""
  file = 'configs/strategies/distill/resnet_dist.yaml'
  said = {
    **_DIST,
    'kd': 'dist',
    'epochs': 100,
    'batch_size': 32,
    'lr': 0.1,
    'warmup_epochs': 0,
    'weight_decay': 1e-4,
  }
  return {
    file: said,
    **_DIST_LOSS,
    'lib/utils/args.py#--sgd-no-nesterov': {'default': False},
    'lib/utils/args.py#--opt-no-filter': {'default': False},
  }


def mm_cifar() -> Said:
  """cls_KD's schedule of ResNet-18 on CIFAR-100, of eight processes."""
  return {
    'configs/resnet/resnet18_8xb16_cifar100.py': {
      'lr': 0.1,
      'momentum': 0.9,
      'weight_decay': 5e-4,
      'step': (60, 120, 160),
      'lr_config.gamma': 0.2,
    },
    'configs/_base_/schedules/cifar10_bs128.py': {'max_epochs': 200},
    'configs/_base_/datasets/cifar100_bs16.py': {'batch_size': 16},
  }


def mm_imagenet() -> Said:
  """cls_KD's schedule on ImageNet, of eight processes."""
  return {
    'configs/_base_/schedules/imagenet_bs256.py': {
      'max_epochs': 100,
      'lr': 0.1,
      'momentum': 0.9,
      'weight_decay': 1e-4,
      'milestones': _IMAGENET_DECAY,
      'param_scheduler.gamma': 0.1,
    },
    'configs/_base_/datasets/imagenet_bs32.py': {'batch_size': 32},
  }


def wsld() -> Said:
  """WSLD on ImageNet."""
  return {
    'knowledge_distiller.py#self.T = ': {'self.T': 2},
    'knowledge_distiller.py#self.alpha = ': {'self.alpha': 2.5},
    'imagenet_train_cfg.py': {
      'epochs': 100,
      'batch_size': 256,
      'init_lr': 0.1,
      'momentum': 0.9,
      'weight_decay': 1e-4,
    },
    'train_with_distillation.py#nesterov': {'nesterov': True},
    'train_with_distillation.py#epoch // 30': {'epoch //': 30},
  }


def srrl() -> Said:
  """SRRL's authors' program on ImageNet."""
  file = 'train_imagenet_distillation.py'
  return {
    file: {
      '--weight': 1,
      '--lr': 0.2,
      '--epochs': 100,
      '--batch_size': 512,
      '--weight_decay': 1e-4,
      '--momentum': 0.9,
    },
    f'{file}#lr_step_policy(': {'args.lr': _IMAGENET_DECAY},
  }


def ofa() -> Said:
  """OFA on CIFAR-100, of eight processes."""
  return {
    'README.md#cifar/cnn.yaml': {'--ofa-eps': 1.0},
    'train.py': {
      '--ofa-temperature': 1,
      '--gt-loss-weight': 1.0,
      '--kd-loss-weight': 1.0,
      '--ofa-loss-weight': 1,
      '--ofa-stage': (1, 2, 3, 4),
    },
    'configs/cifar/cnn.yaml': {
      'epochs': 300,
      'batch_size': 128,
      'lr': 0.05,
      'weight_decay': 2e-3,
      'sched': 'cosine',
      'smoothing': 0.1,
    },
  }
