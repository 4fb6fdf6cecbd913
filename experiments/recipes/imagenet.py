"""What the sources' files say of each method on ImageNet, in their names."""

from collections.abc import Callable

from experiments.configs import pairs
from experiments.recipes import programs, sources


def _imagenet(name, own, batch=512, rate=0.2, defaults=None) -> Callable:
  """mdistiller's file of each pair.

  Args:
    name: configs/imagenet/PAIR/NAME.yaml.
    own: {pair: {flag: value}}; without a pair the other's file stands for it.
    batch, rate: of SOLVER.
    defaults: {flag: value} of cfg.py.
  """
  folders = dict(zip(pairs.IMAGENET, ('r34_r18', 'r50_mv1')))

  def make(teacher, student):
    pair, note = (teacher, student), ''
    if pair not in own:
      (pair,) = own
      note = f'no file of this pair: that of {",".join(pair)}'
    file = f'configs/imagenet/{folders[pair]}/{name}.yaml'
    solver = programs.imagenet_solver(batch, rate)
    says = {file: {**own[pair], **solver}, sources.CFG: defaults or {}}
    return sources.Origin(sources.MDISTILLER, says, note)

  return make


def _both(first, second=None) -> dict:
  return dict(zip(pairs.IMAGENET, (first, second or first)))


def _mm_imagenet(**flags) -> Callable:
  """cls_KD's file of each pair; the second clips gradients."""

  def make(teacher, student):
    first = (teacher, student) == pairs.IMAGENET[0]
    name = 'res34_distill_res18_img' if first else 'res50_distill_mv1_img'
    clip = {} if first else {'max_norm': 5.0}
    says = sources.mm('imagenet', programs.mm_imagenet(), name, **flags, **clip)
    return sources.Origin(sources.MM, says)

  return make


def _mgd(teacher, student):
  """MGD's own files; the schedules are those of cls_KD's base."""
  made = _mm_imagenet(alpha_mgd=7e-5, lambda_mgd=0.15)(teacher, student)
  file, own = next(iter(made.says.items()))
  name = 'cls/configs/distillers/mgd/' + file.rpartition('/')[2]
  note = "schedule: MMClassification's, as in cls_KD"
  return sources.Origin('yzd-v/MGD', {name: own}, note)


_KD = {'TEMPERATURE': 1, 'CE_WEIGHT': 0.5, 'KD_WEIGHT': 0.5}
_CRD = {'CRD.LOSS.CE_WEIGHT': 1.0, 'CRD.LOSS.FEAT_WEIGHT': 0.8}
_AT = {'AT.LOSS.CE_WEIGHT': 1.0, 'AT.LOSS.FEAT_WEIGHT': 1000.0}


def _weight(value):
  return {'CE_WEIGHT': 1.0, 'REVIEWKD_WEIGHT': value, 'WARMUP_EPOCHS': 1}


def _beta(value):
  return {'CE_WEIGHT': 1.0, 'BETA': value, 'T': 1.0, 'WARMUP': 1}


IMAGENET = {
  'kd': _imagenet('kd', _both(_KD)),
  'at': _imagenet('at', _both({}), defaults=_AT),
  'ofd': _imagenet(
    'ofd',
    {pairs.IMAGENET[1]: {'FEAT_WEIGHT': 0.0001}},
    128,
    0.05,
    {'OFD.LOSS.CE_WEIGHT': 1.0},
  ),
  'crd': _imagenet('crd', _both({}), 256, 0.1, _CRD),
  'review_kd': _imagenet(
    'reviewkd', _both(_weight(1.0), _weight(8.0)), 256, 0.1
  ),
  'dkd': _imagenet(
    'dkd', _both(_beta(0.5), _beta(2.0)), defaults={'DKD.ALPHA': 1.0}
  ),
  'dist': sources.same(
    'hunto/image_classification_sota', programs.dist_imagenet()
  ),
  'nkd': _mm_imagenet(temp=1.0, gamma=1.5),
  'srrl': sources.same('jingyang2017/KD_SRRL', programs.srrl()),
  'wsld': sources.same(
    'bellymonster/Weighted-Soft-Label-Distillation', programs.wsld()
  ),
  'mgd': _mgd,
}
