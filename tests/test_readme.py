"""README tells the truth: its commands parse, its example runs, its tables."""

import json
import pathlib
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from experiments.benchmarks import ours
from kd_jax import cli, errors, export, methods, models, network_files, schemes
from kd_jax.export import predict
from kd_jax.models import torch_weights
from kd_jax.models.torch_weights import __main__ as torch_weights_main
from tests.helpers import marks, tiny

try:  # here, since its log takes the stream that it finds
  import submitit
except ImportError:
  submitit = None
try:
  import torch
except ImportError:
  torch = None

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = ROOT / 'README.md'
# Where its tables and results are, for those who browse.
PAGES = [
  README,
  ROOT / 'kd_jax/methods/README.md',
  ROOT / 'kd_jax/schemes/README.md',
  ROOT / 'kd_jax/export/README.md',
  ROOT / 'experiments/README.md',
]
TEXT = '\n'.join(page.read_text() for page in PAGES)


def blocks(language: str) -> list[str]:
  """The fenced blocks of a language."""
  return re.findall(rf'```{language}\n(.*?)```', TEXT, re.S)


def commands() -> list[list[str]]:
  """Every `python -m ..` of the bash blocks, as words."""
  lines = [line for block in blocks('bash') for line in block.splitlines()]
  parts = [part for line in lines for part in line.split('&&')]
  return [shlex.split(part) for part in parts]


def after(words: list[str], module: str) -> list[str]:
  """The arguments of a module's command."""
  return words[words.index(module) + 1 :]


def test_the_front_page_is_short():
  assert len(README.read_text().splitlines()) <= 130


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
  links = re.findall(r'\]\(([^)#]*)[^)]*\)', page.read_text())
  for link in filter(None, links):
    if '://' not in link:
      assert (page.parent / link).exists(), link


def test_the_first_screen_holds_exactly_two_commands():
  screen = '\n'.join(TEXT.splitlines()[:30])
  found = re.findall(r'```bash\n(.*?)```', screen, re.S)
  assert len(found) == 2
  assert all(f.startswith('pip install -r requirements.txt') for f in found)


LAUNCHES = [c for c in commands() if 'experiments.launch' in c]
NEEDY = [c for c in LAUNCHES if any('DIR' in word for word in c)]
# Their teacher is of the launch before.
NEXT = [c for c in LAUNCHES if any('unlabelled.py:' in word for word in c)]
READY = [c for c in LAUNCHES if c not in NEEDY and c not in NEXT]


@pytest.mark.parametrize('words', NEEDY, ids=' '.join)
def test_a_launch_on_raw_files_says_that_they_are_missing(words, capsys):
  """`tests.recipes` builds these on made-up images."""
  argv = after(words, 'experiments.launch')
  assert cli.main([*argv, '--dry_run']) == errors.USER
  assert 'DIR' in capsys.readouterr().err


@pytest.mark.parametrize('words', NEXT, ids=' '.join)
def test_a_launch_with_the_teacher_of_another_says_that_it_is_missing(
  words, capsys, tmp_path, monkeypatch
):
  argv = after(words, 'experiments.launch')
  argv[1] = str(ROOT / argv[1])
  monkeypatch.chdir(tmp_path)
  assert cli.main([*argv, '--dry_run']) == errors.USER
  assert 'no network in runs/unlabelled/all' in capsys.readouterr().err


# Builds the experiments of all methods.
LONG = [c for c in READY if 'methods_tuned' in c]


@pytest.mark.parametrize(
  'words',
  [
    pytest.param(c, marks=[marks.SLOW] if c in LONG else [], id=' '.join(c))
    for c in READY
  ],
)
def test_every_launch_builds(words, capsys):
  """The short form: everything is built, nothing is trained."""
  argv = after(words, 'experiments.launch')
  if 'slurm' in argv and submitit is None:
    pytest.skip("could not import 'submitit'")
  if '--search' in argv:
    pytest.importorskip('optuna')
  assert cli.main([*argv, '--dry_run']) == 0
  out = capsys.readouterr().out
  away = {'process': '--shelf', 'slurm': '#SBATCH --array=0-11'}
  wanted = [text for name, text in away.items() if name in argv]
  assert (wanted or ['stage student'])[0] in out


def test_every_export_runs(tmp_path, capsys):
  """The short form: of a run that trained for some steps."""
  pytest.importorskip('onnx')
  pytest.importorskip('onnxruntime')
  run = tmp_path / 'run'
  job = ['--config', 'tests/helpers/quick.py', '--workdir', str(run)]
  short = ['--config.baseline=False', '--config.train.steps=200']
  assert cli.main([*job, *short]) == 0
  # tests/export runs those of segmenters and of text.
  exports = [
    c for c in commands() if 'kd_jax.export' in c and 'runs/digits' in c
  ]
  assert len(exports) >= 4
  for words in exports:
    _, *options = after(words, 'kd_jax.export')
    out = tmp_path / options[options.index('--out') + 1]
    options[options.index('--out') + 1] = str(out)
    assert export.main([str(run), *options]) == 0, capsys.readouterr().err
    assert json.loads((out / 'parity.json').read_text())
  words = next(c for c in commands() if 'kd_jax.export.predict' in c)
  folder, image = after(words, 'kd_jax.export.predict')
  shapes = json.loads((tmp_path / folder / 'meta.json').read_text())['prepare']
  pixels = np.zeros(shapes['size'], np.uint8)
  Image.fromarray(pixels).save(tmp_path / image)
  words = [str(tmp_path / folder), str(tmp_path / image)]
  assert predict.main(words) == 0
  assert ' %, ' in capsys.readouterr().out


def test_weights_of_pytorch_become_a_teacher(tmp_path, monkeypatch):
  (words,) = (c for c in commands() if 'kd_jax.models.torch_weights' in c)
  argv = after(words, 'kd_jax.models.torch_weights')
  monkeypatch.chdir(tmp_path)
  network = models.make_network('resnet32x4', 100)
  variables = ours.initialize(network, np.zeros((1, 32, 32, 3), np.float32), 0)
  if torch is None:
    argv[0] = argv[0].replace('.pth', '.safetensors')
    torch_weights.save(argv[0], variables, 'resnet32x4')
  else:
    state = torch_weights.state_dict(variables, 'resnet32x4')
    torch.save({k: torch.tensor(v) for k, v in state.items()}, argv[0])
  assert torch_weights_main.main(argv) == 0
  found, _ = network_files.load_network(argv[argv.index('--out') + 1])
  assert tiny.distance(found, variables) == 0


def test_the_example_runs(tmp_path, monkeypatch, capsys):
  (example,) = blocks('python')
  exec(compile(example, 'README.md', 'exec'), {})
  out = capsys.readouterr().out
  accuracy = dict(re.findall(r'(teacher|student) ([\d.]+) %', out))
  # A student that ends near its teacher.
  assert float(accuracy['teacher']) > 88
  assert float(accuracy['student']) > float(accuracy['teacher']) - 6


@pytest.mark.parametrize('name', methods.METHODS)
def test_every_method_has_its_place(name):
  if name != 'cross_entropy':
    assert f'`{name}`' in TEXT


@pytest.mark.parametrize('name', schemes.SCHEMES)
def test_every_scheme_has_a_row_and_a_config(name):
  row = next(
    r for r in TEXT.splitlines() if r.startswith('| ') and f'`{name}`' in r
  )
  (config,) = re.findall(r'`(digits\w*\.py)`', row)
  assert (README.parent / 'experiments/configs' / config).exists()


PATHS = re.findall(r'`((?:kd_jax|tests)/[\w/.]+)`', TEXT)


@pytest.mark.parametrize('path', PATHS)
def test_every_path_exists(path):
  assert (README.parent / path).exists()
