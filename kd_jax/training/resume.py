"""Reads how far a stage or a run in a folder is, for all that resumes.

  RUN/networks/NAME/            finished networks
  RUN/checkpoints/STAGE/STEP/   the states to continue from
  RUN/report.json               written last

A stage is fresh, at a step, finished, foreign (its files are of another
training) or damaged. Nothing is deleted here: the callers refuse foreign files
and move damaged files aside.
"""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kd_jax import identities, network_files, types

FRESH, AT, FINISHED, FOREIGN, DAMAGED = (
  'fresh',
  'at',
  'finished',
  'foreign',
  'damaged',
)
REPORT = 'report.json'


class Status(NamedTuple):
  """How far a stage or a run is.

  Attributes:
    what: 'fresh', 'at', 'finished', 'foreign' or 'damaged'.
    step: of the newest checkpoint, where `what` is 'at'; else 0.
    why: what is foreign or damaged, in words.
  """

  what: str
  step: int = 0
  why: str = ''


def of_stage(
  folder: pathlib.Path,
  stage: str,
  networks: Iterable[str],
  identity: Mapping[str, Any],
) -> Status:
  """How far a stage is.

  Args:
    folder: of the run.
    stage: its name.
    networks: the names of the networks that it leaves.
    identity: all that its result depends on.
  """
  states = [
    of_network(folder / 'networks' / name, name, identity) for name in networks
  ]
  for what in (FOREIGN, DAMAGED):
    for status in states:
      if status.what == what:
        return status
  if all(status.what == FINISHED for status in states):
    return Status(FINISHED)
  return of_checkpoints(folder / 'checkpoints' / stage, identity)


def of_network(
  place: pathlib.Path, name: str, identity: Mapping[str, Any]
) -> Status:
  """Whether a finished network is there, whole, and of this identity."""
  return read_network(place, name, identity)[0]


def read_network(
  place: pathlib.Path, name: str, identity: Mapping[str, Any]
) -> tuple[Status, types.Variables | None]:
  """`of_network`, and the variables of a finished network."""
  if not place.exists():
    return Status(FRESH), None
  try:
    variables, spec = network_files.load_network(place)
  except ValueError as error:
    return Status(DAMAGED, why=str(error)), None
  if spec.get('network') != name:
    other = spec.get('network')
    return Status(DAMAGED, why=f"{place} holds the network '{other}'"), None
  difference = identities.first_difference(identity, spec.get('identity', {}))
  if difference:
    why = f'{place} is of another training: {difference}'
    return Status(FOREIGN, why=why), None
  return Status(FINISHED), variables


def of_checkpoints(place: pathlib.Path, identity: Mapping[str, Any]) -> Status:
  """How far the checkpoints of a stage are, by the newest readable one."""
  steps = sorted(
    (int(p.name) for p in place.glob('*') if p.name.isdigit()), reverse=True
  )
  why = ''
  for step in steps:
    try:
      meta = json.loads((place / str(step) / 'meta/metadata').read_text())
    except (OSError, ValueError) as error:
      why = why or f'checkpoint {step} in {place}: {error}'
      continue
    difference = identities.first_difference(identity, meta.get('identity', {}))
    if difference:
      why = f'checkpoint {step} in {place} is of another training: {difference}'
      return Status(FOREIGN, step, why)
    return Status(AT, step, why)
  return Status(DAMAGED, why=why) if why else Status(FRESH)


def of_run(folder: pathlib.Path) -> Status:
  """How far a run is, by the files in its folder, without its config.

  A run is 'finished' where its report can be read, 'at' where it has begun;
  whether its networks are whole and of this config, `of_stage` reads.
  """
  path = folder / REPORT
  if path.exists():
    try:
      report = json.loads(path.read_text())
    except (OSError, ValueError) as error:
      return Status(DAMAGED, why=f'{path} cannot be read: {error}')
    if not (isinstance(report, dict) and 'networks' in report):
      return Status(DAMAGED, why=f'{path} is not the report of a run')
    return Status(FINISHED)
  # A folder alone says nothing: a sweep creates all of them at its start.
  begun = any((folder / name).exists() for name in ('checkpoints', 'networks'))
  return Status(AT if begun else FRESH)
