"""The experiments on text build, on texts of a few words."""

import gzip

import jax
import pytest

from experiments.configs import distilbert, minilm, shakespeare, sst2, tinybert
from kd_jax import build, network_files, runs
from kd_jax.build import networks

WORDS = ['a', 'film', 'good', 'bad', 'and', 'much', 'too', 'long', 'for', 'me']
TINY = dict(vocabulary=80, length=16, buckets=[8])


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
  """A folder with an SST-2 of 200 phrases and a Shakespeare of 2,000."""
  root = tmp_path_factory.mktemp('raw')
  phrases = [
    ' '.join(WORDS[(i + j) % len(WORDS)] for j in range(1 + i % 9))
    for i in range(200)
  ]
  (root / 'sst2').mkdir()
  for split in ('train', 'validation', 'test'):
    rows = [f'{i % 2}\t{phrase}' for i, phrase in enumerate(phrases)]
    text = '\n'.join(['label\tsentence', *rows])
    path = root / 'sst2' / f'{split}.tsv.gz'
    path.write_bytes(gzip.compress(text.encode()))
  (root / 'shakespeare').mkdir()
  (root / 'shakespeare' / 'input.txt').write_text('\n'.join(phrases * 10))
  return root


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory) -> str:
  """Where tokenizers and tokens are kept."""
  return str(tmp_path_factory.mktemp('data'))


def built(c, raw, data_dir, **data):
  c.data.update(raw_dir=str(raw), data_dir=data_dir, **data)
  return build.make_experiment(c)


def names(experiment) -> list[str]:
  return [stage.name for stage in experiment.stages]


def save(experiment, name: str, folder) -> None:
  """A network of an experiment as a finished one."""
  shape = networks.example_inputs(experiment.data)
  variables = experiment.networks[name].init(jax.random.key(0), shape)
  build_as = {'build': dict(experiment.specs[name])}
  network_files.save_network(folder, variables, build_as)


def test_sst2(raw, data_dir):
  of = built(sst2.get_config(), raw, data_dir, **TINY)
  assert names(of) == ['teacher', 'baseline', 'student']
  assert (of.data.task, of.data.classes) == ('classification', 2)
  assert of.specs['student']['vocabulary'] == of.data.vocabulary <= 80
  alone = built(sst2.get_config('alone'), raw, data_dir, **TINY, limit=64)
  assert names(alone) == ['student']
  with pytest.raises(ValueError, match="did you mean 'few'"):
    sst2.get_config('fewer')


@pytest.mark.slow
def test_sst2_with_few_labels(raw, data_dir, tmp_path):
  """The teacher is a finished one, which saw all labels."""
  first = built(sst2.get_config(), raw, data_dir, **TINY)
  folder = str(tmp_path / 'teacher')
  save(first, 'teacher', folder)
  c = sst2.get_config('few')
  c.data['labels'] = 20
  c.networks.teacher.load = folder
  of = built(c, raw, data_dir, **TINY)
  assert of.data.train.labelled.sum() == 20
  assert names(of) == ['baseline', 'student']


@pytest.mark.slow
def test_shakespeare(raw, data_dir):
  of = built(shakespeare.get_config(), raw, data_dir, length=32)
  assert names(of) == ['teacher', 'baseline', 'student']
  assert of.data.task == 'language' and of.data.bytes_per_token is None
  alone = built(shakespeare.get_config('alone'), raw, data_dir, length=32)
  assert names(alone) == ['student'] and set(alone.networks) == {'student'}


@pytest.mark.slow
@pytest.mark.parametrize('module', [tinybert, minilm])
def test_stages(module, raw, data_dir):
  of = built(module.get_config(), raw, data_dir, **TINY)
  first, last = of.stages[-2:]
  assert not {'hard', 'soft'} & set(first.terms) and last.name == 'student'
  assert len(first.terms) == len(last.terms) == 1
  published = module.get_config('published')
  assert published.networks.student.depth in (4, 6)


@pytest.mark.slow
def test_minilm_trains(raw, data_dir, tmp_path):
  """By a rule, 'layer# last', whose layer itself no term reads."""
  c = minilm.get_config()
  c.seeds, c.baseline, c.parallel = 1, False, 'one'
  c.networks.teacher.update(width=16, hidden=16, heads=2, depth=2)
  for part in (c.train, c.teacher):
    part.epochs, part.steps, part.batch_size = 0, 2, 4
  c.data.update(raw_dir=str(raw), data_dir=data_dir, **TINY)
  runs.launch(c, tmp_path / 'run')
  rows = (tmp_path / 'run/metrics.jsonl').read_text()
  assert 'loss/relations' in rows and 'loss/hard' in rows


@pytest.mark.slow
def test_distilbert(data_dir, tmp_path, monkeypatch):
  c = distilbert.get_config('teacher')
  c.data.update(data_dir=data_dir, vocabulary=300, limit=64, copies=1)
  first = build.make_experiment(c)
  save(first, 'student', tmp_path / distilbert.TEACHER)
  monkeypatch.chdir(tmp_path)
  c = distilbert.get_config()
  c.data.update(data_dir=data_dir, vocabulary=300, limit=64, copies=1)
  of = build.make_experiment(c)
  student = of.stages[-1]
  assert {n: t.void for n, t in student.terms.items()} == {
    'hard': False, 'soft': True, 'states': True,
  }  # fmt: skip
  assert not {'soft', 'states'} & set(distilbert.get_config('alone').terms)
  published = distilbert.get_config('published').networks.student
  assert published.init_from.layers == [0, 2, 4, 7, 9, 11]
