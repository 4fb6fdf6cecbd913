"""The parts of the main job: they are all of its time."""

import pytest

from experiments.benchmarks import job


def test_the_longest_part_comes_first_and_the_last_row_is_their_sum():
  runs = {
    'in chunks, first': [{'steps': 1.0, 'report': 4.0}, {'steps': 3.0}],
    'single steps, first': [{'steps': 2.0, 'report': 0.5}],
  }
  names, *columns = zip(*job.rows(runs), strict=True)
  assert names == ('report', 'steps', 'all')
  assert [c[-1] for c in columns] == ['4.0 (3.5..4.5)', '2.5 (2.5..2.5)']


@pytest.mark.slow
def test_a_short_run_is_timed(tmp_path):
  parts = job.run(job.SHORT, str(tmp_path))
  wanted = {'compiling', 'steps', 'evaluation', 'comparison', 'report'}
  assert wanted < set(parts)
  assert all(seconds > 0 for seconds in parts.values())
