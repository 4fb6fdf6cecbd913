"""A small run that is compared: made-up data, networks that never trained."""

import functools
import json
import pathlib
import tempfile

import jax
import numpy as np

from kd_jax import build, checkpoint, compare, config, network_files, report
from kd_jax.compare import seeds
from kd_jax.data import sources

TEST = 301  # no multiple of a batch
NAMES = {'teacher': 'teacher', 'baseline': 'student', 'student': 'student'}


def data(calls: list | None = None):
  """Six classes of images 4x4x1; `calls` notes when test is read."""
  rng = np.random.default_rng(0)

  def split(size):
    labels = rng.integers(0, 6, size).astype(np.int32)
    images = rng.integers(0, 256, (size, 4, 4, 1)).astype(np.uint8)
    return images, labels

  train, test = split(64), split(TEST)

  def read():
    if calls is not None:
      calls.append(1)
    return test

  return sources.make_data('arrays', train=train, test=read, classes=6)


def settings(**networks):
  """A config of a teacher and a student, both small."""
  c = config.default()
  c.networks.teacher = dict(name='mlp', widths=[32])
  c.networks.student = dict(name='mlp', widths=[8])
  c.networks.update(networks)
  c.terms.hard = dict(method='cross_entropy', weight=0.1)
  c.terms.soft = dict(method='kd', weight=0.9, temperature=4.0)
  c.train.batch_size = c.teacher.batch_size = 16
  c.parallel = 'one'
  return c


def experiment(calls: list | None = None, **networks):
  """The experiment of `settings`."""
  return build.make_experiment(settings(**networks), data(calls))


def variables(of, names=NAMES, seed: int = 0) -> dict:
  """{row: initial variables of its network}, another draw for each row."""
  inputs = build.example_inputs(of.data)
  return {
    row: jax.device_get(
      of.networks[name].init(jax.random.key(100 * seed + k), inputs)
    )
    for k, (row, name) in enumerate(names.items())
  }


def rows(seed: int = 0, epochs: int = 3) -> list[dict]:
  """What a training of the three networks might have written."""
  made = []
  for stage in ('teacher', 'baseline', 'student'):
    who = 'teacher' if stage == 'teacher' else 'student'
    losses = ('loss/hard', 'loss/soft')[: 1 + (stage == 'student')]
    for epoch in range(1, epochs + 1):
      made.append(
        {
          'stage': stage,
          'step': 4 * epoch,
          'epoch': float(epoch),
          'loss': 2.0 / epoch,
          **dict.fromkeys(losses, 3.0 / epoch),
          f'accuracy/{who}': 0.2 * epoch,
          'learning_rate': 1e-3,
          f'validation_accuracy/{who}': 0.15 * epoch + seed / 99,
          f'validation_nll/{who}': 1.0 / epoch,
        }
      )
  return made


def run(folder: pathlib.Path, seed: int = 0, calls: list | None = None) -> dict:
  """A compared run in `folder`; returns its report."""
  folder.mkdir(parents=True, exist_ok=True)
  of = experiment(calls)
  found = variables(of, seed=seed)
  checkpoint.write_json(folder / 'config.json', of.config)
  (folder / 'command.txt').write_text('python -m experiments.launch --x\n')
  checkpoint.write_json(folder / 'environment.json', {'jax': '0', 'git': '1'})
  text = ''.join(json.dumps(row) + '\n' for row in rows(seed))
  (folder / 'metrics.jsonl').write_text(text)
  for row, value in found.items():
    place = folder / 'networks' / row
    network_files.save_network(place, value, {})
    best = variables(of, seed=seed + 50)[row]
    network_files.save_network(place.with_name(f'{row}_best'), best, {})
  made = compare.run(of, found, folder)
  report.write(folder)
  return made


@functools.cache
def shared() -> tuple[pathlib.Path, list]:
  """A folder of two compared seeds, made once; how often test was read."""
  folder, calls = pathlib.Path(tempfile.mkdtemp(prefix='compared')), []
  folders = [folder / f'seed_{k}' for k in range(2)]
  for k, place in enumerate(folders):
    run(place, k, calls if k == 0 else None)
  copy = (folders[0] / 'config.json').read_text()
  (folder / 'config.json').write_text(copy)
  seeds.combine(folder, folders)
  report.write(folder)
  return folder, calls
