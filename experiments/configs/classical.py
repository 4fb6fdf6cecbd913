"""Classical findings of distillation, asked again where a teacher helps.

Pair and training are those of `first.py`, the front page's: a cnn of 53,002
parameters teaches an mlp of 2,410 on 800 digits, half of whose labels are
wrong. A replicate, '@1' to '@8', is another split of the digits with other
wrong labels, another teacher and another student; settings are compared
replicate by replicate. Rate, weight and temperature are those that `first.py`
chose; the decay is chosen anew of each setting, and of the student alone, among
the same three, on validation. The argument is WORD+WORD@REPLICATE:

  wrong_0 .. wrong_0.5       so many of the training labels are wrong
  teacher_16 .. teacher_128  capacity: teachers of growing size
  by_32, by_64               an assistant of that size between the two
  ensemble                   the mean probabilities of four teachers
  labels_S                   the teacher's network alone, its labels smoothed
  from_S                     the student, of what labels_S left in TEACHERS
  shift, mix                 shifted images, and mixed ones, that both see
  fixed                      shifted images; the teacher sees the original ones

Sources: Hinton et al. 2015, https://arxiv.org/abs/1503.02531 (temperature,
ensembles); Cho and Hariharan 2019, https://arxiv.org/abs/1910.01348, and
Mirzadeh et al. 2019, https://arxiv.org/abs/1902.03393 (capacity, assistants);
Mueller et al. 2019, https://arxiv.org/abs/1906.02629 (smoothed teachers); Beyer
et al. 2021, https://arxiv.org/abs/2106.05237 (patience); Stanton et al. 2021,
https://arxiv.org/abs/2106.05945 (fidelity).

  python -m experiments.classical --workdir runs/classical

trains all sweeps below, in one folder where they share their teachers, and
`--only noise` one of them; so does the launcher, with a page for each run:

  python -m experiments.launch --config experiments/configs/classical.py \
    --workdir runs/classical --sweep noise
"""

from experiments.configs import first
from kd_jax import config, sweep

REPLICATES = range(1, 9)
DECAYS = (0.1, 0.3, 1.0)
SIZES = (16, 32, 64, 128)
ASSISTANTS = (32, 64)
MEMBERS = 4  # of the ensemble
SHARES = (0, 0.2, 0.35, 0.5)  # of wrong labels
CLEAN, WRONG = 'wrong_0', 'wrong_0.5'
SMOOTHING = (0, 0.2)
SOFTNESS = (1.0, 4.0, 16.0)
EPOCHS = (10, 40, 160)
TEACHERS = 'runs/classical'  # where `--sweep smoothed` left them


def get_config(arg: str = ''):
  """`arg` is WORD+WORD@REPLICATE, see above."""
  words, _, replicate = arg.partition('@')
  number = int(replicate or REPLICATES[0])
  c = first.get_config()
  c.seeds = 1
  c.seed = c.teacher.seed = 100 + number
  c.data.seed = c.data.split_seed = number
  for text in filter(None, words.split('+')):
    word, _, value = text.partition('_')
    config.one_of(word, *WORDS)
    WORDS[word](c, value)
  return c


def wrong(c, share: str) -> None:
  """So many of the training labels are wrong."""
  c.data.wrong_labels = float(share)


def teacher(c, size: str) -> None:
  """A teacher of another size."""
  c.networks.teacher.hidden = int(size)


def by(c, size: str) -> None:
  """The teacher teaches an assistant, that teaches the student."""
  c.networks.assistant = dict(name='cnn', hidden=int(size))
  chain = ['teacher', 'assistant', 'student']
  c.scheme = dict(name='progressive', chain=chain)
  c.terms.soft.teacher = 'before'


def ensemble(c, _: str) -> None:
  """Several teachers, whose probabilities are averaged."""
  names = ['teacher', *(f'teacher_{i}' for i in range(1, MEMBERS))]
  for name in names:
    c.networks[name] = c.networks.teacher.to_dict()
  c.scheme = dict(name='ensemble', teachers=names)
  c.terms.soft.teacher = 'ensemble'


def labels(c, smoothing: str) -> None:
  """The teacher's network alone, trained as a teacher, with softer labels."""
  c.baseline = False
  c.networks.student = c.networks.teacher.to_dict()
  del c.networks.teacher, c.terms.soft
  c.terms.hard = dict(
    method='cross_entropy', weight=1.0, smoothing=float(smoothing)
  )
  training = c.teacher.to_dict()
  del training['seed']
  c.train.update(training)


def of_labels(c, smoothing: str) -> None:
  """The student of such a network."""
  share, number = c.data.wrong_labels, c.data.split_seed
  arg = f'wrong_{share:g}+labels_{smoothing}@{number}'
  folder = f'{TEACHERS}/{sweep.name_of({"arg": arg})}'
  c.networks.teacher = dict(load=f'{folder}/networks/student')


def augment(*steps):
  """A word that gives the training these augmentations."""

  def word(c, _: str) -> None:
    c.train.augment = steps

  return word


SHIFT = {'name': 'shift', 'pixels': 1}
MIX = {'name': 'mixup', 'alpha': 1.0}
WORDS = {
  'wrong': wrong,
  'teacher': teacher,
  'by': by,
  'ensemble': ensemble,
  'labels': labels,
  'from': of_labels,
  'shift': augment(SHIFT),
  'mix': augment(SHIFT, MIX),
  'fixed': augment('teacher_view', SHIFT),
}


def each(*words: str):
  """The words, in every replicate."""
  return sweep.grid(
    'arg', *(f'{word}@{number}' for number in REPLICATES for word in words)
  )


def tuned(*sweeps):
  """The product of sweeps and all decays."""
  decays = sweep.grid('train.optimizer.weight_decay', *DECAYS)
  return sweep.product(*sweeps, decays)


def sweep_noise():
  """Shares of wrong labels."""
  return tuned(each(*(f'wrong_{share}' for share in SHARES)))


def sweep_temperature():
  """Softness at one weight of the soft loss, with clean labels too."""
  softness = sweep.grid('temperature', *SOFTNESS)
  return tuned(each(CLEAN, WRONG), softness)


def sweep_gap():
  """Teachers of growing size, and assistants of the largest."""
  sizes = [f'teacher_{size}' for size in SIZES]
  return tuned(each(*sizes, *(f'by_{size}' for size in ASSISTANTS)))


def sweep_ensemble():
  """One teacher and four."""
  return tuned(each('teacher_128', 'ensemble'))


def sweep_smoothed():
  """Teachers of clean labels, as they are and smoothed."""
  return each(*(f'{CLEAN}+labels_{s}' for s in SMOOTHING))


def sweep_from_smoothed():
  """Students of those teachers, at two temperatures."""
  words = (f'{CLEAN}+from_{s}' for s in SMOOTHING)
  return tuned(each(*words), sweep.grid('temperature', 1.0, 4.0))


def sweep_patience():
  """Epochs, of the student alone as well; at the most, what both or one see."""
  epochs = sweep.product(each('mix'), sweep.grid('train.epochs', *EPOCHS))
  views = sweep.grid('train.epochs', EPOCHS[-1])
  return tuned(
    sweep.chain(epochs, sweep.product(each('shift', 'fixed'), views))
  )
