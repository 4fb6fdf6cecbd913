"""Buckets: every text once an epoch, batches of one length, equal numbers."""

import numpy as np
import pytest

from kd_jax import config
from kd_jax.data import buckets, pipeline, sources
from kd_jax.runs import run as runs

RNG = np.random.default_rng(0)
SIZES = RNG.integers(1, 33, 1003)
MASK = (np.arange(32) < SIZES[:, None]).astype(np.int32)
OF = buckets.lengths(MASK, (4, 8, 16, 32))


def test_the_least_bucket_that_holds_a_text():
  assert set(OF) == {4, 8, 16, 32}
  assert (OF >= SIZES).all()
  assert (OF[SIZES <= 4] == 4).all() and (OF[SIZES == 17] == 32).all()
  left = buckets.lengths(MASK[:, ::-1], (4, 32))  # padded on the left
  assert (left == 32).all()


def test_an_epoch_has_every_example_at_most_once():
  batches = buckets.order(3, 0, OF, 10)
  assert batches.shape == (100, 10)
  assert len(np.unique(batches)) == 1000
  spread = [len(set(OF[batch])) for batch in batches]
  assert sum(number > 1 for number in spread) <= 3
  # Lengths come in any order.
  first = [OF[batch].max() for batch in batches[:20]]
  assert len(set(first)) > 1


def test_the_order_is_a_function_of_seed_and_step():
  index = buckets.make_indices(3, OF, 10)
  straight = [index(step) for step in range(250)]
  again = buckets.make_indices(3, OF, 10)
  for step in (240, 7, 120):
    np.testing.assert_array_equal(again(step), straight[step])
  assert (straight[0] != straight[100]).any()
  assert (buckets.make_indices(4, OF, 10)(0) != straight[0]).any()


def test_other_epochs_drop_others():
  dropped = [
    set(range(1003)) - set(buckets.order(0, epoch, OF, 10).ravel())
    for epoch in range(3)
  ]
  assert all(len(d) == 3 for d in dropped) and len(set.union(*dropped)) > 3


def test_only_padding_is_cut():
  data = sources.make_data('pydoc', layout='padded', length=32, limit=40)
  rows = np.arange(5)
  for split in (data.train, pipeline.to_device(data.train)):
    batch = buckets.cut(pipeline.take(split, rows), 8)
    assert {x.shape for x in batch['inputs'].values()} == {(5, 8)}
    assert batch['labels'].shape == batch['mask'].shape == (5, 8)
    np.testing.assert_array_equal(
      batch['inputs']['input_ids'], data.train.inputs['input_ids'][:5, :8]
    )


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(buckets=[8, 4]), 'legal: ascending'),
    (dict(buckets=[0]), 'bucket 0 of text; legal: 1..128'),
    (dict(buckets=[256]), 'bucket 256'),
    (dict(buckets=[8], layout='packed'), "legal: 'padded'"),
    (dict(buckets=['8']), 'must be of type'),
  ],
)
def test_buckets_that_are_not_legal(options, message):
  with pytest.raises(ValueError, match=message):
    sources.make_data('pydoc', **options)


def test_buckets_are_other_data():
  """Their batches come in another order: no network alone is shared."""
  plain, cut, other = (
    sources.make_data('pydoc', layout='padded', limit=20, **options)
    for options in ({}, dict(buckets=[16, 64]), dict(buckets=[32]))
  )
  assert plain.buckets == () and cut.buckets == (16, 64, 128)
  prints = {plain.fingerprint, cut.fingerprint, other.fingerprint}
  assert len(prints) == 3


@pytest.mark.slow
def test_a_run_with_buckets_learns_as_one_without(tmp_path):
  """Where one bucket holds all, the numbers are those of the same order."""
  lines = [f'{"good" if i % 2 else "bad"} ' * (1 + i % 5) for i in range(80)]
  rows = [f'{i % 2}\t{line.strip()}' for i, line in enumerate(lines)]
  (tmp_path / 'a.tsv').write_text('\n'.join(['label\ttext', *rows]))

  def scores(name, length, cut):
    c = config.default()
    c.data = dict(
      name='text', seed=0, train=str(tmp_path / 'a.tsv'), task='classification',
      length=length, buckets=cut,
    )  # fmt: skip
    c.networks.student = dict(
      name='bert', head='sequence', width=8, depth=1, heads=2, dropout=0.0,
      attention_dropout=0.0, context=64,
    )  # fmt: skip
    c.terms.hard = dict(method='cross_entropy')
    c.baseline, c.train.steps, c.train.batch_size = False, 6, 8
    report = runs.launch(c, tmp_path / name)
    return report['networks']['student']['nll']

  short, long = scores('short', 25, [8, 25]), scores('long', 40, [8, 25])
  # More padding behind the same order of the same buckets: equal numbers.
  assert short == pytest.approx(long, rel=1e-4)
