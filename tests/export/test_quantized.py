"""The table of int8 after training beside training for int8."""

import pytest

from experiments import quantized
from kd_jax.export import source
from tests.helpers import networks_on_disk


def test_the_table_has_every_case(tmp_path, monkeypatch, capsys):
  pytest.importorskip('onnxruntime')
  monkeypatch.setattr(source, 'read_data', lambda *_: networks_on_disk.data())
  for name, options in (('full', {}), ('aware', {'quantize': 'int8'})):
    for seed in range(2):
      folder = tmp_path / f'{name}/seed_{seed}/networks/student'
      networks_on_disk.save(
        folder, seed, seed, name='mlp', widths=[8], **options
      )
  code = quantized.main([str(tmp_path / 'full'), str(tmp_path / 'aware')])
  lines = capsys.readouterr().out.strip().split('\n')
  assert code == 0
  cells = [[c.strip() for c in line.strip('|').split('|')] for line in lines]
  assert [row[0] for row in cells[2:]] == [
    'full precision',
    'int8 after training',
    'trained for int8, simulated',
    'trained for int8, int8',
  ]
  assert all(' ± ' in row[1] for row in cells[2:])
  assert cells[2][3] == '100.0 ± 0.0'
  assert float(cells[3][3].split()[0]) > 90


def test_a_run_without_the_network_is_one_line(tmp_path, capsys):
  assert quantized.main([str(tmp_path), str(tmp_path)]) == 2
  _, err = capsys.readouterr()
  assert err == f"error: no finished network 'student' in {tmp_path}\n"
