"""Writes the model card of an exported student, a page of Markdown."""

from collections.abc import Mapping
from typing import Any

from kd_jax import tasks
from kd_jax.compare import table
from kd_jax.export import meta as meta_of
from kd_jax.export import parity as compared
from kd_jax.export import source
from kd_jax.models import base

UNSTATED = 'unknown'
UNSIGNED = (
  ' All 8-bit numbers in the file are unsigned, so that a default session '
  'gives the same logits on x86 processors with and without VNNI.'
)
DYNAMIC = (
  'Weights are 8-bit, of a scale for each output channel; activations are '
  'rounded to 8 bits as they come, with the range of their batch.'
)
TIMES = (
  'Times are medians of repeated calls, in brackets the middle half of the '
  'calls, on the machine that wrote this file with whatever else it was doing '
  'then. Measure again on the machine that will run the file.'
)


def card(
  student: source.Student,
  meta: Mapping[str, Any],
  parity: Mapping[str, Any],
  license: str = '',
) -> str:
  """The card as Markdown.

  Args:
    student: that was exported.
    meta: content of meta.json.
    parity: content of parity.json.
    license: of the weights; '' where it is not stated.
  """
  parts = [
    f'---\nlicense: {license or UNSTATED}\ntags: [knowledge-distillation]\n---',
    f'# {student.spec["build"]["name"]}, {meta["format"]}',
    _network(student, meta),
    _data(student, meta),
    training(student),
    _numbers(student),
    _parity(parity, meta),
    '## License\n\n'
    + (license or 'Not stated: whoever publishes the weights fills this in.'),
  ]
  return '\n\n'.join(filter(None, parts)) + '\n'


def of_text(
  student: source.Student,
  meta: Mapping[str, Any],
  parity: Mapping[str, Any],
  license: str = '',
) -> str:
  """The card of a network for text; arguments as of `card`."""
  library = 'library_name: transformers\n'
  hub = library if meta['format'] == 'huggingface' else ''
  inputs = ', '.join(
    f'`{x["name"]}` [{", ".join(map(str, x["shape"]))}], {x["dtype"]}'
    for x in meta['inputs']
  )
  lines = [
    ('', ''),
    ('network', f'`{student.spec["build"]}`'),
    ('parameters', f'{base.num_params(student.variables):,}'),
    ('hash', f'`{student.spec["hash"]}`'),
    ('file', f'{parity["summary"]}; {meta["weights"]}'),
    ('inputs', inputs),
    ('tokenizer', meta['prepare']['tokenizer'] or 'not known here'),
    ('output', f'logits of {meta["classes"]} classes, {meta["predicts"]}'),
  ]
  parts = [
    f'---\nlicense: {license or UNSTATED}\n{hub}'
    'tags: [knowledge-distillation]\n---',
    f'# {student.spec["build"]["name"]}, {meta["format"]}',
    rows(lines),
    training(student),
    DYNAMIC if meta['weights'] == 'int8' else '',
    *(
      (_data(student, meta), _numbers(student), _parity(parity, meta))
      if meta['data']
      else (_speed(parity['latency']), TIMES)
    ),
  ]
  return '\n\n'.join(filter(None, parts)) + '\n'


def rows(cells) -> str:
  """A Markdown table whose first row is the head."""
  lines = ['| ' + ' | '.join(map(str, row)) + ' |' for row in cells]
  rule = '|' + '---|' * len(cells[0])
  return '\n'.join([lines[0], rule, *lines[1:]])


def _network(student, meta) -> str:
  (images,) = meta['inputs']
  shape, out = (
    ', '.join(map(str, x['shape'])) for x in (images, meta['output'])
  )
  teachers = source.teachers(student)
  lines = [
    ('', ''),
    ('network', f'`{student.spec["build"]}`'),
    ('parameters', f'{base.num_params(student.variables):,}'),
    ('hash', f'`{student.spec["hash"]}`'),
    ('file', f'`{meta["file"]}`, {meta["weights"]}'),
    (
      'input',
      f'`{images["name"]}` [{shape}], float32, prepared: '
      f'`{meta["prepare"]["formula"]}`, see meta.json',
    ),
    (
      'output',
      f'`{meta["output"]["name"]}` [{out}], of {meta["classes"]} classes',
    ),
    *(
      (
        f'teacher `{row}`',
        f'`{teacher.spec["build"]}`, {base.num_params(teacher.variables):,} '
        f'parameters, hash `{teacher.spec["hash"]}`',
      )
      for row, teacher in teachers.items()
    ),
  ]
  return '## Network\n\n' + rows(lines)


def _data(student, meta) -> str:
  noted = student.spec.get('data', {})
  text = f'Tested on `{meta["data"]["name"]}`'
  if noted:
    text += (
      f'; trained on `{noted.get("name")}`, fingerprint '
      f'`{noted.get("fingerprint")}`'
    )
  return f'## Data\n\n{text}.'


def training(student: source.Student) -> str:
  """Method and hyperparameters; '' of a network without a run."""
  config, spec = student.config, student.spec
  if not config:
    return ''
  terms = [
    (
      name,
      term.get('method'),
      f'{term.get("weight", 1.0):g}',
      ', '.join(
        f'{k}={v}'
        for k, v in sorted(term.items())
        if k not in ('method', 'weight')
      )
      or '-',
    )
    for name, term in sorted(config.get('terms', {}).items())
  ]
  train = config.get('train', {})
  recipe = {
    'scheme': config.get('scheme', {}).get('name'),
    'seed': spec.get('seed'),
    'steps': spec.get('steps'),
    'batch size': train.get('batch_size'),
    'optimizer': train.get('optimizer', {}).get('name'),
    'learning rate': train.get('optimizer', {}).get('learning_rate'),
    'selected': spec.get('select'),
  }
  return '\n\n'.join(
    [
      '## Training',
      rows([('term', 'method', 'weight', 'options'), *terms]),
      rows([('', ''), *recipe.items()]),
    ]
  )


def _numbers(student) -> str:
  """The table of the run's report; '' of a run without one."""
  if not student.report:
    return ''
  seeds = student.report.get('seeds', 1)
  count = f'{seeds} seeds' if seeds > 1 else 'one seed'
  return (
    f'## Results\n\nOf the run, {count}; the exported network is that of seed '
    f'{student.spec.get("seed")}.\n\n```\n{table.table(student.report)}\n```'
  )


def _parity(parity, meta) -> str:
  """The comparison of the file with the network."""
  task = tasks.task_of(parity)
  differ = _logits(parity)
  each = '' if task.prediction == 'image' else f' of a {task.prediction}'
  scores, unit = parity[task.score], f', {task.unit}' if task.unit else ''
  lines = [
    ('', ''),
    (
      'test images' if meta['predicts'] in meta_of.OF_IMAGES else 'test texts',
      parity['examples'],
    ),
    *differ,
    (f'{compared.agreed(task)}{each}, %', f'{100 * parity["agreement"]:.2f}'),
    (
      f'{task.title} of the file{unit}',
      f'{task.factor * scores["exported"]:.2f} (95 %: '
      f'{table.interval(task)(scores["interval"])})',
    ),
    (f'{task.title} in JAX{unit}', f'{task.factor * scores["jax"]:.2f}'),
    ('size', table.size(parity['bytes'])),
    ('ran in', f'{parity["runtime"]}, default options'),
  ]
  return '\n\n'.join(
    [
      '## The file beside the network',
      rows(lines),
      _speed(parity['latency']),
      ('Differences are relative to the largest logit.' if differ else '')
      + (UNSIGNED if meta['weights'] == 'int8' else ''),
      TIMES,
    ]
  )


def _logits(parity) -> list[tuple]:
  """Rows of how far logits are off; none of a file that gives classes."""
  if 'logits' not in parity:
    return []
  return [
    (f'{key} difference of logits', f'{parity["logits"][key]:.2g}')
    for key in ('largest', 'mean')
  ]


def _speed(times) -> str:
  """The table of times."""
  speed = [('milliseconds', *(f'batch of {n}' for n in times['jax']))]
  latency = {'exported file': times['exported'], 'student in JAX': times['jax']}
  latency |= {f'{row} in JAX': t for row, t in times['teachers'].items()}
  speed += [
    (name, *map(table.milliseconds, of_batches.values()))
    for name, of_batches in latency.items()
  ]
  return rows(speed)
