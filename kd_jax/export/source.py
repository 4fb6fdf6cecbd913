"""Reads the network that is exported, its run, its teachers and its data."""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import build, checkpoint, config, network_files, tasks, types
from kd_jax.build import stored
from kd_jax.compare import results
from kd_jax.data import sources
from kd_jax.models import base, fake_quant, hugging_face, text

STUDENT, TEACHER = 'student', 'teacher'
CONFIG, NETWORKS = 'config.json', 'networks'


class Student(NamedTuple):
  """A finished network, and the run that trained it where there is one.

  Attributes:
    folder: of the network.
    network: as it was trained.
    variables: of it.
    spec: its network.json.
    run: the folder of its run (of its seed); None for a network alone.
    config: of the run, as JSON; {} for a network alone.
    report: of the run, over all its seeds; {} for a network alone, and for a
      run that has not been compared yet.
  """

  folder: pathlib.Path
  network: base.Network
  variables: types.Variables
  spec: Mapping[str, Any]
  run: pathlib.Path | None
  config: Mapping[str, Any]
  report: Mapping[str, Any]


def load(source: str | os.PathLike, name: str = '') -> Student:
  """Reads the student of a run, or the network of a folder.

  Of several seeds it is the one that is best on validation.

  Args:
    source: a run, a folder of its seeds, or a network's own folder, which may
      be one of Hugging Face.
    name: of the network in the run; '' is its student.

  Raises:
    ValueError: one line, where there is none, or a file is damaged.
  """
  source = pathlib.Path(source)
  if (source / network_files.SPEC).exists() or hugging_face.is_folder(source):
    run = run_of(source)
    return _load(source, run, run)
  if not (source / CONFIG).exists():
    results.read_report(source)  # its message lists the runs that there are
  report = read_report(source)
  students = [
    row for row in report.get('rows', ()) if row in report['students']
  ]
  name = name or next(iter(students), STUDENT)
  folder = _finished(source, name, tasks.task_of(report).better)
  return _load(folder, folder.parents[1], source)


def run_of(folder: pathlib.Path) -> pathlib.Path | None:
  """The run in whose folder of networks this one is, or None."""
  place = folder.resolve()
  if place.parent.name != NETWORKS:
    return None
  run = place.parents[1]
  return run if (run / CONFIG).exists() else None


def _finished(source: pathlib.Path, name: str, better: int) -> pathlib.Path:
  """The folder of the network `name` of a run, of its best seed.

  Args:
    source: the run.
    name: of the network.
    better: 1 where more of the score is better, -1 where less is.
  """
  places = [source, *sorted(source.glob('seed_*'))]
  folders = [
    place / NETWORKS / name
    for place in places
    if (place / NETWORKS / name / network_files.SPEC).exists()
  ]
  if not folders:
    known = sorted(
      {
        path.parent.name
        for place in places
        for path in place.glob(f'{NETWORKS}/*/{network_files.SPEC}')
      }
    )
    raise ValueError(
      f"no finished network '{name}' in the run {source}; finished are: "
      f'{", ".join(known) or "none"}'
    )
  # The first of equals.
  return max(folders, key=lambda folder: better * _score(folder))


def _score(folder: pathlib.Path) -> float:
  """The score of a network on validation; 0 where it is not known."""
  path = folder / network_files.SPEC
  spec = read_json(path)
  with intact(path):
    scores = spec.get('validation') or {}
    return float(scores.get(spec.get('select', 'last')) or 0)


def _load(folder, run, reported) -> Student:
  """Reads a network.

  Args:
    folder: of the network.
    run: that it is in, or None.
    reported: the folder with the report of the run, or None.
  """
  network, variables, spec = stored.load(folder)
  settings = read_json(run / CONFIG) if run else {}
  report = read_report(reported) if reported else {}
  return Student(folder, network, variables, spec, run, settings, report)


@contextlib.contextmanager
def intact(path: pathlib.Path) -> Iterator[None]:
  """Turns what an edited JSON file makes Python raise into one line.

  Raises:
    ValueError: that names the file.
  """
  try:
    yield
  except (AttributeError, LookupError, TypeError, ValueError) as error:
    reason = f'it lacks {error}' if isinstance(error, KeyError) else error
    raise ValueError(f'{path} is damaged: {reason}') from error


def read_json(path: pathlib.Path) -> dict:
  """The object in a JSON file; {} where there is no file.

  Raises:
    ValueError: the file holds something else.
  """
  if not path.exists():
    return {}
  with intact(path):
    content = checkpoint.read_json(path)
    if not isinstance(content, dict):
      raise TypeError(f'it holds a {type(content).__name__} and no object')
  return content


def read_report(folder: pathlib.Path) -> dict:
  """The report of a run; {} of a run without one.

  Raises:
    ValueError: that names report.json, where it is damaged.
  """
  if not (folder / results.REPORT).exists():
    return {}
  return results.read_report(folder)


def teachers(student: Student) -> dict[str, Student]:
  """{row: the network} of the teachers that the report compares with."""
  if student.run is None:
    return {}
  row = student.report.get('teacher', TEACHER)
  rows = student.report.get('means', {}).get(row, [row])
  networks = {}
  for row in rows:
    with intact(student.run / CONFIG):
      loaded = student.config.get('networks', {}).get(row, {}).get('load')
      place = pathlib.Path(loaded or student.run / NETWORKS / str(row))
    if (place / network_files.SPEC).exists() and place != student.folder:
      networks[row] = _load(place, None, None)
  return networks


def read_data(student: Student, file: str = '') -> sources.Data:
  """The data set: of a config file, of the run, or that network.json names.

  Raises:
    ValueError: the data set is not known, or its images do not fit.
  """
  noted = student.spec.get('data', {}).get('name', '')
  if file:
    data = build.make_data(config.read(file))
  elif student.config or noted in sources.SOURCES:
    options = {'name': noted}
    if student.run:
      with intact(student.run / CONFIG):
        options = dict(student.config.get('data', options))
    options.pop('seed', None)
    data = sources.make_data(options.pop('name', ''), **options)
  else:
    raise ValueError(
      f'{student.folder} does not say on which data it is tested; give a '
      'config that does: --config FILE'
    )
  return fitting(student, data)


def fitting(student: Student, data: sources.Data) -> sources.Data:
  """The data set, if the network was built for its images and classes.

  Raises:
    ValueError: one line, for other images or classes.
  """
  build_of, words = student.spec['build'], data.vocabulary
  if bool(words) != (build_of.get('name') in text.NETWORKS):
    raise ValueError(
      f'the network in {student.folder} is for '
      f"{'images' if words else 'text'}; '{data.name}' has "
      f'{"text" if words else "images"}'
    )
  if words:
    return _fitting_text(student, data)
  built = shape_of(student, data), build_of.get('classes')
  given = tuple(data.train.inputs.shape[1:]), data.classes
  if built != given:
    raise ValueError(
      f'the network in {student.folder} is for images {built[0]} of '
      f"{built[1]} classes; '{data.name}' has {given[0]} of {given[1]}"
    )
  stored.check(student.folder, student.network, student.variables, given[0])
  return data


def _fitting_text(student: Student, data: sources.Data) -> sources.Data:
  spec = student.spec['build']
  known = spec.get('vocabulary') or spec['classes']
  if spec['classes'] != data.classes or known != data.vocabulary:
    raise ValueError(
      f'the network in {student.folder} is for {known} tokens and '
      f"{spec['classes']} classes; '{data.name}' has {data.vocabulary} and "
      f'{data.classes}'
    )
  return data


def shape_of(student: Student, data: sources.Data) -> tuple[int, ...]:
  """[H, W, C] of the images that the network was built for."""
  shape = student.spec['build'].get('inputs')
  return tuple(shape or data.train.inputs.shape[1:])


def plain(student: Student) -> Student:
  """The student without the fake quantization that it was trained with."""
  spec = {k: v for k, v in student.spec['build'].items() if k != 'quantize'}
  return student._replace(
    network=build.make_network(spec),
    variables=fake_quant.without(student.variables),
  )


def ranges(student: Student, shape) -> tuple[tuple[float, float], ...]:
  """(low, high) that each layer was trained with, in the order they run."""
  trained = student.variables.get(fake_quant.RANGES, {})
  if not trained:
    return ()
  bare = plain(student)
  images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  order = fake_quant.layers(bare.network, bare.variables, images)
  return tuple(
    (float(trained[layer]['low']), float(trained[layer]['high']))
    for layer in order
  )
