"""The parts of a process's time add up, and compiling is told apart."""

import time

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmarks import clock, sweep


def test_parts_exclude_each_other_and_add_up():
  begun = time.perf_counter()
  watch = clock.start('rest', begun)
  with watch.part('outer'):
    time.sleep(0.05)
    with watch.part('inner'):
      time.sleep(0.1)
  found = watch.read()
  whole = time.perf_counter() - begun
  assert sum(found.values()) == pytest.approx(whole, abs=0.02)
  assert 0.05 <= found['outer'] < 0.1 <= found['inner']


def test_what_is_compiled_within_a_part_is_no_time_of_it():
  watch = clock.start('rest')

  @jax.jit
  def traced(x):
    time.sleep(0.1)  # as a large network takes to be traced
    return jax.jit(lambda y: jnp.tanh(y) + 1)(x)

  with watch.part('steps'):
    jax.block_until_ready(traced(jnp.ones(3)))
    time.sleep(0.02)
  found = watch.read()
  assert found[clock.COMPILING] >= 0.1
  assert 0.02 <= found['steps'] < 0.1


def test_shares_and_the_ceiling():
  rows = sweep.shares([{'steps': 3.0, 'report': 1.0}])
  assert [row[0] for row in rows] == ['steps', 'report']
  assert [row[-1] for row in rows] == ['75', '25']
  row = {'lanes': 4, 'teacher': 2.0, 'student': 1.0, 'step': 8.0}
  assert sweep.reached(row) == 0.75
