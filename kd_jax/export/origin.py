"""Checks that a network in a run's folder is the one that the run reports.

A card tells how a run trained its network: it must not go with the weights of
another one that was put in its place.
"""

import pathlib
from collections.abc import Mapping

import numpy as np

from kd_jax import build, identities, network_files
from kd_jax.compare import results
from kd_jax.data import pipeline, sources
from kd_jax.export import source
from kd_jax.models import base

EXAMPLES = 256  # test images whose logits are compared with the stored ones
# Over the largest logit. Other hardware and bf16 stay far below, another
# network far above.
TOLERANCE = 0.05
REMEDY = 'restore it, or copy it out of the run to export it as a network alone'


def check_spec(student: source.Student) -> None:
  """Compares what network.json says of itself with the run around it.

  Networks of older runs say less; what they do not say is not held against
  them.

  Raises:
    ValueError: one line, for a network that is not the run's.
  """
  if student.run is None:
    return
  folder, spec = student.folder, student.spec
  name = folder.resolve().name
  if spec.get('network', name) != name:
    raise ValueError(
      f"{folder} holds the network '{spec['network']}' and not '{name}'; "
      f'{REMEDY}'
    )
  recorded = _recorded_hash(student, name)
  if recorded not in (None, spec['hash']):
    raise ValueError(
      f'{folder} is not the network of the run: its hash is '
      f'{spec["hash"][:12]}, and {results.REPORT} has {str(recorded)[:12]}; '
      f'{REMEDY}'
    )
  trained_by = spec.get('identity', {}).get('config')
  difference = trained_by and identities.first_difference(
    build.of_stages(student.config), trained_by
  )
  if difference:
    raise ValueError(
      f'{folder} was trained by another run: {difference}; {REMEDY}'
    )
  twin = None if 'network' in spec else _twin(folder, spec['hash'])
  if twin:
    raise ValueError(
      f"{folder} holds the same weights as '{twin}' of the run; {REMEDY}"
    )


def _recorded_hash(student: source.Student, name: str) -> str | None:
  """The hash of a network in the report of its run, where it has one."""
  networks = source.read_report(student.run).get('networks', {})
  row = networks.get(name)
  return row.get('hash') if isinstance(row, Mapping) else None


def _twin(folder: pathlib.Path, digest: str) -> str | None:
  """Another network of the run with this content hash.

  A network and its best or last moment may well be one and the same.
  """
  folder = folder.resolve()
  base_name = _base(folder.name)
  for path in sorted(folder.parent.glob(f'*/{network_files.SPEC}')):
    name = path.parent.name
    if _base(name) == base_name:
      continue
    if source.read_json(path).get('hash') == digest:
      return name
  return None


def _base(name: str) -> str:
  """The name of a network without its moment."""
  return name.removesuffix('_best').removesuffix('_last')


def check_answers(student: source.Student, data: sources.Data) -> None:
  """Compares a network's logits with those that the run stored of it.

  Args:
    student: of a run; nothing is compared where the run stored no logits.
    data: nothing is compared where it is not the data set of the report.

  Raises:
    ValueError: one line, where they are those of another network.
  """
  name = student.folder.resolve().name
  path = student.run and student.run / results.PREDICTIONS
  if not path or not path.exists():
    return
  report = source.read_report(student.run)
  if report.get('data', {}).get('fingerprint') != data.fingerprint:
    return
  try:
    with np.load(path, allow_pickle=False) as arrays:
      logits = arrays.get(f'logits/{name}')
  except Exception as error:  # a damaged file can raise anything
    raise ValueError(f'{path} is damaged: {error}') from error
  if logits is None:
    return
  logits = logits[:EXAMPLES]
  batch = next(iter(pipeline.eval_batches(data.test(), len(logits))))
  images = pipeline.make_prepare(data.mean, data.std)(batch['inputs'])
  got = np.asarray(
    base.make_forward(student.network)(student.variables, images)
  )
  scale = np.abs(logits).max()
  if got.shape != logits.shape or not (
    np.abs(got - logits).max() <= TOLERANCE * scale
  ):
    raise ValueError(
      f'{student.folder} does not give the logits that {path.name} of the run '
      f'holds: it is another network; {REMEDY}'
    )
