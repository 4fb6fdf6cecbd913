"""The benchmark of large vocabularies: chunks need the memory of a chunk."""

import pytest

from experiments.benchmarks import vocabulary


@pytest.mark.parametrize(
  'name', ['kd', pytest.param('generalized_jsd', marks=pytest.mark.slow)]
)
def test_chunks_need_the_memory_of_one(name, monkeypatch):
  monkeypatch.setattr(vocabulary, 'CHUNK', 32)
  least = vocabulary.program(name, 32, 2048, None)
  chunks = vocabulary.program(name, 256, 2048, 32)
  dense = vocabulary.program(name, 256, 2048, None)
  assert chunks.bytes < 1.3 * least.bytes
  assert dense.bytes > 3 * chunks.bytes
  assert chunks.seconds() > 0


def test_what_this_machine_cannot_hold_is_not_run():
  effort = vocabulary.QUICK._replace(run=0)
  cells = vocabulary.row('cross_entropy', 512, 256, effort)
  assert 'not run' in cells[-1]
