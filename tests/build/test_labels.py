"""Terms that read labels count labelled examples, or are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import build, step, terms, views
from kd_jax import state as states
from kd_jax.build import labels
from tests.helpers import quick, tiny

LABELLED = jnp.asarray([1.0, 0, 0, 1] * (tiny.BATCH // 4))


def _stage(**more):
  made = tiny.offline()
  return made._replace(terms={**made.terms, **more})


def _marked(stage, some=True):
  batch = {**tiny.batch(), 'labelled': LABELLED}
  shapes = jax.eval_shape(lambda: batch)
  return labels.marked(stage, tiny.networks(), shapes, some)


def test_terms_that_read_labels_are_found():
  by_label = views.by_label(['teacher', 'student'])
  stage = _stage(
    dkd=tiny.soft(name='dkd'),
    wsld=tiny.soft(name='wsld'),
    dist=tiny.soft(name='dist'),
    viewed=tiny.soft(teacher='weighed'),
    virtual=tiny.soft(teacher='virtual'),
  )
  virtual = views.virtual(tiny.CLASSES)
  stage = stage._replace(views={'weighed': by_label, 'virtual': virtual})
  found = {n for n, term in _marked(stage).terms.items() if term.labelled}
  assert found == {'hard', 'dkd', 'wsld', 'viewed', 'virtual'}


def test_without_labels_such_a_term_is_refused():
  with pytest.raises(ValueError, match="'student': term 'hard' reads labels"):
    _marked(_stage(), some=False)
  soft = tiny.offline(terms={'soft': tiny.soft()})
  assert not _marked(soft, some=False).terms['soft'].labelled


def test_a_method_that_needs_the_label_of_every_example_is_refused():
  by_class = tiny.soft(name='dkd')
  by_class = by_class._replace(method=by_class.method._replace(batchwise=True))
  with pytest.raises(ValueError, match="'coupled' compares the labels"):
    _marked(_stage(coupled=by_class))
  c = quick.get_config()
  c.data.labels, c.terms.soft = 32, dict(method='crd', layers=[('a', 'b')])
  with pytest.raises(ValueError, match="'crd' reads the label of every"):
    build.make_experiment(c)


def test_hard_terms_count_the_labelled_and_soft_ones_all():
  stage, batch = _marked(_stage()), tiny.batch()
  halves = step.make_halves(tiny.networks(), stage)
  state = states.init_state(tiny.networks(), stage, batch)
  frozen = tiny.frozen()

  def losses(**changes):
    _, metrics = halves.step(state, frozen, {**batch, **changes})
    return {k: float(v) for k, v in metrics.items() if k != 'learning_rate'}

  few = losses(labelled=LABELLED)
  lost = jnp.where(LABELLED > 0, batch['labels'], 0)
  assert losses(labelled=LABELLED, labels=lost) == few
  only = losses(mask=LABELLED)
  for key in ('loss/hard', 'accuracy/student'):
    np.testing.assert_allclose(few[key], only[key], rtol=1e-6)
  np.testing.assert_allclose(few['loss/soft'], losses()['loss/soft'], rtol=1e-6)
  assert losses(labelled=jnp.zeros(tiny.BATCH))['loss/hard'] == 0


def test_maps_of_an_image_without_label_are_left_out():
  mask = jnp.ones((2, 3, 3))
  batch = {'labelled': jnp.asarray([0.0, 1.0])}
  np.testing.assert_array_equal(
    terms.of_labelled(mask, batch), np.stack([np.zeros((3, 3)), mask[0]])
  )
  assert terms.of_labelled(None, {}) is None


def test_an_experiment_without_labels_needs_a_teacher_and_soft_terms():
  c = quick.get_config()
  c.data.labels = 'none'
  with pytest.raises(ValueError, match=r"stage 'teacher'.*load='DIR'"):
    build.make_experiment(c)
  del c.data.labels
  c.data.labels = 0.1
  made = build.make_experiment(c)
  assert made.data.train.labelled.sum() == 32
  hard, soft = (made.stages[-1].terms[name] for name in ('hard', 'soft'))
  assert hard.labelled and not soft.labelled
