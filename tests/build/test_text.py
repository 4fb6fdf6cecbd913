"""Networks for text in a config: teachers of Hugging Face, and their layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import build, checkpoint, config
from kd_jax.build import networks, stored
from kd_jax.data import splits
from kd_jax.models import hugging_face
from tests import golden

TEACHER = golden.VALUES / 'sequences' / 'models' / 'distilbert_classifier'
CAUSAL = golden.VALUES / 'sequences' / 'models' / 'qwen2'
STUDENT = dict(
  name='distilbert', vocabulary=101, head='sequence', width=32, heads=4,
  hidden=64, context=40, depth=1,
)  # fmt: skip


def text(classes=2):
  """A data set of token indices."""
  ids = np.ones((4, 6), np.int32)
  split = splits.Split(
    {'input_ids': ids, 'attention_mask': ids}, np.zeros(4, np.int32)
  )
  return splits.Data(
    'text', split, split, lambda: split, classes, (0.0,), (1.0,), 'f'
  )


def make(data=None, **specs):
  c = config.default()
  for name, spec in specs.items():
    c.networks[name] = spec
  config.validate(c)
  return networks.make_networks(c, data or text(), {})


def test_a_teacher_of_hugging_face():
  folder = str(TEACHER)
  nets, specs, loaded = make(teacher=dict(load=folder))
  variables, options = hugging_face.read(TEACHER)
  assert specs['teacher'] == {**options, 'classes': 2}
  assert checkpoint.content_hash(loaded['teacher']) == checkpoint.content_hash(
    variables
  )
  shapes = networks.output_names(nets, text())['teacher']
  assert {'logits', 'layer1_scores', 'pooled'} <= set(shapes)
  network, again, spec = stored.load(TEACHER)
  assert spec['hash'] == checkpoint.content_hash(again)
  assert callable(network.head)


def test_its_type_is_kept_or_cast(tmp_path):
  variables, options = hugging_face.read(CAUSAL)
  low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables)
  hugging_face.write(tmp_path, low, options)
  for extra, dtype in (({}, 'bfloat16'), (dict(dtype='float32'), 'float32')):
    teacher = dict(load=str(tmp_path), **extra)
    _, _, loaded = make(text(101), teacher=teacher)
    types = {x.dtype for x in jax.tree.leaves(loaded['teacher'])}
    assert types == {jnp.dtype(dtype)}


@pytest.mark.parametrize(
  'extra, classes, message',
  [
    ({}, 3, "'teacher' has 2 classes and the data set 'text' 3"),
    (dict(width=16), 2, 'teacher.width is 16 but .* has 32'),
    (dict(dtype='int8'), 2, "unknown dtype 'int8'"),
    (dict(init_from=dict(network='x')), 2, "has 'load' and 'init_from'"),
  ],
)
def test_what_contradicts_its_folder(extra, classes, message):
  with pytest.raises(ValueError, match=message) as error:
    make(text(classes), teacher=dict(load=str(TEACHER), **extra))
  assert '\n' not in str(error.value)


def test_a_student_starts_from_layers():
  start = dict(network='teacher', layers=[1])
  nets, specs, loaded = make(
    teacher=dict(load=str(TEACHER)), student=dict(**STUDENT, init_from=start)
  )
  inputs = networks.example_inputs(text())
  params = nets['student'].init(jax.random.key(0), inputs)['params']
  trained = loaded['teacher']['params']
  same = lambda x, y: jax.tree.map(np.testing.assert_array_equal, x, y)  # noqa: E731
  same(params['layers_0'], trained['layers_1'])
  for part in ('embed', 'pooler', 'head'):
    same(params[part], trained[part])
  digest = checkpoint.content_hash(loaded['teacher'])
  assert specs['student']['init_from'] == {**start, 'hash': digest}
  # As a finished one is built again.
  assert callable(build.make_network(specs['student']).init)


def test_a_new_task_has_a_new_head():
  student = dict(STUDENT) | dict(depth=2, init_from=dict(network='teacher'))
  c = config.default()
  c.networks.teacher = dict(load=str(TEACHER))
  c.networks.student = student | dict(head='token')
  nets, _, loaded = networks.make_networks(c, text(), {})
  inputs = networks.example_inputs(text())
  params = nets['student'].init(jax.random.key(0), inputs)['params']
  assert 'pooler' not in params
  np.testing.assert_array_equal(
    params['layers_1']['out']['kernel'],
    loaded['teacher']['params']['layers_1']['out']['kernel'],
  )


@pytest.mark.parametrize(
  'start, options, message',
  [
    (dict(network='other'), {}, "network is 'other'; legal: .*teacher"),
    (dict(layers=[0]), {}, "needs the option 'network'"),
    (dict(network='teacher', layer=[0]), {}, "no option 'layer'"),
    (
      dict(network='teacher', layers=[0, 1]),
      {},
      '2 layers are named for the 1',
    ),
    (
      dict(network='teacher', layers=[2]),
      {},
      'layer 2 is named, and there are 2',
    ),
    (
      dict(network='teacher'),
      dict(width=16),
      r'is \[101, 32\]; legal: \[101, 16\]',
    ),
    (
      dict(network='teacher'),
      dict(token_types=2),
      'lacks embed/types/embedding',
    ),
    ('teacher', {}, 'init_from must be of type dict'),
  ],
)
def test_starts_that_do_not_fit(start, options, message):
  with pytest.raises(ValueError, match=message) as error:
    make(
      teacher=dict(load=str(TEACHER)),
      student=dict(STUDENT) | options | dict(init_from=start),
    )
  assert 'networks.student.init_from' in str(error.value)
  assert '\n' not in str(error.value)
