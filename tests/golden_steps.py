"""Compares an optimizer's steps with golden ones.

  python -m tests.golden_steps DIR

DIR, or its folder 'steps', holds index.json and the .npz files that it names:
`param_I`, the parameters before the first step; `in_grad_task_I` and
`in_grad_kd_I` [steps, ...], the gradients of the two kinds of terms; and
`out_param_I` [steps, ...], the parameters after each step. Our side is
`optim.make_optimizer` in f32. Prints one line a case; the exit code is 0 if
there are cases and all are within 1e-6, absolute.
"""

import json
import pathlib
import sys
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kd_jax import optim

BOUND = 1e-6


def steps(
  attrs: Mapping[str, float], arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """{number: parameters [steps, ...] after each step} of a case of DOT."""
  options = dict(attrs)
  hparams = {
    name: jnp.float32(options.pop(name))
    for name in ('learning_rate', 'weight_decay')
  }
  # As PyTorch, which decays biases and norms too.
  tx = optim.make_optimizer('dot', decay='all', **options)
  params = _part(arrays, 'param_')
  parts = optim.Parts(*(_part(arrays, f'in_grad_{x}_') for x in ('task', 'kd')))
  state, after = tx.init(params), []
  for n in range(len(next(iter(parts.task.values())))):
    grads = jax.tree.map(lambda x, n=n: x[n], parts)
    updates, state = tx.update(grads, state, params, hparams=hparams)
    params = optax.apply_updates(params, updates)
    after.append(params)
  return jax.tree.map(lambda *x: np.stack(x), *after)


def _part(arrays, prefix) -> dict[str, jax.Array]:
  return {
    name.removeprefix(prefix): jnp.asarray(x, jnp.float32)
    for name, x in arrays.items()
    if name.startswith(prefix)
  }


def check(entry: Mapping, arrays: Mapping[str, np.ndarray]) -> float:
  """The greatest difference of a case; infinite where a shape differs.

  Raises:
    ValueError: a case of another optimizer, or with numbers that ours has not.
  """
  if entry['case'].split('/')[0] != 'dot':
    raise ValueError('no such optimizer')
  ours, worst = steps(entry['attrs'], arrays), 0.0
  for number, found in ours.items():
    want = arrays[f'out_param_{number}']
    if found.shape != want.shape:
      return float('inf')
    # Not Python's max, which passes over a NaN.
    worst = np.max([worst, np.abs(found - want).max()])
  return float(worst)


def main(arguments: list[str]) -> int:
  """Prints one line a case; 0 if there are cases and all are ok."""
  if len(arguments) != 1:
    print('usage: python -m tests.golden_steps DIR', file=sys.stderr)
    return 2
  folder = pathlib.Path(arguments[0])
  if (folder / 'steps' / 'index.json').is_file():
    folder = folder / 'steps'
  if not (folder / 'index.json').is_file():
    print(f'no index.json in {folder}', file=sys.stderr)
    return 2
  entries, good = json.loads((folder / 'index.json').read_text()), 0
  for entry in entries:
    try:
      with np.load(folder / entry['file']) as arrays:
        error, note = check(entry, dict(arrays)), ''
    except (KeyError, OSError, ValueError) as e:
      error, note = float('nan'), f' {e}'.splitlines()[0]
    ok = error <= BOUND
    good += ok
    print(f'{entry["case"]:<40} {error:9.2e}  {"ok" if ok else "FAIL" + note}')
  print(f'{good} of {len(entries)} cases ok')
  return 0 if entries and good == len(entries) else 1


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
