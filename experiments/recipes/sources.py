"""The repositories that were read, and what one says of a recipe."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# The commit of each repository on GitHub that was read.
COMMITS = {
  'HobbitLong/RepDistiller': 'b84f547c5db6a35318d4671d7d5c4de74c822403',
  'megvii-research/mdistiller': 'a08d46f10d6102bd6e3f258ca5ac880b020ea259',
  'dvlab-research/ReviewKD': 'cede6ea6387ae9b6127de0e561507177bf19c11e',
  'GzyAftermath/CAT-KD': '4467073ca31b9929e7c45f5a6761e5e1b7c9442f',
  'DefangChen/SimKD': '2b389c31ed7779aea31e7aaf0bb0f2d8b6ac2f01',
  'jingyang2017/KD_SRRL': 'd2e802f5f57efd4f5bc6326a697b48236008a5b6',
  'zhengli97/CTKD': '7d5252241259ae70d38a832371fed9697d15fc14',
  'hunto/DIST_KD': '2418f18b1fedd7c2646a7b1b9a27d5c674c2170b',
  'hunto/image_classification_sota': '6f7a70a1dd57fd88413d83909d3d53243068f701',
  'Jin-Ying/Multi-Level-Logit-Distillation': (
    '5ee473fcf193dfb00a0598b64d0acfe6ad58a482'
  ),
  'sunshangquan/logit-standardization-KD': (
    'f6e5aa5172bad618e801163c3385322eea673754'
  ),
  'zkxufo/TTM': 'fe457b33a71ba27536ec04fe3d32c5b04963522f',
  'yzd-v/cls_KD': '1e5d48f36957ee460d39d7ebc592c6cc7f8f3d66',
  'yzd-v/MGD': '2c9da0b28625eb948db57afc02c824452c3910fe',
  'ADLab-AutoDrive/ICKD': '403b8d3d7c3aaa429e4708870d2be1d4daf92f07',
  'bellymonster/Weighted-Soft-Label-Distillation': (
    '67820dd7c3c733d5331b78b1e66ef8a990391d5e'
  ),
  'Hao840/OFAKD': 'f7bb896cac9879040800bde08a8cc2057a904c52',
  'zju-SWJ/RLD': 'd54578fd77cd669d6209be4d05ae773bca4109b5',
  'gizi1/NormKD': '279371b69beeadbfe29104875b728a687a7cea49',
  'shicaiwei123/SDD-CVPR2024': 'e412036c6b7b67d8ed25418d2dedad223ab49a71',
  'JiamingLv/WKD': '214cf8868c2b8e45781f238b8f0e47c2e4e38190',
  'clovaai/attention-feature-distillation': (
    'dd990d0bb3788b60a0b0f5d44956f54e06e314ac'
  ),
  'roymiles/ITRD': '5d08c6b33e601228252e11cc1756d9f1af04a547',
  'xuguodong03/SSKD': '661b972c124a83c32dcd0e203390ba637075fe92',
}

MDISTILLER = 'megvii-research/mdistiller'
CFG = 'mdistiller/engine/cfg.py'  # of mdistiller and its descendants
MM = 'yzd-v/cls_KD'


class Origin(NamedTuple):
  """Where the settings of a method and a pair stand.

  Attributes:
    repository: a key of COMMITS.
    says: {file: {flag: value}}. 'FILE#TEXT' are those lines of the file that
      hold TEXT, and 'OWNER/NAME:FILE' is in another repository. Of two files
      with one flag the first decides; the first of all has what is the
      method's own.
    note: what the files leave open for this pair; '' where nothing.
  """

  repository: str
  says: Mapping[str, Mapping[str, Any]]
  note: str = ''

  @property
  def flags(self) -> dict[str, Any]:
    """The flags of all files."""
    flags = {}
    for said in self.says.values():
      flags = {**said, **flags}
    return flags

  @property
  def place(self) -> str:
    """'REPOSITORY FILE@COMMIT' of what is the method's own."""
    repository, file, _ = self.parts(next(iter(self.says)))
    return f'{repository} {file}@{COMMITS[repository][:7]}'

  def parts(self, place: str) -> tuple[str, str, str]:
    """Repository, file and text of a line, of a key of `says`."""
    file, _, text = place.partition('#')
    repository, colon, inside = file.partition(':')
    if colon:
      return repository, inside, text
    return self.repository, file, text


def mm(kind, program, name, **flags):
  """A loss in a file of cls_KD, and the schedule that the file bases on."""
  file = f'configs/distillers/{kind}/{name}.py'
  return {file: flags, **program}


def same(repository, says, note='') -> Callable:
  """Files that are the same for every pair."""
  return lambda teacher, student: Origin(repository, says, note)
