"""One of several processes that train as one; see test_processes.py.

python -m tests.helpers.processes PORT COUNT RANK WAY FILE
"""

import functools
import sys

import jax


def train(way: str, rank: int = 0, count: int = 1) -> list:
  """The parameters after ten steps, and the loss on 40 examples then.

  Each process reads its own shard, from data that all devices hold.
  """
  # Not before jax.distributed knows of its peers.
  import numpy as np

  from kd_jax import parallel
  from kd_jax import state as states
  from kd_jax import step as steps
  from kd_jax.data import pipeline, splits
  from kd_jax.training import runtime
  from tests.helpers import tiny

  networks, stage = tiny.networks(), tiny.offline()
  placement = parallel.choose(way)
  batches = [jax.device_get(tiny.batch(n)) for n in range(10)]
  data = splits.Split(
    *(np.concatenate([b[k] for b in batches]) for k in ('inputs', 'labels'))
  )
  halves = steps.make_halves(networks, stage)
  signals, update = runtime.compile_halves(
    placement, halves, placement.put(data)
  )
  state = states.init_state(networks, stage, tiny.batch())
  state = placement.replicate(state)
  frozen = placement.replicate(tiny.frozen())
  for n in range(10):
    index = np.arange(n * tiny.BATCH, (n + 1) * tiny.BATCH, dtype=np.int32)
    mine = {'index': pipeline.shard(index, rank, count)}
    if way == 'one':
      mine = pipeline.take(data, mine['index'])
    batch = signals(np.int32(n), frozen, placement.split(mine))
    state, _ = update(state, *batch)
    jax.block_until_ready(state)
  leaves = jax.tree.leaves(state.params)
  evaluate = placement.compile(steps.make_eval_step(networks['student']), 1)
  student = placement.replicate(states.variables_of(state, 'student', stage))
  test = jax.device_get(tiny.batch(10, 40))
  sums = pipeline.evaluate(
    splits.Split(test['inputs'], test['labels']),
    tiny.BATCH,
    functools.partial(evaluate, student),
    placement.split,
    process=rank,
    count=count,
  )
  return [
    *(np.asarray(x.addressable_data(0)) for x in leaves),
    np.array([sums['nll'] for sums in sums]),
  ]


def main(port: str, count: str, rank: str, way: str, file: str) -> None:
  """Finds its peers, trains, and writes what it has."""
  jax.distributed.initialize(f'localhost:{port}', int(count), int(rank))
  import numpy as np

  np.savez(file, *train(way, int(rank), int(count)))


if __name__ == '__main__':
  main(*sys.argv[1:])
