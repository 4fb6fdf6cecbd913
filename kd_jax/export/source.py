"""Which network is exported, its teachers, and the data that it saw."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import build, checkpoint, config, types
from kd_jax.compare import results
from kd_jax.data import sources
from kd_jax.models import base, fake_quant

STUDENT, TEACHER = 'student', 'teacher'


class Student(NamedTuple):
  """A finished network, and the run that made it where there is one.

  Attributes:
    folder: of the network.
    network: as it was trained.
    variables: of it.
    spec: its network.json.
    run: the folder of its run (of its seed); None for a network alone.
    config: of the run, as JSON; {} likewise.
    report: of the run, over all its seeds; {} likewise, or where the run has
      not been compared yet.
  """

  folder: pathlib.Path
  network: base.Network
  variables: types.Variables
  spec: Mapping[str, Any]
  run: pathlib.Path | None
  config: Mapping[str, Any]
  report: Mapping[str, Any]


def load(source: str | os.PathLike, name: str = '') -> Student:
  """The student of a run, or the network of a folder.

  Of several seeds it is the one that is best on validation.

  Args:
    source: a run, a folder of its seeds, or a network's own folder.
    name: of the network in the run; '' is its student.

  Raises:
    ValueError: one line, where there is none.
  """
  source = pathlib.Path(source)
  if (source / checkpoint.SPEC).exists():
    run = source.resolve().parents[1]
    run = run if (run / 'config.json').exists() else None
    return _load(source, run, run)
  if not (source / 'config.json').exists():
    results.read_report(source)  # says what there is instead
  report = _json(source / results.REPORT)
  rows = report.get('rows', ())
  students = [r for r in rows if r in report.get('students', ())]
  name = name or next(iter(students), STUDENT)
  return _load(_finished(source, name), None, source)


def _finished(source: pathlib.Path, name: str) -> pathlib.Path:
  """The folder of the network `name` of a run, of its best seed."""
  places = [source, *sorted(source.glob('seed_*'))]
  found = [
    place / 'networks' / name
    for place in places
    if (place / 'networks' / name / checkpoint.SPEC).exists()
  ]
  if not found:
    known = sorted(
      {
        path.parent.name
        for place in places
        for path in place.glob(f'networks/*/{checkpoint.SPEC}')
      }
    )
    raise ValueError(
      f"no finished network '{name}' in the run {source}; finished are: "
      f'{", ".join(known) or "none"}'
    )
  return max(found, key=lambda folder: _score(folder, found))


def _score(folder, found):
  """Accuracy on validation, the earlier seed first."""
  spec = _json(folder / checkpoint.SPEC)
  scores = spec.get('validation') or {}
  return scores.get(spec.get('select', 'last')) or 0.0, -found.index(folder)


def _load(folder, run, reported) -> Student:
  variables, spec = checkpoint.load_network(folder)
  if 'build' not in spec:
    raise ValueError(f'{folder} does not say how its network is built')
  run = run or (reported and folder.parents[1])
  settings = _json(run / 'config.json') if run else {}
  report = {}
  if reported and (reported / results.REPORT).exists():
    report = results.read_report(reported)
  network = build.make_network(spec['build'])
  return Student(folder, network, variables, spec, run, settings, report)


def _json(path: pathlib.Path) -> dict:
  return checkpoint.read_json(path) if path.exists() else {}


def teachers(student: Student) -> dict[str, Student]:
  """{row: the network} of the teachers that the report compares with."""
  if student.run is None:
    return {}
  row = student.report.get('teacher', TEACHER)
  rows = student.report.get('means', {}).get(row, [row])
  found = {}
  for row in rows:
    loaded = student.config.get('networks', {}).get(row, {}).get('load')
    place = pathlib.Path(loaded or student.run / 'networks' / str(row))
    if (place / checkpoint.SPEC).exists() and place != student.folder:
      found[row] = _load(place, None, None)
  return found


def read_data(student: Student, file: str = '') -> sources.Data:
  """The data set: of a config file, else of the run, else as it was noted.

  Raises:
    ValueError: where no one knows it, or its images do not fit.
  """
  noted = student.spec.get('data', {}).get('name', '')
  if file:
    data = build.make_data(config.read(file))
  elif student.config or noted in sources.SOURCES:
    options = dict(student.config.get('data', {'name': noted}))
    options.pop('seed', None)
    data = sources.make_data(options.pop('name', ''), **options)
  else:
    raise ValueError(
      f'{student.folder} does not say on which data it is tested; give a '
      'config that does: --config FILE'
    )
  return fitting(student, data)


def fitting(student: Student, data: sources.Data) -> sources.Data:
  """The data set, if the network was made for its images and classes."""
  wanted = shape_of(student, data), student.spec['build'].get('classes')
  found = tuple(data.train.inputs.shape[1:]), data.classes
  if wanted != found:
    raise ValueError(
      f'the network in {student.folder} is for images {wanted[0]} of '
      f"{wanted[1]} classes; '{data.name}' has {found[0]} of {found[1]}"
    )
  return data


def shape_of(student: Student, data: sources.Data) -> tuple[int, ...]:
  """[H, W, C] of what the network was built for."""
  told = student.spec['build'].get('inputs')
  return tuple(told or data.train.inputs.shape[1:])


def plain(student: Student) -> Student:
  """The student without the fake quantization that it was trained with."""
  spec = {k: v for k, v in student.spec['build'].items() if k != 'quantize'}
  return student._replace(
    network=build.make_network(spec),
    variables=fake_quant.without(student.variables),
  )


def ranges(student: Student, shape) -> tuple[tuple[float, float], ...]:
  """(low, high) that each layer was trained with, in the order they run."""
  held = student.variables.get(fake_quant.RANGES, {})
  if not held:
    return ()
  bare = plain(student)
  images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  order = fake_quant.layers(bare.network, bare.variables, images)
  return tuple((float(held[k]['low']), float(held[k]['high'])) for k in order)
