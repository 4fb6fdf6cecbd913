"""Published top-1 accuracies in %, to hold a run of the recipes against.

CIFAR-100, from the READMEs of: RepDistiller (the last epoch; a mean over
runs) up to `crd`; CTKD, mdistiller, DIST_KD and logit-standardization-KD (the
best epoch on the test set) from `ctkd` to `mlkd+ls`; ITRD for `review_kd`,
which it quotes from the paper; TTM, whose program is
RepDistiller's, and ICKD, without KL; SimKD for `simkd` and `srrl`, whose
student alone is 73.09 and whose KD is 74.42; likewise `semckd`. `itrd`,
`sskd` (of teachers that are up to 1.1 better) and `kd+dot` are of their own
READMEs. The protocols differ, so rows of
different sources are no ranking. `dist` was obtained with beta = gamma = 2 and
T = 4; `mlkd` is quoted, without logs; `ttm` and `wttm` were tuned by pair, and
their repository gives two commands.

ImageNet: mdistiller (`kd`, `dkd`), torchdistill's own runs (`at`, `ft`, `crd`,
`review_kd`, `lskd`), and the authors' READMEs (`dist`, at beta = gamma = 2 and
T = 1, `nkd`, `mgd`, `wsld`, `ctkd`); `nkd` to `wsld` start from other teachers
and students, `srrl` is quoted by TTM's README.
"""

from experiments.configs import pairs

# Columns as in `pairs.CIFAR100`; '-' where nothing is published.
_CIFAR100 = """
teacher 75.61 75.61 72.34 74.31 74.31 79.42 74.64 74.64 79.34 79.34 79.42 79.42 75.61
student 73.26 71.98 69.06 69.06 71.14 72.50 70.36 64.60 64.60 70.36 70.50 71.82 70.50
kd      74.92 73.54 70.66 70.67 73.08 73.33 72.98 67.37 67.35 73.81 74.07 74.45 74.83
fitnet  73.58 72.24 69.21 68.99 71.06 73.50 71.02 64.14 63.16 70.69 73.59 73.54 73.73
at      74.08 72.77 70.55 70.22 72.31 73.44 71.43 59.40 58.58 71.84 71.73 72.73 73.32
sp      73.83 72.43 69.67 70.04 72.69 72.94 72.68 66.30 68.08 73.34 73.48 74.56 74.52
cc      73.56 72.21 69.63 69.48 71.48 72.97 70.71 64.86 65.43 70.25 71.14 71.29 71.38
vid     74.11 73.30 70.38 70.16 72.61 73.09 71.23 65.56 67.57 70.30 73.38 73.40 73.61
rkd     73.35 72.22 69.61 69.25 71.82 71.90 71.48 64.52 64.43 71.50 72.28 73.21 72.21
pkt     74.54 73.45 70.34 70.25 72.61 73.64 72.88 67.13 66.52 73.01 74.10 74.69 73.89
ab      72.50 72.38 69.47 69.53 70.98 73.17 70.94 66.06 67.20 70.65 73.55 74.31 73.34
ft      73.25 71.59 69.84 70.22 72.37 72.86 70.58 61.78 60.99 70.29 71.75 72.50 72.03
fsp     72.91 -     69.95 70.11 71.89 72.62 70.23 -     -     -     -     -     -
nst     73.68 72.24 69.60 69.53 71.96 73.30 71.53 58.16 64.96 71.28 74.12 74.68 74.89
crd     75.48 74.14 71.16 71.46 73.48 75.51 73.94 69.73 69.11 74.30 75.11 75.65 76.05
review_kd 76.12 75.09 71.89 -   73.89 75.63 74.85 70.37 69.89 -     77.45 77.78 77.14
ctkd    75.45 73.93 71.19 70.99 73.52 73.39 73.52 68.50 68.67 -     -     75.37 -
dkd     76.24 74.81 71.97 71.06 74.11 76.32 74.68 69.71 70.35 -     76.45 77.07 76.70
dist    -     74.43 71.75 -     -     76.31 -     -     68.66 -     76.34 77.35 -
mlkd    76.63 75.35 72.19 71.89 74.11 77.08 75.18 70.57 71.04 -     -     78.44 -
kd+ls   76.11 74.37 71.43 71.48 74.17 76.62 74.36 68.61 69.02 -     -     75.56 -
ctkd+ls 76.08 74.58 71.34 71.39 74.01 76.67 74.47 68.98 69.36 -     -     76.18 -
dkd+ls  76.39 74.89 72.32 71.85 74.29 77.01 74.81 69.98 70.45 -     -     77.37 -
mlkd+ls 76.95 75.56 72.33 72.27 74.32 78.28 75.22 70.94 71.19 -     -     78.76 -
ttm     76.23 74.32 71.83 71.46 73.97 76.17 74.33 68.98 69.24 74.87 74.18 76.57 75.39
wttm    76.37 74.58 71.92 71.67 74.13 76.06 74.44 69.16 69.59 74.82 74.37 76.55 75.42
wttm+crd 76.61 74.94 72.20 72.13 74.52 76.65 74.71 70.30 70.84 75.30 75.82 77.04 76.86
itrd    76.12 75.18 71.47 71.99 74.26 76.69 74.93 70.39 71.34 75.49 76.69 77.40 77.09
kd+dot  -     -     -     -     -     75.12 73.77 -     -     -     -     -     -
semckd  -     -     -     -     -     76.23 -     -     -     -     -     -     -
sskd    76.04 76.13 71.49 -     -     76.20 75.33 71.53 72.57 75.76 78.44 78.61 77.40
ickd    75.64 74.33 71.76 71.68 73.89 75.25 73.42 -     -     -     -     -     -
simkd   -     -     -     -     -     78.08 -     -     -     -     -     -     -
srrl    -     -     -     -     -     75.39 -     -     -     -     -     -     -
"""  # noqa: E501

# Columns as in `pairs.IMAGENET`.
_IMAGENET = """
teacher   73.31 76.16
student   69.76 70.13
kd        71.03 70.50
at        70.90 -
ft        71.56 -
crd       70.93 -
review_kd 71.64 -
kd+ls     71.23 -
ctkd      71.32 -
dkd       71.70 72.05
dist      72.07 73.24
srrl      71.73 72.49
nkd       71.96 72.58
mgd       71.69 72.49
wsld      72.04 71.52
"""


def expected(method: str, teacher: str, student: str) -> float | None:
  """The published top-1 accuracy in %; None where there is none.

  Args:
    method: a name of `weights`, or 'teacher' or 'student' (alone).
    teacher, student: a pair of `pairs.CIFAR100` or `pairs.IMAGENET`.

  Raises:
    ValueError: for a pair that is in neither.
  """
  pair, tables = (
    (teacher, student),
    ((pairs.CIFAR100, _CIFAR100), (pairs.IMAGENET, _IMAGENET)),
  )
  pairs.check(*pair, (*pairs.CIFAR100, *pairs.IMAGENET))
  columns, text = next(found for found in tables if pair in found[0])
  for line in text.split('\n'):
    name, *values = line.split() or ['']
    if name == method.lower():
      value = values[columns.index(pair)]
      return None if value == '-' else float(value)
  return None
