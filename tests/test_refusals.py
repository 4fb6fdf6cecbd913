"""What cannot be meant is refused in one line, before any work.

Every command line that a demanding user tried, by what it is about; and every
key of a config with values of wrong kinds.
"""

import itertools
import pathlib
import sys

import pytest

from kd_jax import cli, config, identities

QUICK = pathlib.Path(__file__).resolve().parent / 'helpers/quick.py'
CONFIGS = QUICK.parents[2] / 'experiments/configs'
SWEEPS = """

def sweep_two():
  return [{'alpha': 0.1}, {'alpha': 0.9}]

def sweep_none():
  return None

def sweep_int():
  return 3

def sweep_strs():
  return ['a', 'b']

def sweep_numbered():
  return [{3: 1}]

def sweep_raises():
  raise RuntimeError('sweep boom')

def sweep_longname():
  return [{'data.raw_dir': 'long' * 100}]

sweep_notcall = 5
"""


@pytest.fixture(scope='module')
def file(tmp_path_factory) -> str:
  """The quick config with sweeps."""
  path = tmp_path_factory.mktemp('configs') / 'ok.py'
  path.write_text(QUICK.read_text() + SWEEPS)
  return str(path)


def run(capsys, *argv) -> tuple[int, str, str]:
  """Exit code, standard output and error of a command line."""
  capsys.readouterr()
  code = cli.main([*map(str, argv)])
  return code, *capsys.readouterr()


def refused(capsys, words, *argv) -> None:
  """The command line is refused in one line, which has the words."""
  code, out, err = run(capsys, *argv)
  assert (code, out) == (2, ''), err
  assert err.startswith('error: ')
  assert err.count('\n') == 1, err
  for word in words:
    assert word in err


SGD = 'train.optimizer.name=sgd & train.optimizer.options='
CRD = '"method":"crd","layers":[("features","features")]'
VALUES = [
  (
    'precision=half',
    ["unknown precision 'half'", 'bfloat16, float32, highest'],
  ),
  (
    'networks.teacher.precision=bf16',
    ["unknown networks.teacher.precision 'bf16'", "'bfloat16'"],
  ),
  ('networks.teacher.microbatches=5', ['microbatches 5', 'does not divide']),
  # A term that teaches nobody, or nothing.
  ('terms.soft.student=teacher', ["'teacher' teach itself"]),
  ('terms.soft.teacher=student', ["'student' teach itself"]),
  (
    'terms.h={"method":"kd","student":"teacher","teacher":"student"}',
    ["student 'teacher'", 'does not learn', 'student'],
  ),
  ('terms.hard.teacher=teacher', ['labels alone', "teacher='teacher'"]),
  ('terms.soft.teacher=nobody', ["'soft' names an unknown teacher, 'nobody'"]),
  (
    'terms.h={"method":"at","layers":[("hidden1","hidden1")]}',
    ["'at'", 'hidden1', 'one place'],
  ),
  (
    'terms.h={"method":"nst","layers":[("hidden1","hidden1")]}',
    ["'nst'", 'one place'],
  ),
  (
    'alpha=0 & terms.hard.weight=0',
    ["all terms of stage 'student' have the weight 0"],
  ),
  # Training in which nothing moves.
  ('train.optimizer.learning_rate=-1', ['train.optimizer.learning_rate', '-1']),
  ('train.optimizer.accumulate=10000', ['accumulate=10000', '30 steps']),
  ('train.optimizer.schedule.delay=30', ['delay=30', '30 steps']),
  ('train.optimizer.schedule.warmup=31', ['warmup=31', '30 steps', 'peak']),
  (
    'train.optimizer.schedule={"delay":20,"warmup":11}',
    ['warmup=11 after delay=20', '30 steps', 'peak'],
  ),
  (
    'terms.soft.schedule={"weight":{"delay":30}}',
    ["'soft'", 'delay=30', '30 steps'],
  ),
  ('train.optimizer.schedule.warmup=-1', ['train', "'warmup'", '-1']),
  ('train.optimizer.schedule={"name":"step"}', ["'step'", "'boundaries'"]),
  (
    'train.optimizer.schedule={"name":"step","boundaries":[]}',
    ["'boundaries'", 'empty'],
  ),
  (
    'train.optimizer.schedule={"name":"step","boundaries":[0.5,0.1]}',
    ["'boundaries'", 'rise'],
  ),
  (
    'train.optimizer.schedule={"name":"step","boundaries":[1,5]}',
    ["'boundaries'", '(0, 1)'],
  ),
  ('train.optimizer.schedule={"name":"cosine","end":-1}', ["'end'", '-1']),
  ('train.optimizer.schedule={"name":["cosine"]}', ['schedule', 'str']),
  ('train.steps=10000000000', ['train.steps', '2147483647']),
  (
    'train.steps=0 & train.epochs=100000000000',
    ['number of steps', '2147483647'],
  ),
  # Options of the optimizer.
  ('train.optimizer.options.b1=2', ["'b1'", "'adam'", '[0, 1)', '2']),
  ('train.optimizer.options.b1=x', ["'b1'", 'float', "'x'"]),
  ('train.optimizer.options.b2=1.0', ["'b2'", '[0, 1)']),
  ('train.optimizer.options.eps=0', ["'eps'", 'above 0']),
  ('teacher.optimizer.options.eps=[]', ['teacher', "'eps'", 'float']),
  ('train.optimizer.options.momentum=0.9', ["'adam' has no option 'momentum'"]),
  ('train.optimizer.options.decay=3', ["'decay'", 'str']),
  (SGD + '{"momentum":1}', ["'momentum'", '[0, 1)']),
  (SGD + '{"momentum":"x"}', ["'momentum'", 'float', "'x'"]),
  (SGD + '{"nesterov":True}', ['nesterov', 'momentum']),
  ('train.optimizer.options.name=adam', ["'adam' has no option 'name'"]),
  ('train.optimizer.options.clip_norm=1', ['clip_norm', 'optimizer']),
  # Numbers that 32 bits do not hold.
  ('seed=4294967296', ['seed', '4294967295', '4294967296']),
  ('seed=99999999999999999999999', ['seed', '2**63']),
  ('data.seed=-1', ['data.seed', '-1']),
  ('teacher.seed=-4', ['teacher.seed', '-4']),
  ('keep=99999999999999999999', ['keep', '2**63']),
  ('seeds=1000000000', ['seeds', '10000']),
  ('terms.soft.weight=1e39', ['terms.soft.weight', '3.4e+38', '1e+39']),
  ('temperature=1e30', ['temperature', '10000', '1e+30']),
  ('temperature=1e-30', ['temperature', '0.0001', '1e-30']),
  # Hyperparameters and options of methods.
  ('temperature=None', ['temperature', 'float', 'None']),
  ('temperature=True', ['temperature', 'float', 'True']),
  ('temperature=nan', ['temperature', 'float', "'nan'"]),
  ('terms.hard.smoothing=2', ["'smoothing'", "'hard'", '[0, 1)']),
  ('terms.hard.smoothing=-1', ["'smoothing'", '-1']),
  ('terms.h={"method":"cross_entropy","smoothing":2.0}', ["'smoothing'"]),
  ('terms.h={"method":"kd","standardize":"x"}', ["'standardize'", 'bool']),
  ('terms.h={"method":"kd","temperature":0}', ["'temperature'", '0.0001']),
  ('terms.h={"method":"generalized_jsd","beta":5.0}', ["'beta'", '[0, 1]']),
  ('terms.h={"method":"dist","beta":"inf"}', ["'beta'", 'float', "'inf'"]),
  ('terms.h={"method":"dist","beta":-1}', ["'beta'", 'at least 0']),
  ('terms.h={"method":"mlld","temperatures":()}', ["'temperatures'", 'empty']),
  (
    'terms.h={"method":"mlld","temperatures":[0]}',
    ["'temperatures'", '0.0001'],
  ),
  ('terms.h={"method":"mlld","temperatures":4}', ["'temperatures'", 'list']),
  ('terms.h={"method":"topk_kd","k":100}', ['k=100', '10 classes']),
  ('terms.h={"method":"topk_kd","k":0}', ["'k'", 'at least 1']),
  ('terms.h={' + CRD + ',"negatives":-3}', ["'negatives'", 'at least 1']),
  ('terms.h={' + CRD + ',"temperature":0}', ["'temperature'"]),
  ('terms.h={' + CRD + ',"momentum":1}', ["'momentum'", '[0, 1)']),
  ('terms.h={"method":"rkd","layers":5}', ['layers=[', '5']),
  ('terms.h={"method":"rkd","layers":[5]}', ['layers=[', '[5]']),
  ('terms.h={"method":"rkd","layers":[(1,2)]}', ['layers=[', '1, 2']),
  ('terms.h={"method":["kd"]}', ['terms.h.method', 'str', 'list']),
  ('terms.soft.teacher=5', ['terms.soft.teacher', 'str', '5']),
  ('terms.soft.name=kd', ["method 'kd' has no option 'name'"]),
  ('terms.h={' + CRD + ',"examples":[1]}', ["'crd' has no option 'examples'"]),
  ('terms.soft.schedule=5', ['terms.soft.schedule', 'dict', '5']),
  ('terms.soft.schedule={"weight":5}', ["schedule of 'weight'", 'dict', '5']),
  ('terms.soft=3', ['terms.soft', 'dict', '3']),
  ('terms=[]', ['terms', 'dict']),
  # Networks.
  ('networks.student={}', ["'student'", 'needs a name or a folder']),
  ('networks.student={"load":5}', ['networks.student.load', 'str', '5']),
  ('networks.teacher={"load":""}', ["'teacher'", 'needs a name or a folder']),
  ('networks.teacher={"load":"gs://b/x"}', ['load', 'local', 'gs://b/x']),
  ('networks.teacher=None', ['networks.teacher', 'dict', 'None']),
  ('networks.student.inputs=(3,3,3)', ["'student' has no option 'inputs'"]),
  ('networks.student.depth=3', ["'mlp' has no option 'depth'"]),
  ('networks.student.dropout=2', ['networks.student', 'dropout', '2']),
  ('networks.student.exits=3', ["'exits'", 'list of str', '3']),
  ('networks.student.branches={"layer":3}', ["'layer'", 'str', '3']),
  ('networks.a/b={"name":"mlp"}', ['networks', "'a/b'", 'folder']),
  ('networks. ={"name":"mlp"}', ['networks', 'folder']),
  ('networks.@={"name":"mlp"}', ['networks', "'@'"]),
  ('networks=3', ['networks', 'dict']),
  # Schemes and views.
  (
    'scheme={"name":"ensemble","teachers":["a","b"]}',
    ["unknown network 'a'", 'teacher'],
  ),
  (
    'scheme={"name":"ensemble","teachers":["teacher","student"]}',
    ["teacher='ensemble'"],
  ),
  ('scheme={"name":"ensemble","teachers":3}', ["'teachers'", 'list of str']),
  ('scheme={"name":"born_again"}', ["teacher='before'"]),
  ('scheme={"name":"born_again","generations":"x"}', ["'generations'", 'int']),
  ('scheme={"name":"offline","student":"nobody"}', ["network 'nobody'"]),
  ('scheme={"name":"offline","student":5}', ["'student'", 'str', '5']),
  ('scheme={"name":"progressive","chain":["teacher",3]}', ["'chain'"]),
  ('scheme.cast=3', ["'offline' has no option 'cast'"]),
  ('scheme={}', ['scheme.name']),
  ('scheme=offline', ['scheme', 'dict']),
  ('scheme.name=5', ['scheme.name', 'str', '5']),
  ('views.x=3', ['views.x', 'dict', '3']),
  ('views.x={"sources":[]}', ["view 'x' needs a name"]),
  ('views.x={"name":"mean_probs"}', ['views.x', "needs the option 'sources'"]),
  ('views.x={"name":"mean_probs","sources":[]}', ['views.x', 'empty']),
  ('views.x={"name":"mean_probs","sources":"ab"}', ['views.x', 'list of str']),
  # Data.
  ('data=None', ['data', 'dict', 'None']),
  ('data={"name":"digits"}', ["lacks 'data.seed'"]),
  ('data.mean=3', ["'mean'", 'list of float', '3']),
  ('data.std=nan', ["'std'", 'list of float', "'nan'"]),
  ('data.train_only=3', ["'train_only'", 'list of int', '3']),
  ('data.data_dir=3', ["'data_dir'", 'str', '3']),
  ('data.raw_dir=3', ["'raw_dir'", 'str', '3']),
  ('data.raw_dir=s3://b/x', ["'raw_dir'", 'local', 's3://b/x']),
  ('data.data_dir=gs://b/x', ["'data_dir'", 'local', 'gs://b/x']),
  ('data.validation=1', ['validation=1', '10 classes']),
  ('data.validation=2', ['validation=2', '10 classes']),
  ('data.validation=0.003', ['validation=0.003', ' 4 examples of 10 classes']),
  ('data.validation=0 & select=best', ["select='best'", 'data.validation']),
  ('data.validation=[]', ['validation=[]']),
  ('data.name=["digits"]', ['data.name', 'str']),
  # The cache of teacher outputs.
  ('cache.top_k=-1', ['cache.top_k', '-1']),
  ('cache.dtype=int4', ['int4', 'int8']),
  ('cache.outputs=()', ['cache.outputs', 'empty']),
  ('cache.outputs=(3,)', ['cache.outputs', 'str']),
  ('cache.folder=gs://b/x', ['cache.folder', 'local', 'gs://b/x']),
  # The loop.
  ('log_every=-1', ['log_every', '-1']),
  ('train.augment=(3,)', ['augmentation 3']),
  ('train.augment=({"name":"shift","pixels":"x"},)', ["'pixels'", 'int']),
  ('train.augment=flip', ['train.augment', 'list', "'flip'"]),
  ('train.batch_size=None', ['train.batch_size', 'int', 'None']),
  ('train=3', ['train', 'dict', '3']),
  ('train={}', ["lacks 'train."]),
  ('train.optimizer=None', ['train.optimizer', 'dict', 'None']),
]


@pytest.mark.parametrize('change, words', VALUES)
def test_a_value_of_a_config(change, words, file, capsys, tmp_path):
  argv = ['--config', file]
  argv += [f'--config.{part}' for part in change.split(' & ')]
  refused(capsys, words, *argv, '--dry_run')
  refused(capsys, words, *argv, '--workdir', tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


FILES = [
  # What a file raises: one line with the file, the line and the type.
  ('import not_a_module_xyz', [':1: ModuleNotFoundError', 'not_a_module_xyz']),
  ('\nundefined_thing', [":2: NameError: name 'undefined_thing'"]),
  (
    "raise RuntimeError('boom at import')",
    [':1: RuntimeError: boom at import'],
  ),
  ('import sys\nsys.exit(7)', [':2: SystemExit: 7']),
  ('x = = 1', [':1: SyntaxError: invalid syntax']),
  ('def get_config():\n  assert False', [':2: AssertionError']),
  ('def get_config():\n  return [][0]', [':2: IndexError: list index']),
  ('def get_config():\n  return 1 / 0', [':2: ZeroDivisionError']),
  ('x = 3\ndef get_config():\n  x()', [":3: TypeError: 'int' object is not"]),
  ('def get_config():\n  return {}["a"]', [':2: KeyError: a']),
  (
    'def deeper():\n  raise OSError("no")\n\ndef get_config():\n  deeper()',
    [':2: OSError: no'],
  ),
  (
    'import json\ndef get_config():\n  return json.loads("{")',
    [':3: JSONDecodeError'],
  ),
  (
    'from kd_jax import config\ndef get_config():\n  c = config.default()\n'
    '  c.alhpa = 1.0\n  return c',
    [':4: AttributeError', 'alhpa', 'alpha'],
  ),
  (
    'from kd_jax import config\ndef get_config():\n  c = config.default()\n'
    '  c.seed = "x"\n  return c',
    [':4: TypeError', 'seed'],
  ),
  # What is no config.
  ('', ['has no get_config()']),
  ('get_config = 5', ['get_config', 'must be a function', '5']),
  ('def get_config():\n  pass', ['get_config()', 'NoneType', 'default()']),
  (
    'import ml_collections\ndef get_config():\n'
    '  return ml_collections.ConfigDict({"seed": 1})',
    ["the config lacks 'alpha'", 'default()'],
  ),
  (
    'from kd_jax import config\ndef get_config():\n  c = config.default()\n'
    '  with c.unlocked():\n    c.new = 1\n  return c',
    ["unknown config key 'new'"],
  ),
  (
    'from kd_jax import config\ndef get_config():\n  c = config.default()\n'
    '  c.data = None\n  return c',
    ['data must be of type dict', 'None'],
  ),
  (
    'from kd_jax import config\ndef get_config():\n  c = config.default()\n'
    '  c.terms.hard = {3: 4, "method": "kd"}\n  return c',
    ['terms.hard has keys of several types', 'str'],
  ),
]


@pytest.mark.parametrize('text, words', FILES, ids=lambda x: str(x)[-40:])
def test_a_config_file(text, words, capsys, tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text(text)
  refused(capsys, words, '--config', path, '--dry_run')


def test_a_config_file_that_is_none(capsys, tmp_path):
  readme = QUICK.parents[2] / 'README.md'
  words = ['README.md', '.py']
  refused(capsys, words, '--config', readme, '--dry_run')
  binary = tmp_path / 'binary.py'
  binary.write_bytes(bytes(range(256)))
  refused(capsys, [str(binary)], '--config', binary, '--dry_run')
  refused(capsys, ['config file', 'NUL'], '--config', 'a\0b', '--dry_run')
  refused(capsys, ['gs://b/x.py'], '--config', 'gs://b/x.py', '--dry_run')
  refused(capsys, ['unknown config file'], '--config', tmp_path, '--dry_run')


@pytest.mark.parametrize(
  'name, arg',
  [
    ('digits', 'foo'),
    ('digits_online', 'foo'),
    ('digits_mutual', 'bad'),
    ('digits_methods', 'kdd'),
    ('digits_progressive', 'x'),
    ('classical', 'x'),
    ('digits_born_again', 'x'),
    ('mnist_hinton', 'no_4'),
  ],
)
def test_an_argument_of_a_config(name, arg, capsys):
  path = f'{CONFIGS / name}.py:{arg}'
  refused(capsys, [f'{name}.py', arg], '--config', path, '--dry_run')


OPTIONS = [
  ('--sweep alpha=0.1,0.9 --search optuna', ['no search_space()']),
  ('--search optuna --executor process', ['--search', '--executor']),
  ('--sweep alpha=0.1,0.9 --search optuna --halving 2', ['--halving']),
  ('--list --search optuna', ['--search', '--list']),
  ('--list --status --sweep two', ['--list', '--status']),
  ('--trials 3', ['--trials needs --search']),
  ('--search optuna --trials 0', ['--trials', 'at least 1', '0']),
  ('--trials -5', ['--trials']),
  ('--halving 2', ['--halving needs --sweep']),
  ('--sweep two --halving 1', ['halving', 'at least 2']),
  (
    '--sweep data.validation=10,0 --halving 2',
    ['--halving ranks', 'data.validation'],
  ),
  ('--sweep two --executor process --halving 2', ['--halving needs']),
  ('--retry', ['--retry needs --executor process or slurm']),
  ('--sweep two --retry', ['--retry needs']),
  ('--sweep two --workers 2', ['--workers needs']),
  ('--sweep two --executor process --workers -1', ['--workers', '-1']),
  ('--sweep two --executor process --lanes 2', ['--lanes needs']),
  ('--sweep two --executor process --partition x', ['--partition needs']),
  ('--sweep two --gpus 1 --time 3', ['--time and --gpus need']),
  ('--sweep two --executor slurm --gpus -1', ['--gpus', '-1']),
  ('--sweep two --shelf x', ['--shelf needs a single run']),
  ('--status', ['--status needs --sweep']),
  ('--executor process', ['--executor needs --sweep']),
  ('--lanes -1', ['--lanes', '-1']),
  ('--lanes x', ['--lanes', "'x'"]),
  ('--strategy vmpa', ['--strategy', "'vmpa'", 'vmap']),
  ('--seeds 0', ['--seeds', 'at least 1']),
  ('--seed 3', ["unknown argument '--seed'", '--seeds']),
  ('extra', ["unknown argument 'extra'", '--config.key=value']),
  ('--config.seed', ['--config.seed', '--config.key=value']),
  ('--config.alhpa=1', ["unknown config key 'alhpa'", "'alpha'"]),
  ('--config.=1', ['config key']),
  ('--workdir', ['--workdir', 'one argument']),
]


@pytest.mark.parametrize('text, words', OPTIONS)
def test_options(text, words, file, capsys):
  if 'optuna' in text:
    pytest.importorskip('optuna')
  refused(capsys, words, '--config', file, '--dry_run', *text.split())


@pytest.mark.parametrize('option', ['--workdir', '--shelf'])
@pytest.mark.parametrize(
  'path, word',
  [
    ('', 'empty'),
    ('a\0b', 'NUL'),
    *((f'{scheme}/b/x', 'local') for scheme in ('gs:/', 's3:/', 'hdfs:')),
  ],
)
def test_a_path_that_is_none_of_this_machine(option, path, word, file, capsys):
  words = [option, word]
  refused(capsys, words, '--config', file, '--dry_run', option, path)


def test_what_is_missing(file, capsys):
  refused(capsys, ['--config'], '--dry_run')
  refused(capsys, ['--workdir is required', 'folder'], '--config', file)


SWEPT = [
  ('none', ['sweep_none()', 'list of dict', 'None']),
  ('int', ['sweep_int()', 'list of dict', '3']),
  ('strs', ['sweep_strs()', 'dict', "'a'"]),
  ('numbered', ['sweep_numbered()', 'str', '3']),
  ('raises', ['ok.py:', 'RuntimeError: sweep boom']),
  ('notcall', ['sweep_notcall', 'must be a function', '5']),
  ('tow', ["unknown sweep 'tow'", "'two'"]),
  ('two,two', ["'alpha' is in two sweeps"]),
  (',', ['empty sweep', 'two']),
  ('alpha=0:1:1000000000', ['1,000,000,000', '10,000']),
  ('alpha=0:1:200;beta=0:1:200', ['40,000', '10,000']),
  ('alpha=0:1:x', ["'0:1:x' is not of the form low:high:count"]),
  ('alpha=nan:1:3', ["'nan:1:3'", 'finite']),
  ('alpha=0:1:0', ['empty']),
  ('alpha=0.1,2', ['alpha', '[0, 1]', '2']),
  ('seeds=9999,9999', ['folder']),
  ('data.name=digits,nope', ["unknown data set 'nope'"]),
  ('terms.soft.method=kd,nope', ["unknown method 'nope'"]),
  ('terms.soft.teacher=teacher,student', ['teach itself']),
  ('networks.student.name=mlp,nope', ["unknown network 'nope'"]),
  ('train.optimizer.options.b1=0.9,x', ["'b1'"]),
  ('train.optimizer.accumulate=1,10000', ['accumulate=10000']),
  ('arg=foo', ['ok.py:', 'ValueError: could not convert', 'foo']),
  ('alhpa=1,2', ["unknown config key 'alhpa'"]),
  ('beta=1,2', ["'beta=1' and 'beta=2'", 'same experiment']),
  ('alpha=0.5,0.9,0.50', ["'alpha=0.5' and 'alpha=0.50'", 'same experiment']),
  ('train.epochs=1,2;temperature=4,4.0', ["=4.0,train.epochs=1'", 'same']),
]


@pytest.mark.parametrize('text, words', SWEPT)
def test_every_setting_of_a_sweep_is_built(text, words, file, capsys, tmp_path):
  start = '--config', file, '--sweep', text
  refused(capsys, words, *start, '--dry_run')
  refused(capsys, words, *start, '--workdir', tmp_path / 'sweep')
  away = '--executor', 'process', '--workdir', tmp_path / 'sweep'
  refused(capsys, words, *start, *away)
  assert not (tmp_path / 'sweep').exists()


def test_all_the_runs_of_a_sweep_are_counted(file, capsys):
  words = ['20,000 runs', '10,000']
  options = '--dry_run', '--sweep', 'two', '--seeds', '10000'
  refused(capsys, words, '--config', file, *options)


SPACES = [
  ('return None', ['search_space()', 'dict', 'None']),
  ('return {}', ['search_space()', 'empty']),
  ('return {"alpha": 3}', ["'alpha'", '3', 'sweep.uniform']),
  ('return {3: sweep.uniform(0, 1)}', ['key', 'str']),
  ('return 1 / 0', ['ZeroDivisionError']),
  ('return {"alpha": sweep.uniform(1, 0)}', ['uniform needs low <= high']),
  ('return {"alpha": sweep.uniform("a", 1)}', ['low of uniform', "'a'"]),
  ('return {"alpha": sweep.choice()}', ['choice', 'empty']),
  ('return {"alhpa": sweep.uniform(0, 1)}', ["unknown config key 'alhpa'"]),
  ('return {"alpha": sweep.uniform(0, 2)}', ['alpha', '[0, 1]', '2']),
  (
    'return {"data.validation": sweep.choice(10, 0)}',
    ['--search ranks', 'data.validation'],
  ),
  (
    'return {"terms.soft.method": sweep.choice("kd", "nope")}',
    ["unknown method 'nope'"],
  ),
]


@pytest.mark.parametrize('text, words', SPACES)
def test_the_ends_of_a_search_are_built(text, words, capsys, tmp_path):
  pytest.importorskip('optuna')
  path = tmp_path / 'mine.py'
  space = f'\n\ndef search_space():\n  from kd_jax import sweep\n  {text}\n'
  path.write_text(QUICK.read_text() + space)
  start = '--config', path, '--search', 'optuna'
  refused(capsys, words, *start, '--dry_run')
  refused(capsys, words, *start, '--workdir', tmp_path / 'search')
  assert not (tmp_path / 'search').exists()


def test_a_search_that_can_be_is_shown(capsys, tmp_path):
  pytest.importorskip('optuna')
  path = CONFIGS / 'digits.py'
  code, out, _ = run(
    capsys, '--config', path, '--search', 'optuna', '--dry_run', '--trials', 3
  )
  assert code == 0
  assert 'alpha: uniform 0.1 to 1' in out


DAMAGED = ['[1,2]', 'null', '{not json', '', '\x80']


@pytest.mark.parametrize('text', DAMAGED)
def test_a_workdir_whose_config_is_damaged(text, file, capsys, tmp_path):
  for options, name in (
    ([], 'config.json'),
    (['--sweep', 'two'], 'sweep_config.json'),
  ):
    folder = tmp_path / name
    folder.mkdir()
    (folder / 'inputs.json').write_text('{}')
    (folder / name).write_bytes(text.encode('latin1'))
    words = [str(folder / name)]
    refused(capsys, words, '--config', file, '--workdir', folder, *options)


def test_a_workdir_whose_config_is_a_folder(file, capsys, tmp_path):
  (tmp_path / 'run/config.json').mkdir(parents=True)
  (tmp_path / 'run/inputs.json').write_text('{}')
  words = ['run/config.json']
  refused(capsys, words, '--config', file, '--workdir', tmp_path / 'run')


def test_a_sweep_in_the_folder_of_a_run(file, capsys, tmp_path):
  (tmp_path / 'config.json').write_text('{')
  words = ['single run']
  options = '--workdir', tmp_path, '--sweep', 'two'
  refused(capsys, words, '--config', file, *options)


@pytest.mark.parametrize(
  'text', ['[]', '{}', '{"hash": 3}', '{"hash": "x", "build": 3}']
)
def test_a_network_whose_spec_was_edited(text, file, capsys, tmp_path):
  (tmp_path / 'network.json').write_text(text)
  (tmp_path / 'variables.msgpack').write_bytes(b'\x80')
  change = f'--config.networks.teacher={{"load":"{tmp_path}"}}'
  words = [str(tmp_path), 'damaged']
  refused(capsys, words, '--config', file, '--dry_run', change)


def test_the_progress_of_no_sweep(file, capsys, tmp_path):
  start = '--config', file, '--sweep', 'two', '--status', '--workdir'
  refused(capsys, ['does not exist'], *start, tmp_path / 'neverthere')
  refused(capsys, ['/etc/passwd', 'not a folder'], *start, '/etc/passwd')
  refused(capsys, ['/etc', 'something else'], *start, '/etc')
  code, out, _ = run(capsys, *start, tmp_path)
  assert code == 0
  assert '2 not started' in out


def test_a_cache_that_cannot_be_a_folder(file, capsys, tmp_path):
  (tmp_path / 'file').write_text('mine')
  for folder in ('/etc/passwd', tmp_path / 'file/deeper'):
    changes = [
      '--config.teacher_outputs=cache',
      '--config.train.augment=()',
      f'--config.cache.folder={folder}',
    ]
    words = [str(folder), 'is a file']
    refused(capsys, words, '--config', file, '--dry_run', *changes)


ACCEPTED = [
  '--list',
  '--list --sweep two',
  '--list --sweep longname',
  '--sweep longname',
  '--sweep seeds=1,2',
  '--sweep alpha=0.1;;',
  '--sweep arg=2,3',
  '--sweep two --executor process --workers 2 --workdir nowhere',
  '--sweep two --strategy loop --lanes 2 --halving 2',
  '--sweep data.limit=300,320',
  '--sweep select=last,best;eval_every=3,4',
  '--sweep temperature=1,2;beta=3',
  '--sweep seed=0,1;seeds=2',
  '--sweep precision=float32,bfloat16;steps_at_once=0,2',
  '--config.data.train_only=()',
  '--config.data.validation=10',
  '--config.data.validation=0',
  '--config.data.raw_dir=somewhere',
  '--config.log_every=0',
  '--config.parallel=pmap',
  '--config.seed=4294967295',
  '--config.train.optimizer.schedule={}',
  '--config.train.optimizer.schedule={"warmup":5}',
  '--config.train.optimizer.schedule={"name":"step","boundaries":[0.5]}',
  '--config.terms.h={"method":"topk_kd","k":10}',
  '--config.terms.h={"method":"kd","temperature":1}',
  '--config.networks.extra={"name":"mlp"}',
  '--config.networks.extra={"name":"mlp","load":""}',
  '--config.networks.студент={"name":"mlp"}',
  '--config.networks.student={"name":"resnet8"}',
  '--config.scheme={"name":"online"}',
  '--config.cache.top_k=3',
]


@pytest.mark.parametrize('text', ACCEPTED)
def test_what_can_be_meant_is_accepted(text, file, capsys):
  code, out, err = run(
    capsys, '--config', file, '--dry_run', *text.split(maxsplit=10)
  )
  assert (code, err) == (0, '')
  assert out


def test_a_list_that_nobody_reads_to_its_end(file, monkeypatch, capsys):
  """`--list | head` closes the pipe."""

  class Closed:
    def write(self, text):
      raise BrokenPipeError(32, 'Broken pipe')

    def flush(self):
      raise BrokenPipeError(32, 'Broken pipe')

    def fileno(self):
      raise OSError('no file')

  monkeypatch.setattr(sys, 'stdout', Closed())
  assert cli.main(['--config', file, '--list', '--sweep', 'two']) == 0
  assert capsys.readouterr().err == ''


WRONG = [None, 'x', -1, [], {}]
KEYS = sorted(identities.flatten(config.read(str(QUICK)).to_dict()))
TREES = ['train', 'train.optimizer', 'data', 'networks', 'terms', 'views']


@pytest.mark.parametrize('key', [*KEYS, *TREES])
def test_no_wrong_kind_is_a_traceback(key, file, capsys):
  """Some of the values at every key; which ones depends on the key alone."""
  start = sum(map(ord, key))
  for value in itertools.islice(itertools.cycle(WRONG), start, start + 2):
    argv = '--config', file, '--dry_run', f'--config.{key}={value!r}'
    code, _, err = run(capsys, *argv)
    assert code in (0, 2)
    assert err.count('\n') == (code == 2), err
