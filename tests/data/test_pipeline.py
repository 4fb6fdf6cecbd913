"""Batches are pure functions of (seed, step), on the host and on the device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.data import pipeline, sources, stream


def _split(size=10):
  rng = np.random.default_rng(0)
  return sources.Split(
    rng.integers(0, 256, (size, 4, 4, 3), np.uint8),
    np.arange(size, dtype=np.int32) % 3,
  )


def test_an_epoch_shows_each_example_once_and_drops_the_remainder():
  drawn = np.concatenate([pipeline.indices(1, s, 10, 3) for s in range(3)])
  assert len(set(drawn.tolist())) == 9
  second = np.concatenate([pipeline.indices(1, s, 10, 3) for s in range(3, 6)])
  assert len(set(second.tolist())) == 9
  assert drawn.tolist() != second.tolist()


def test_a_step_draws_the_same_whatever_was_drawn_before():
  straight = [pipeline.indices(7, step, 10, 3) for step in range(12)]
  pipeline.order.cache_clear()
  for step in (11, 2, 7, 0):
    np.testing.assert_array_equal(
      pipeline.indices(7, step, 10, 3), straight[step]
    )
  assert any(
    (pipeline.indices(8, step, 10, 3) != straight[step]).any()
    for step in range(3)
  )


def test_the_cached_order_cannot_be_changed_by_a_caller():
  with pytest.raises(ValueError, match='read-only'):
    pipeline.indices(0, 0, 10, 3)[0] = 5


@pytest.mark.parametrize('batch_size', [0, 11])
def test_batch_sizes_that_do_not_fit(batch_size):
  with pytest.raises(ValueError, match=r'legal: 1\.\.10'):
    pipeline.indices(0, 0, 10, batch_size)


def test_shards_are_the_batch_cut_in_pieces():
  index = pipeline.indices(0, 0, 10, 6)
  parts = [pipeline.shard(index, process, 3) for process in range(3)]
  np.testing.assert_array_equal(np.concatenate(parts), index)
  with pytest.raises(ValueError, match='multiple of 4'):
    pipeline.shard(index, 0, 4)


def test_take_is_the_same_on_host_and_device_eager_and_jitted():
  split = _split()
  index = np.array([7, 0, 3])
  host = pipeline.take(split, index)
  on_device = pipeline.to_device(split)
  for batch in (
    pipeline.take(on_device, index),
    jax.jit(pipeline.take)(on_device, jnp.asarray(index)),
  ):
    assert jax.tree.map(jnp.shape, dict(batch)) == {
      'inputs': (3, 4, 4, 3), 'labels': (3,), 'index': (3,), 'mask': (3,)
    }  # fmt: skip
    for key in host:
      assert batch[key].dtype == host[key].dtype
      np.testing.assert_array_equal(batch[key], host[key])
  np.testing.assert_array_equal(host['inputs'], split.inputs[index])
  np.testing.assert_array_equal(host['labels'], split.labels[index])


def test_take_makes_no_implicit_transfer():
  on_device = pipeline.to_device(_split())
  with jax.transfer_guard('disallow'):
    pipeline.take(on_device, np.array([1, 2]))
    list(pipeline.eval_batches(on_device, 4))


@pytest.mark.parametrize('place', [pipeline.to_device, lambda split: split])
def test_evaluation_sees_every_example_once(place):
  split = _split(10)
  batches = list(pipeline.eval_batches(place(split), 4))
  assert [b['inputs'].shape[0] for b in batches] == [4, 4, 4]
  mask = np.concatenate([b['mask'] for b in batches])
  index = np.concatenate([b['index'] for b in batches])
  np.testing.assert_array_equal(mask, [1] * 10 + [0] * 2)
  np.testing.assert_array_equal(index[mask == 1], np.arange(10))
  images = np.concatenate([b['inputs'] for b in batches])
  np.testing.assert_array_equal(images[mask == 1], split.inputs)


def test_prepare_normalizes_each_channel():
  prepare = pipeline.make_prepare((0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
  white = np.full((2, 4, 4, 3), 255, np.uint8)
  expected = np.broadcast_to(np.float32([1, 3, 0.5]), white.shape)
  for run in (prepare, jax.jit(prepare)):
    prepared = run(jnp.asarray(white))
    assert prepared.dtype == jnp.float32
    np.testing.assert_allclose(prepared, expected, rtol=1e-6)
    floats = run(jnp.ones((2, 4, 4, 3)))
    np.testing.assert_allclose(floats, expected, rtol=1e-6)
  with pytest.raises(ValueError, match='1 channels, normalized for 3'):
    prepare(jnp.ones((2, 4, 4, 1)))


def test_each_process_reads_its_part_of_an_evaluation_batch():
  split, read = _split(), []

  def reader(index):
    read.append(index)
    return split.inputs[index], split.labels[index]

  inputs, labels = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in split)
  part = stream.Stream(inputs, labels, reader)
  for number, whole in enumerate(pipeline.eval_batches(split, 4)):
    halves = [pipeline.eval_batch_at(part, 4, number, p, 2) for p in range(2)]
    for key, value in whole.items():
      found = np.concatenate([half[key] for half in halves])
      np.testing.assert_array_equal(found, value)
  assert {len(index) for index in read} == {2}


def test_evaluation_gives_the_results_of_all_batches_in_order():
  split, asked = _split(), []

  def step(batch):
    asked.append(1)
    return {'sum': jnp.sum(batch['mask'] * batch['labels'])}

  found = pipeline.evaluate(split, 4, jax.jit(step), jax.device_put)
  want = [
    (b['mask'] * b['labels']).sum() for b in pipeline.eval_batches(split, 4)
  ]
  assert [x['sum'] for x in found] == want
  asked.clear()
  found = pipeline.evaluate(split, 4, step, jax.device_put, limit=1)
  assert [x['sum'] for x in found] == want[:1] and len(asked) == 1
