"""The config of Python's own manual builds; a short run is reported."""

import json

import numpy as np
import pytest

from experiments.configs import pydoc
from kd_jax import build, cli

FILE = 'experiments/configs/pydoc.py'
SMALL = {
  'seeds': 1,
  'data.limit': 48,
  'data.length': 32,
  'data.more_test': 0.01,
  'data.validation': 0.01,
  'networks.teacher.width': 16,
  'networks.student.width': 8,
  'teacher.epochs': 1,
  'train.epochs': 1,
  'teacher.optimizer.schedule.warmup': 1,
  'train.optimizer.schedule.warmup': 1,
  'log_every': 60,
}


def test_pydoc_builds():
  of = build.make_experiment(pydoc.get_config())
  assert of.data.task == 'language' and of.data.bytes_per_token == 1
  assert of.data.classes == of.data.vocabulary == 256
  assert of.specs['student']['width'] < of.specs['teacher']['width']
  alone = build.make_experiment(pydoc.get_config('alone'))
  assert [stage.name for stage in alone.stages] == ['student']
  assert alone.specs['student'] == of.specs['student']


@pytest.mark.slow
def test_pydoc_trains_and_is_reported(tmp_path):
  run = tmp_path / 'run'
  arguments = ['--config', FILE, '--workdir', str(run)]
  arguments += [f'--config.{key}={value}' for key, value in SMALL.items()]
  assert cli.main(arguments) == 0
  report = json.loads((run / 'report.json').read_text())
  for row in ('teacher', 'baseline', 'student'):
    scores = report['networks'][row]
    assert 1 < scores['perplexity'] < 256
    assert scores['perplexity'] == pytest.approx(np.exp(scores['nll']))
    bits = scores['nll'] / np.log(2)
    assert scores['bits_per_byte'] == pytest.approx(bits)
  page = (run / 'report.html').read_text()
  for words in ('perplexity', 'What they read', 'student learned from its'):
    assert words in page
  assert cli.main(arguments) == 0  # nothing is done again
