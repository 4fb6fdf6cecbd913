"""Every method gives the same training on any devices.

A stage trains a student by each of some methods, so that three programs serve
them all: single steps on one device, and all steps as a chunk on a mesh of
eight and on eight under pmap, which does not check that its replicas agree.
Each student hears of its own method only. Single steps on eight devices are the
quick suite's, for one method of each kind.
"""

import functools

import jax
import numpy as np
import pytest

from kd_jax import methods, optim, parallel, stages, tasks, terms
from kd_jax import state as states
from kd_jax import step as steps
from kd_jax.data import splits
from kd_jax.training import chunks
from tests.helpers import tiny
from tests.helpers.methods import cases, harness, signals

SIZE, STEPS = 16, 3
# Some of what XLA does takes time by the square of a program's length.
PARTS = 4


def _student(name):
  return name.replace('/', ' by ')


def part_of(name) -> tuple[str, ...]:
  """The cases that are trained together with `name`."""
  if name in PIXELS:
    return PIXELS
  return IMAGES[IMAGES.index(name) % PARTS :: PARTS]


# One of logits, of maps, of relations, and one that remembers.
QUICK = ('kd', 'at', 'rkd', 'crd')
# Those of pixels are trained apart, for they have other networks and labels.
PIXELS = tuple(name for name, case in cases.CASES.items() if case.dense)
IMAGES = tuple(name for name in cases.CASES if name not in PIXELS)


@functools.cache
def stage(part):
  """A student for each case of a part, and one frozen teacher."""
  students = {name: _student(name) for name in part}
  return stages.Stage(
    'all',
    {
      name: terms.Term(
        student,
        terms.LABELS if name in methods.HARD else 'teacher',
        harness.made_by(name),
      )
      for name, student in students.items()
    },
    tuple(students.values()),
    stages.Recipe(STEPS, SIZE, optim.make_optimizer('sgd'), 0.01),
    ('teacher',),
  )


@functools.cache
def networks(part):
  made = {'teacher': signals.network(_shapes(part, signals.TEACHER), 1)}
  for name in part:
    reads = cases.CASES[name].reads | {'logits', 'features'}
    shapes = _shapes(part, signals.STUDENT)
    shapes = {n: s for n, s in shapes.items() if n in reads}
    made[_student(name)] = signals.network(shapes, 2)
  return made


def _shapes(part, shapes):
  return signals.pixels(shapes) if part == PIXELS else shapes


@functools.cache
def examples(part):
  """The training set in its order, as one batch."""
  batch = signals.images(0, signals.EXAMPLES)
  where = np.argsort(batch['index'])
  batch = {key: values[where] for key, values in batch.items()}
  return signals.maps(batch) if part == PIXELS else batch


def index(step):
  """The examples of a step."""
  return np.random.default_rng(step).permutation(signals.EXAMPLES)[:SIZE]


def batch_of(part, step):
  return {key: values[index(step)] for key, values in examples(part).items()}


@functools.cache
def start(part):
  """The frozen teacher, and the state before the first step."""
  batch = batch_of(part, 0)
  init = jax.jit(networks(part)['teacher'].init)
  frozen = {'teacher': init(jax.random.key(7), batch['inputs'])}
  return frozen, jax.device_get(
    states.init_state(networks(part), stage(part), batch)._replace(rng=None)
  )


@functools.cache
def step_of(part):
  """One function: what one device traces, a mesh need not."""
  return steps.make_halves(networks(part), stage(part)).step


@functools.cache
def train(name, part):
  """The state after some steps, and the means of the last."""
  placement = parallel.choose(name, jax.devices()[:8])
  compiled = placement.compile(step_of(part), 2, (0,))
  frozen, state = start(part)
  state = placement.replicate(state._replace(rng=jax.random.key(0)))
  frozen = placement.replicate(frozen)
  for n in range(STEPS):
    batch = placement.split(batch_of(part, n))
    state, metrics = compiled(state, frozen, batch)
  return jax.device_get(state._replace(rng=None)), jax.device_get(metrics)


@functools.cache
def in_a_chunk(name, part):
  """As `train`, in one program that gathers from data on every device."""
  placement = parallel.choose(name, jax.devices()[:8])
  data = examples(part)
  labels = data['labels']
  if part == PIXELS:
    labels = np.where(data['mask'] > 0, labels, tasks.VOID)
  split = splits.Split(data['inputs'], labels)
  frozen, state = start(part)
  state = placement.replicate(state._replace(rng=jax.random.key(0)))
  frozen = placement.replicate(frozen)
  halves = steps.make_halves(networks(part), stage(part))
  programs = chunks.make_chunks(
    placement, halves, placement.put(split), index, None, state, frozen, STEPS
  )
  looked = programs.look(frozen, programs.read(0, STEPS))
  state, rows = jax.jit(programs.update)(state, *looked, np.int32(STEPS))
  means = dict(zip(programs.names, jax.device_get(rows)[-1]))
  return jax.device_get(state._replace(rng=None)), means


def of(name, state):
  """What the case `name` changed: its student, its own part, its memory."""
  params, carried = state.params, state.carried
  student = _student(name)
  return (
    params['networks'][student],
    carried['networks'][student],
    params['terms'][name],
    carried['terms'][name],
  )


@pytest.mark.parametrize('name', QUICK)
@pytest.mark.parametrize('placement', ['mesh', 'pmap'])
def test_eight_devices_are_one_for_one_method_of_each_kind(placement, name):
  agree(placement, name, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize('name', cases.CASES)
@pytest.mark.parametrize('placement', ['mesh', 'pmap'])
def test_a_chunk_on_eight_devices_is_single_steps_on_one(placement, name):
  agree(placement, name, part_of(name), in_a_chunk)


def agree(placement, name, part, train=train):
  """Asserts that a method of a part trains as it does on one device."""
  (want, means), (got, theirs) = train('one', part), train(placement, part)
  assert tiny.distance(of(name, got), of(name, want)) < 1e-4
  loss = f'loss/{name}'
  assert tiny.distance(theirs[loss], means[loss]) < 1e-4
  assert tiny.distance(of(name, want), of(name, start(part)[1])) > 1e-6
