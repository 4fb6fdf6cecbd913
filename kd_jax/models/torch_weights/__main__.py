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
import pathlib
import sys

from kd_jax import checkpoint, models
from kd_jax.models import base, torch_weights


def main(arguments: list[str]) -> int:
  """Does one of the two; the exit code, 2 for a user's mistake."""
  args = _parser().parse_args(arguments)
  try:
    if pathlib.Path(args.source).is_dir():
      print(to_torch(args.source, args.out))
    else:
      options = dict(map(_option, args.option))
      print(
        from_torch(
          args.source, args.model, args.out, args.classes, args.inputs, options
        )
      )
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


def from_torch(source, name, folder, classes, inputs, options) -> str:
  """Writes the network folder; a line that says what it holds."""
  if name is None:
    known = ', '.join(sorted(models.MODELS))
    raise ValueError(f'--model is needed to read weights; known: {known}')
  inputs = tuple(inputs or models.example_inputs(name))
  state = torch_weights.read(source)
  if classes is None:
    classes = torch_weights.count_classes(state, name, inputs, **options)
  variables = torch_weights.load(
    state, name, classes=classes, inputs=inputs, **options
  )
  build = {'name': name, 'classes': classes, **options, 'inputs': list(inputs)}
  content = hashlib.sha256(pathlib.Path(source).read_bytes()).hexdigest()
  origin = {'file': pathlib.Path(source).name, 'sha256': content}
  checkpoint.save_network(folder, variables, {'build': build, 'from': origin})
  count = base.num_params(variables)
  return f'{name}, {classes} classes, {count:,} parameters: {folder}'


def to_torch(folder, file) -> str:
  """Writes the .safetensors file; a line that says what it holds."""
  if pathlib.Path(file).suffix != '.safetensors':
    raise ValueError(f'--out must end in .safetensors; got {file}')
  variables, spec = checkpoint.load_network(folder)
  name = spec['build']['name']
  torch_weights.save(file, variables, name)
  return f'{name}, {base.num_params(variables):,} parameters: {file}'


def _parser():
  parser = argparse.ArgumentParser(
    prog='python -m kd_jax.models.torch_weights',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('source', help='weights, or a network folder')
  parser.add_argument('--out', required=True, help='what to write')
  parser.add_argument('--model', help='name of the network')
  parser.add_argument('--classes', type=int, help='if not as the weights say')
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
