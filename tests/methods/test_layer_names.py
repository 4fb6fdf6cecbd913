"""Rules that pair layers: TinyBERT's, patient distillation's, the last ones."""

import numpy as np
import pytest

from kd_jax.methods import layer_names


def _network(layers):
  names = [f'layer{i}' for i in range(layers)]
  names += [f'{name}_scores' for name in names]
  return dict.fromkeys(['embeddings', *names], np.zeros((2, 3, 4)))


def _taken(ours, theirs, student=4, teacher=12):
  sides = _network(student), _network(teacher)
  pairs = layer_names.pairs([(ours, theirs)], *sides)
  return [right.removeprefix('layer') for _, right in pairs]


@pytest.mark.parametrize(
  ('student', 'teacher'), [(4, 12), (6, 12), (2, 2), (1, 4)]
)
def test_evenly_is_the_map_of_tinybert(student, teacher):
  want = [str((i + 1) * teacher // student - 1) for i in range(student)]
  assert _taken('layer#', 'layer# evenly', student, teacher) == want
  scores = _taken('layer#_scores', 'layer#_scores evenly', student, teacher)
  assert scores == [f'{name}_scores' for name in want]


def test_every_and_last():
  want = ['1', '3', '5', '7', '9', '11']
  assert _taken('layer#', 'layer# every second', 6) == want
  assert _taken('layer#', 'layer# every 2', 6) == want
  assert _taken('layer#', 'layer# every third') == ['2', '5', '8', '11']
  assert _taken('layer#', 'layer# last 4') == ['8', '9', '10', '11']
  assert _taken('layer# last', 'layer# last') == ['11']


def test_a_rule_counts_what_no_term_reads():
  student, teacher = _network(2), _network(12)
  whole = layer_names.pairs([('layer#', 'layer# evenly')], student, teacher)
  assert [theirs for _, theirs in whole] == ['layer5', 'layer11']
  kept = {
    n: x if n in ('layer3', 'layer5') else None for n, x in teacher.items()
  }
  assert (
    layer_names.pairs([('layer#', 'layer# evenly')], student, kept) == whole
  )


def test_a_rule_of_the_student():
  assert _taken('layer# evenly', 'layer# last 2') == ['10', '11']


@pytest.mark.parametrize(
  ('theirs', 'says'),
  [
    ('layer# every fifth', "legal: 'GLOB every second'"),
    ('layer# last 0', 'no such rule'),
    ('layer# last x', 'no such rule'),
    ('layer# evenly 2', 'no such rule'),
    ('layer# every fourth', 'match 4 of the student and 3 of the teacher'),
    ('block# evenly', "unknown layer of the teacher 'block#'"),
  ],
)
def test_what_is_no_rule_is_one_line(theirs, says):
  with pytest.raises(ValueError, match=says) as error:
    _taken('layer#', theirs)
  assert '\n' not in str(error.value)


def test_layers_that_do_not_divide():
  with pytest.raises(ValueError, match='12 layers are no multiple of the.* 5'):
    _taken('layer#', 'layer# evenly', student=5)


def test_a_number_sign_in_a_name_is_that_name():
  """Of a module's second call."""
  side = dict.fromkeys(['conv', 'conv#1'], np.zeros((2, 3)))
  assert layer_names.pairs([('conv#1', 'con*#1')], side, side) == [
    ('conv#1', 'conv#1')
  ]
