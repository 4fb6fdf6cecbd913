"""`experiments.recipes --verify` reads clones for what is said of them."""

import subprocess

import pytest

from experiments.recipes import __main__, sources, verify

NAME = 'yzd-v/MGD'
FILE = 'cls/configs/distillers/mgd/res34_distill_res18_img.py'
OTHER = FILE.replace('res34_distill_res18', 'res50_distill_mv1')
TEXT = 'alpha_mgd=0.00007,\nlambda_mgd=0.15,\nclip=dict(max_norm=5.0)\n'


def clone(folder, text: str) -> str:
  """Makes a repository with the files of MGD; its commit."""
  repo = folder / 'yzd-v+MGD' / 'repo'
  for file in (FILE, OTHER):
    path = repo / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

  def git(*words):
    who = ('-c', 'user.name=a', '-c', 'user.email=a@b')
    command = ['git', *who, '-C', str(repo), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True)

  git('init', '-q')
  git('add', '.')
  git('commit', '-qm', 'files')
  return git('rev-parse', 'HEAD').stdout.strip()


@pytest.mark.parametrize(
  'text, missing', [(TEXT, 0), (TEXT.replace('0.15', '0.25'), 2), ('', 5)]
)
def test_a_clone_is_read(tmp_path, monkeypatch, capsys, text, missing):
  commit = clone(tmp_path, text)
  monkeypatch.setitem(sources.COMMITS, NAME, commit)
  found = verify.verify(tmp_path)
  assert found.read == [NAME] and (found.flags, found.files) == (5, 2)
  assert len(found.missing) == missing
  assert __main__.main(['--verify', str(tmp_path)]) == int(missing > 0)
  assert f'{missing} are not there' in capsys.readouterr().out


def test_a_commit_that_is_not_there_says_nothing(tmp_path):
  clone(tmp_path, TEXT)
  assert len(verify.verify(tmp_path).missing) == 5


def test_a_folder_without_clones_is_refused(tmp_path, capsys):
  assert __main__.main(['--verify', str(tmp_path)]) == 1
  assert f'repositories not in {tmp_path}' in capsys.readouterr().out


@pytest.mark.parametrize(
  'line, flag, value, found',
  [
    ("parser.add_argument('--lr', default=0.1, help", '--lr', 0.1, True),
    ("parser.add_argument('--lr_decay', default=0.1", '--lr', 0.1, False),
    ('LR_DECAY_STAGES: [150, 180, 210]', 'LR_DECAY_STAGES', (150, 180), True),
    ('LR_DECAY_STAGES: [150, 180]', 'LR', 150, False),
    ('CFG.DKD.BETA = 8.0', 'DKD.BETA', 8.0, True),
    ('CFG.DKD.BETA = 8.0', 'DKD.BETA', 2.0, False),
    ('weight_decay: 5.0e-04', 'weight_decay', 5e-4, True),
    ('IF_NORMALIZE: False', 'IF_NORMALIZE', True, False),
    ("kd: 'dist'", 'kd', 'dist', True),
  ],
)
def test_a_line_says_a_flag(line, flag, value, found):
  assert verify.says('a.py', f'x\n{line}\n', '', flag, value) == found
  assert not verify.says('a.py', line, 'another line', flag, value)


def test_a_log_says_it_by_its_name():
  log = 'logs/DKD/dkd,vgg13,vgg8,2,15,2.0.txt'
  assert verify.says(log, '', '', 'KD_WEIGHT', 15)
  assert not verify.says(log, '', '', 'KD_WEIGHT', 9)
  assert not verify.says(log, None, '', 'KD_WEIGHT', 15)
