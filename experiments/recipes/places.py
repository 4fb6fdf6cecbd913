"""Makers of origins: a command of a program, or a file for each pair."""

from collections.abc import Callable, Mapping

from experiments.recipes import programs, sources, tables

EXAMPLE = ('resnet32x4', 'resnet8x4')  # of most scripts


def shown(pair, example) -> str:
  """The note of a source that shows one pair."""
  return '' if pair == example else f'shown for {",".join(example)}'


def script(
  own: Mapping,
  reads: Mapping | None = None,
  train: Mapping | None = None,
  repository: str = 'HobbitLong/RepDistiller',
  example: tuple[str, str] = EXAMPLE,
  folder: str = '',
) -> Callable:
  """A command of RepDistiller's or a descendant's program.

  Args:
    own: {file#line: {flag: value}} of the command.
    reads: what helper/loops.py gives the loss.
    train: further defaults of train_student.py.
    repository, example, folder: the program's, the command's pair, and where
      in the repository the program lies.
  """

  def make(teacher, student):
    said = {**own, **programs.repdistiller(student)}
    said['train_student.py'] |= train or {}
    if reads:
      said['helper/loops.py'] = reads
    says = {folder + file: flags for file, flags in said.items()}
    return sources.Origin(repository, says, shown((teacher, student), example))

  return make


def files(repository, folder, table, defaults, rate=0.05) -> Callable:
  """A file for each pair that the source has, beside its defaults.

  Args:
    repository: of mdistiller or a descendant.
    folder: of the files.
    table: {pair in its names: what its file has of its own}.
    defaults: {flag: value} of cfg.py.
    rate: of the students that are not light.
  """

  def make(teacher, student):
    name = tables.short(teacher, student)
    solver, note = programs.cifar_solver(student, rate), ''
    if name not in table:
      name, note = 'res32x4_res8x4', 'no file of this pair: the defaults'
      says = {sources.CFG: defaults, f'{folder}/{name}.yaml': solver}
      return sources.Origin(repository, says, note)
    if 'CAT_KD' in folder and name.startswith('wrn40_2_wrn'):
      file = name.replace('wrn40_2', 'wrn_40_2')
    else:
      file = name
    says = {
      f'{folder}/{file}.yaml': {**solver, **table[name]},
      sources.CFG: defaults,
    }
    return sources.Origin(repository, says, note)

  return make
