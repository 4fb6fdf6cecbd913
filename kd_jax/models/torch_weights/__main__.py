"""PyTorch weights to a network folder, and a network folder to PyTorch.

  python -m kd_jax.models.torch_weights SRC --model resnet32x4 --out DIR
  python -m kd_jax.models.torch_weights DIR --out student.safetensors

SRC is a .safetensors, .pth or .pt file; DIR, a finished network such as
runs/NAME/networks/student, which a config loads as
`c.networks.teacher = dict(load='DIR')`.
"""

import argparse
import ast
import hashlib
import os
import pathlib
import sys

from kd_jax import checkpoint, errors, models, network_files
from kd_jax.build import stored
from kd_jax.models import base, torch_weights


def main(arguments: list[str]) -> int:
  """Runs the command.

  Returns:
    The exit code: 0; 1 where the disk is full, 2 for a user's mistake.
  """
  args = _parser().parse_args(arguments)
  try:
    if pathlib.Path(args.source).is_dir():
      line = to_torch(args.source, args.out, args.overwrite)
    else:
      options = dict(map(_option, args.option))
      line = from_torch(
        args.source,
        args.model,
        args.out,
        args.classes,
        args.inputs,
        options,
        args.overwrite,
      )
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    full = isinstance(error, errors.FullError)
    return errors.FAILED if full else errors.USER
  print(line)
  return errors.DONE


def from_torch(
  source, name, folder, classes, inputs, options, overwrite=False
) -> str:
  """Writes a network folder.

  Args:
    source: file of weights.
    name: of the network in MODELS.
    folder: that is written.
    classes: None reads them off the weights.
    inputs: [H, W, C]; None where the network knows.
    options: of the network.
    overwrite: moves a network that is there aside.

  Returns:
    A line that says what the folder holds.

  Raises:
    ValueError, errors.FullError: one line.
  """
  if name is None:
    known = ', '.join(sorted(models.MODELS))
    raise ValueError(f'--model is needed to read weights; known: {known}')
  inputs = tuple(inputs or models.example_inputs(name))
  files = {network_files.SPEC, network_files.VARIABLES}
  network_files.check_place(pathlib.Path(folder), files, overwrite)
  state = torch_weights.read(source)
  if classes is None:
    classes = torch_weights.count_classes(state, name, inputs, **options)
  variables = torch_weights.load(
    state, name, classes=classes, inputs=inputs, **options
  )
  build = {'name': name, 'classes': classes, **options, 'inputs': list(inputs)}
  content = hashlib.sha256(pathlib.Path(source).read_bytes()).hexdigest()
  spec = {
    'build': build,
    'from': {'file': pathlib.Path(source).name, 'sha256': content},
  }
  try:
    network_files.save_network(folder, variables, spec, overwrite=overwrite)
  except OSError as error:
    raise errors.unwritable(folder, error) from error
  count = base.num_params(variables)
  return f'{name}, {classes} classes, {count:,} parameters: {folder}'


def to_torch(folder, file, overwrite=False) -> str:
  """Writes the .safetensors file of a network folder.

  Args:
    folder: of a finished network.
    file: that is written.
    overwrite: moves a file that is there aside.

  Returns:
    A line that says what the file holds.

  Raises:
    ValueError, errors.FullError: one line.
  """
  file = pathlib.Path(file)
  if file.suffix != '.safetensors':
    raise ValueError(f'--out must end in .safetensors; got {file}')
  if file.exists() and not overwrite:
    raise ValueError(
      f'{file} exists; give another --out, or --overwrite, which moves it aside'
    )
  _, variables, spec = stored.load(folder)
  torch_weights.check_plain(spec['build'])
  name = spec['build']['name']
  part = file.with_name(f'.{os.getpid()}.{file.name}')
  try:
    torch_weights.save(part, variables, name)
    if file.exists():
      print(f'moved {file} to {checkpoint.move_aside(file)}', file=sys.stderr)
    part.replace(file)
  except OSError as error:
    raise errors.unwritable(file, error) from error
  return f'{name}, {base.num_params(variables):,} parameters: {file}'


def _parser():
  parser = argparse.ArgumentParser(
    prog='python -m kd_jax.models.torch_weights',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('source', help='file of weights, or network folder')
  parser.add_argument('--out', required=True, help='folder or file to write')
  parser.add_argument(
    '--overwrite',
    action='store_true',
    help='move a network or file that is there aside, to NAME.replaced',
  )
  parser.add_argument('--model', help='name of the network')
  parser.add_argument(
    '--classes', type=int, help='by default read off the weights'
  )
  parser.add_argument(
    '--inputs',
    type=int,
    nargs=3,
    metavar=('H', 'W', 'C'),
    help='image shape, where the weights depend on it',
  )
  parser.add_argument(
    '--option',
    action='append',
    default=[],
    metavar='KEY=VALUE',
    help='of the network, such as patch=4; may be repeated',
  )
  return parser


def _option(text):
  """'patch=4' -> ('patch', 4)."""
  key, equals, value = text.partition('=')
  if not equals:
    raise ValueError(f"--option must be KEY=VALUE; got '{text}'")
  try:
    return key, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return key, value


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
