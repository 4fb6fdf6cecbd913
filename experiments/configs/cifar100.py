"""CIFAR-100 as in the literature: thirteen pairs, every method's weights.

  python -m experiments.launch --workdir runs/kd \
    --config experiments/configs/cifar100.py:KD,resnet32x4,resnet8x4

The argument is METHOD,TEACHER,STUDENT (`weights.CIFAR100`, `pairs.CIFAR100`),
then `load=DIR` for a teacher that is there (else it is trained by the same
recipe; `--config.networks.teacher.load=DIR` does the same) and `smoke` for a
few steps. `published.expected` has the number of each.

The recipe: all 50,000 images, crop and flip, batches of 64, 240 epochs of SGD
with momentum 0.9, rate 0.05 (0.01 for MobileNet and ShuffleNets) times 0.1 at
150, 180 and 210, decay 5e-4; first weights as the published networks draw them
(`kd_jax.models.inits`). ReviewKD and MLKD train as their authors do. Every
weight stands beside its source's in `python -m experiments.recipes --check`.
What differs from the sources in all recipes, or in more than a number:

- The last batch of an epoch, 16 images, is left out; so an epoch has 781
  steps, and CTKD's curriculum 7810 where the authors' has 7820.
- Warm-ups rise by steps and not by epochs: PyTorch's first of 20 epochs has
  1/20 at once, ours rises to it.
- The running variance of a batch norm is the biased one; PyTorch multiplies by
  n/(n-1), which is 2 % for 50 values and 0.02 % for maps of 8x8 in batches
  of 64.
- Adapters, embeddings and translators are drawn by Linen's rule (LeCun's
  normal), whose standard deviation is sqrt(3) times PyTorch's; ReviewKD's
  alone are the source's.
- AB and FSP: their 30 epochs come first and make it 270, for the student
  alone too. FT's paraphraser learns in the first 30 of 240 epochs, at the
  student's rate, where RepDistiller trains it before, at 0.01 for ResNets and
  WRNs; the labels train the student in them.
- CRD's memories start on the sphere and negatives may repeat (see `crd`).
- KDSVD: signs of singular vectors that RepDistiller leaves to LAPACK are fixed
  (see `losses.svd`); its own value changes with them by up to 80 %.
- ICKD: an adapter only where the channels differ, a 1x1 convolution with bias,
  where the authors have one always, without bias and with a batch norm.
- OFD: the student's map is resized to the teacher's, where mdistiller pools
  the teacher's, and the margins are measured (see `ofd`).
- MLKD: its masks, a factor of about 1/2 on the weak view, are in the
  weights; the strong view is `two_view`'s, and all its temperatures read the
  strong logits. The student alone trains as long.
- DKD+LS: alpha and beta are those that the authors' program of May 2024
  (f6e5aa5) arrives at from the names of their logs; that of March multiplied
  alpha twice and left T at 4.
- OFA: the loss on the last logits; `ofa+exits` has an exit after each stage.
- SSKD: its projection learns in the first 60 of 240 epochs, where the authors
  train it before; labels and soft loss train the student in them.
- WKD-L: how alike classes are is read off the teacher's classifier (its option
  'fc'); the authors compare features of all images, and store a file of it.
- AFD: a map for each stage, where the authors have one for each block.
- WTTM, NKD, WSLD, MGD: of another pair, or beside another loss, in their
  sources; their weights, on this protocol.
"""

from experiments.configs import pairs, weights
from kd_jax import config, sweep

EXAMPLES, DECAYS, INIT = 50_000, (150, 180, 210), 'pytorch'
USUAL = dict(
  epochs=240,
  batch_size=64,
  learning_rate=0.05,
  weight_decay=5e-4,
  augment=('pad_crop', 'flip'),
)
SMOKE = dict(steps=4, batch_size=8)


def get_config(arg: str = 'KD,resnet32x4,resnet8x4'):
  """`arg` is METHOD,TEACHER,STUDENT[,load=DIR][,smoke]."""
  (name, teacher, student), folder, smoke = read(arg)
  pairs.check(teacher, student, pairs.CIFAR100)
  loss = weights.loss_of(name, teacher, student)
  c = config.default()
  c.data = dict(name='cifar100', validation=0, seed=0)
  c.networks.teacher = dict(name=teacher, init=INIT, load=folder)
  c.networks.student = dict(name=student, init=INIT)
  training = loss.training
  if student in pairs.LIGHT:
    training = training._replace(learning_rate=training.light_rate)
  train(c.teacher, weights.Training(), USUAL, DECAYS)
  train(c.train, training, USUAL, DECAYS, loss.first)
  per_epoch = 1 if smoke else EXAMPLES // c.train.batch_size
  add_terms(c, loss, teacher, c.train.epochs, per_epoch)
  if smoke:
    for part in (c.train, c.teacher):
      part.update(SMOKE)
  return c


def read(arg: str) -> tuple[list[str], str, bool]:
  """METHOD in lower case, TEACHER, STUDENT; the folder; whether `smoke`.

  Raises:
    ValueError: one line, where it is not that.
  """
  names, folder, smoke = arg.split(','), '', False
  for extra in names[3:]:
    key, _, value = extra.partition('=')
    if key == 'load' and value:
      folder = value
    elif extra == 'smoke':
      smoke = True
    else:
      raise ValueError(f"'{extra}' is unknown; known: load=DIR, smoke")
  if len(names) < 3:
    raise ValueError(f"'{arg}' is not METHOD,TEACHER,STUDENT")
  return [names[0].lower(), *names[1:3]], folder, smoke


def train(part, training, usual, decays, first=0) -> None:
  """Writes how a network is trained into a part of a config.

  Args:
    part: `train` or `teacher`.
    training: what differs.
    usual: epochs, batch_size, learning_rate, augment, weight_decay.
    decays: the epochs at which the rate is divided by 10.
    first: epochs more, before those.
  """
  chosen = {k: v for k, v in training._asdict().items() if v is not None}
  chosen = {**usual, **chosen}
  part.epochs = epochs = chosen['epochs'] + first
  part.batch_size, part.augment = chosen['batch_size'], chosen['augment']
  optimizer = part.optimizer
  optimizer.name, optimizer.options.momentum = 'sgd', 0.9
  if chosen['delta']:
    optimizer.name, optimizer.options.delta = 'dot', chosen['delta']
  if chosen['nesterov']:
    optimizer.options.nesterov = True
  optimizer.learning_rate = chosen['learning_rate']
  optimizer.weight_decay = chosen['weight_decay']
  optimizer.options.decay = chosen['decay']  # 'all': biases and norms too
  optimizer.clip_norm = chosen['clip_norm']
  optimizer.schedule = dict(
    name='step', boundaries=tuple(e / epochs for e in decays), factor=0.1
  )


def add_terms(c, loss: weights.Loss, teacher: str, epochs, per_epoch) -> None:
  """Writes the terms of a method, and its scheme, into the config.

  `alpha`, `beta` and `temperature` are those that the terms refer to.
  """
  options = dict(loss.options)
  for key in ('decay_steps', 'paraphraser_steps', 'projection_steps'):
    # Written in epochs.
    if key in options:
      options[key] *= per_epoch
  if 'temperature' in options:
    c.temperature = options['temperature']
    options['temperature'] = c.get_ref('temperature')
  weight, hard = loss.weight, loss.hard
  if loss.layers:
    options['layers'] = pairs.layers_of(teacher)[loss.layers]
    c.beta, weight = weight, c.get_ref('beta')
  elif weight + hard == 1:
    c.alpha = weight
    weight, hard = c.get_ref('alpha'), 1 - c.get_ref('alpha')
  if loss.warmup:
    rise = dict(name='constant', warmup=loss.warmup / epochs)
    options['schedule'] = dict(weight=rise)
  if loss.fall:
    falls = 'gamma' if loss.method == 'wkd_l' else 'weight'
    fall = dict(name='cosine', start=loss.fall / epochs)
    options['schedule'] = {falls: fall}
  if loss.hard:
    c.terms.hard = dict(method='cross_entropy', weight=hard)
  c.terms.soft = dict(method=loss.method, weight=weight, **options)
  layers = pairs.layers_of(teacher)
  for name, term in loss.more.items():
    read = {'layers': layers[term['layers']]} if 'layers' in term else {}
    c.terms[name] = {**term, **read}
  if loss.first:
    share = loss.first / epochs
    c.scheme = dict(name='two_phase', first=['soft'], share=share)


def sweep_methods():
  """Every method on resnet32x4 and resnet8x4; they share teacher and alone."""
  return sweep.grid(
    'arg', *(f'{m},resnet32x4,resnet8x4' for m in weights.CIFAR100)
  )


def sweep_pairs():
  """Plain KD on all thirteen pairs."""
  return sweep.grid('arg', *(f'kd,{t},{s}' for t, s in pairs.CIFAR100))
