"""Describes a stage as data: a set of terms trained for a number of steps."""

import fnmatch
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from kd_jax import terms, types
from kd_jax.models import generators

# What a network is in a scheme; comparison, sweeps and reports read this.
TEACHER, BASELINE, STUDENT, ASSISTANT, GENERATION = (
  'teacher',
  'baseline',
  'student',
  'assistant',
  'generation',
)


def constant(step) -> float:
  """The schedule that changes nothing."""
  del step
  return 1.0


# 'NETWORK@strong' is the signal of a network's outputs on the other view of the
# examples, 'strong_inputs' (see `augment.two_view`).
STRONG = '@strong'


def network_of(signal: str) -> str:
  """The network, copy or view that a signal is of, on either view of inputs."""
  return signal.removesuffix(STRONG)


def signal_of(network: str, like: str) -> str:
  """The signal of a network on the view that the signal `like` is of."""
  return network + like.removeprefix(network_of(like))


class Recipe(NamedTuple):
  """How a stage is trained: all but its terms.

  Attributes:
    steps: updates.
    batch_size: examples an update.
    tx: optax transformation; its updates take `hparams` (see `optim`).
    learning_rate: peak; a number of the state, scaled by `schedule`.
    weight_decay: a number of the state.
    schedule: step -> multiplier of the learning rate.
    seed: of initializations and dropout.
    data_seed: of the order of examples and of augmentation.
    augment: (key, batch) -> batch.
    views: augmented images of an example, used in turn, one an epoch; 0: a
      new image each epoch.
    source: the part of a config that it was read from, 'train' or 'teacher'.
  """

  steps: int
  batch_size: int
  tx: Any
  learning_rate: float
  weight_decay: float = 0.0
  schedule: terms.Schedule = constant
  seed: int = 0
  data_seed: int = 0
  augment: Any = None
  views: int = 0
  source: str = 'train'


class Ema(NamedTuple):
  """A teacher that is a moving average of a student: copy of `source`.

  decay is step -> f32 [] in [0, 1): copy = decay copy + (1 - decay) source.
  """

  source: str
  decay: terms.Schedule


class Snapshot(NamedTuple):
  """A teacher that is the student `source` as it was every `every` steps."""

  source: str
  every: int


class Maker(NamedTuple):
  """What makes the images of a stage, by what a frozen teacher says of them.

  Its signal is the teacher's outputs of the images, with those of its batch
  norms (see `models.batch_norms`), and 'images'. A gradient by it reaches what
  makes them; all other signals are of the images as constants.

  Attributes:
    name: of its signal, of its variables, and of the folder that keeps them.
    generator: a network, or the images themselves.
    teacher: the frozen network.
    examples: of an epoch.
    labels: classes i32 [examples] that the images are for; None: those that the
      teacher finds likeliest.
  """

  name: str
  generator: generators.Generator
  teacher: str
  examples: int
  labels: Any = None


class Stage(NamedTuple):
  """A set of terms trained for a number of steps.

  Attributes:
    name: unique within a run; the checkpoints of a stage carry it.
    terms: the summands of the loss by name.
    students: the networks that learn.
    frozen: the networks that never change.
    recipe: how it is trained.
    views: signals that are functions of signals, in order.
    ema: {signal: Ema}; snapshot: {signal: Snapshot}: copies of students.
    trains: glob patterns over the paths of the parameters ('networks/NAME/..',
      'terms/NAME/..')
      that move; empty moves all.
    starts: student -> the finished network whose variables it starts from.
    hands_on: student -> the name under which it is kept when the stage ends.
    built_as: network -> the network of the config that it is built like, for
      those that the config does not name.
    roles: a network as it is kept -> what it is in the scheme: TEACHER,
      BASELINE (a student trained alone), ASSISTANT, GENERATION; the others
      are STUDENTs.
    maker: what makes the stage's images, and learns too; None: nothing does.
    transfer: makers of earlier stages, on whose images it trains. With either,
      the stage sees none of the data set's training examples.
  """

  name: str
  terms: Mapping[str, terms.Term]
  students: tuple[str, ...]
  recipe: Recipe
  frozen: tuple[str, ...] = ()
  views: Mapping[str, terms.View] = {}
  ema: Mapping[str, Ema] = {}
  snapshot: Mapping[str, Snapshot] = {}
  trains: tuple[str, ...] = ()
  starts: Mapping[str, str] = {}
  hands_on: Mapping[str, str] = {}
  built_as: Mapping[str, str] = {}
  roles: Mapping[str, str] = {}
  maker: Maker | None = None
  transfer: tuple[Maker, ...] = ()

  @property
  def learners(self) -> tuple[str, ...]:
    """The students, and what makes images."""
    return (*self.students, *([self.maker.name] if self.maker else []))

  @property
  def copies(self) -> dict[str, str]:
    """Copy -> the student that it is a copy of."""
    return {
      name: copy.source for name, copy in {**self.ema, **self.snapshot}.items()
    }

  @property
  def strong(self) -> dict[str, str]:
    """Signal on the strong view -> its network."""
    read = [n for t in self.terms.values() for n in (t.student, t.teacher)]
    read += [n for view in self.views.values() for n in view.sources]
    return {n: network_of(n) for n in sorted(set(read)) if n != network_of(n)}

  def role_of(self, row: str) -> str:
    """The role of a network, by the name under which it is kept."""
    return self.roles.get(row, STUDENT)

  @property
  def kept(self) -> dict[str, str]:
    """Student -> the name under which it is kept."""
    return {name: self.hands_on.get(name, name) for name in self.students}


def check(stage: Stage) -> Stage:
  """Refuses a stage whose names do not fit together.

  Raises:
    ValueError: for the first unknown signal or network, and for a term from
      which nothing learns.
  """
  signals = {*stage.learners, *stage.frozen, *stage.copies}
  for name, source in stage.copies.items():
    if source not in stage.students:
      raise types.unknown('student', source, signals, of=f"copy '{name}'")
  for name, source in stage.strong.items():
    if source not in signals:
      raise types.unknown('network', source, signals, of=f"'{name}'")
  signals |= set(stage.strong)
  for name, view in stage.views.items():
    for source in view.sources:
      if source not in signals | {terms.LABELS}:
        raise types.unknown('signal', source, signals, of=f"view '{name}'")
    signals.add(name)
  for name, term in stage.terms.items():
    of = f"term '{name}'"
    if term.student not in signals:
      raise types.unknown('student', term.student, signals, of)
    if term.teacher not in signals | {terms.LABELS}:
      raise types.unknown('teacher', term.teacher, signals, of)
    if term.student == term.teacher:
      raise ValueError(f"{of} has '{term.student}' teach itself")
    if not learns(stage, term.student):
      raise ValueError(
        f"{of} has the student '{term.student}', which does not learn in stage "
        f"'{stage.name}'; those that do: {', '.join(stage.learners)}"
      )
  if not stage.terms:
    raise ValueError(f"stage '{stage.name}' has no term to learn from")
  if not any(term.weight for term in stage.terms.values()):
    raise ValueError(f"all terms of stage '{stage.name}' have the weight 0")
  if stage.recipe.steps < 1:
    raise ValueError(f"stage '{stage.name}' has no steps to train for")
  return stage


def learns(stage: Stage, signal: str) -> bool:
  """Whether a gradient by the signal reaches a network that learns."""
  name = network_of(signal)
  if name in stage.views:
    return any(learns(stage, s) for s in stage.views[name].sources)
  return name in stage.learners


def moves(stage: Stage, params) -> types.PyTree:
  """A tree of bools like `params`: whether the stage trains each."""

  def is_trained(path, _):
    name = '/'.join(str(getattr(k, 'key', k)) for k in path)
    return any(fnmatch.fnmatch(name, pattern) for pattern in stage.trains)

  if not stage.trains:
    return jax.tree.map(lambda _: True, params)
  return jax.tree_util.tree_map_with_path(is_trained, params)
