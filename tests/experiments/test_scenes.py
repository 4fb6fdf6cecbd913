"""The config of drawn scenes builds; a short run is reported and exported."""

import json

import pytest

from experiments.configs import scenes
from kd_jax import build, cli, export

CONFIGS = 'experiments/configs'
SMALL = {
  'data.images': 24,
  'data.tests': 6,
  'data.validation': 8,
  'data.height': 32,
  'data.width': 48,
  'networks.teacher.widths': [4, 8, 8, 8, 8],
  'networks.student.widths': [2, 4, 4, 4, 4],
  'teacher.epochs': 3,
  'train.epochs': 3,
  'train.batch_size': 8,
  'teacher.batch_size': 8,
}


@pytest.mark.parametrize('arg', ['', 'student'])
def test_scenes_builds(arg):
  c = scenes.get_config(arg)
  c.data.update(images=60, tests=4)
  of = build.make_experiment(c)
  assert of.data.task == 'segmentation'
  rates = {stage.recipe.learning_rate for stage in of.stages[-1:]}
  assert rates == {scenes.STUDENT_RATE}
  students = ['student'] if arg else ['teacher', 'baseline', 'student']
  assert [stage.name for stage in of.stages] == students


@pytest.mark.slow
def test_scenes_trains_is_reported_and_exported(tmp_path):
  pytest.importorskip('onnxruntime')
  run, out = tmp_path / 'run', tmp_path / 'onnx'
  arguments = ['--config', f'{CONFIGS}/scenes.py', '--workdir', str(run)]
  arguments += [f'--config.{key}={value}' for key, value in SMALL.items()]
  assert cli.main(arguments) == 0
  rows = json.loads((run / 'report.json').read_text())['networks']
  for row in ('teacher', 'baseline', 'student'):
    assert 0 <= rows[row]['miou'] <= 1
  page = (run / 'report.html').read_text()
  assert 'mean IoU' in page and 'where they differ' in page
  parity = export.export(run, out, seconds=0.0)
  assert parity['agreement'] > 0.999
  assert parity['miou']['jax'] == pytest.approx(rows['student']['miou'])
  assert parity['miou']['exported'] == pytest.approx(
    parity['miou']['jax'], 1e-3
  )
  meta = json.loads((out / 'meta.json').read_text())
  assert meta['output']['shape'] == ['batch', 16, 24, 11]
  assert len(meta['labels']) == 11 and meta['prepare']['std']
