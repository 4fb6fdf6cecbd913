"""Text networks beside Hugging Face's: `python -m tests.golden_hf DIR`.

DIR holds a folder a model: config.json and model.safetensors as `transformers`
wrote them, and io.npz, the inputs and outputs of its class by their names
there (`hidden_states_0` are the embeddings, `*_float64` the truth), and for
decoders greedy continuations of prompts with padding on either side. Prints
the relative errors at real tokens; exit code 1 where one is above 1e-5 or a
continuation differs.
"""

import pathlib
import re
import sys

import jax
import numpy as np

from kd_jax import models
from kd_jax.models import hugging_face
from tests.golden_models import relative

BOUND = 1e-5
ENCODERS = ('bert', 'distilbert', 'roberta')
NAMES = {
  'logits': 'logits',
  'pooler_output': 'pooled',
  'last_hidden_state': 'final',
  'encoder_last_hidden_state': 'encoder_final',
}


def predictor(folder):
  """A compiled inputs -> outputs of a folder's network, and its build."""
  variables, build = hugging_face.read(folder)
  network = models.make_network(**build)
  apply = jax.jit(lambda variables, x: network.apply(variables, x)[0])

  def predict(inputs):
    inputs = {name: np.asarray(x, np.int32) for name, x in inputs.items()}
    # GPUs round to TF32 by default, which is coarser than the bound.
    with jax.default_matmul_precision('highest'):
      return apply(variables, inputs)

  return predict, build


def wanted(golden: dict, name: str, causal: bool) -> str | None:
  """The name of our output that a value of io.npz is; None: it is none.

  Args:
    golden: all values.
    name: of one.
    causal: whether the last hidden state is normed, as of all but encoders.
  """
  if name in NAMES:
    return NAMES[name]
  kind = re.fullmatch(
    r'(encoder_|decoder_|cross_|)(hidden_states|attentions)_(\d+)', name
  )
  if kind is None:
    return None
  start, what, i = kind[1], kind[2], int(kind[3])
  ours = {'decoder_': '', 'cross_': ''}.get(start, start)
  if what == 'attentions':
    cross = 'cross_' if start == 'cross_' else ''
    return f'{ours}layer{i}_{cross}attention'
  if causal and f'{start}{what}_{i + 1}' not in golden:
    return f'{ours}final'
  return f'{ours}layer{i - 1}' if i else f'{ours}embeddings'


def real(x, golden, name):
  """The entries of an output at real tokens."""
  side = '' if name.startswith('encoder_') else 'decoder_'
  mask = golden.get(f'{side}attention_mask', golden['attention_mask']) > 0
  x = np.asarray(x)
  if x.ndim == 4:  # queries, and keys that they see
    return np.where(mask[:, None, :, None], x, 0)
  return x[mask] if x.ndim == 3 else x


def errors(folder: pathlib.Path, golden: dict) -> dict[str, float]:
  """{output: relative error} of everything that io.npz holds of a model."""
  predict, build = predictor(folder)
  inputs = {
    name: golden[name]
    for name in (
      'input_ids',
      'attention_mask',
      'token_type_ids',
      'decoder_input_ids',
      'decoder_attention_mask',
    )
    if name in golden
  }
  outputs = predict(inputs)
  found = {}
  causal = build['name'] not in ENCODERS
  for name, value in golden.items():
    ours = wanted(golden, name.removesuffix('_float64'), causal)
    if ours is not None:
      pair = (real(x, golden, name) for x in (outputs[ours], value))
      found[name] = relative(*pair)
  return found


def continued(predict, ids, mask, steps: int) -> np.ndarray:
  """Greedy continuations [B, steps]; the prefix is computed anew each step.

  A new token stands behind the last column, wherever the padding is.
  """
  b, l = ids.shape
  ids = np.pad(ids, ((0, 0), (0, steps)))
  mask = np.pad(mask, ((0, 0), (0, steps)))
  last = [np.flatnonzero(row)[-1] for row in mask]
  for i in range(steps):
    logits = predict({'input_ids': ids, 'attention_mask': mask})['logits']
    ids[:, l + i] = np.asarray(logits)[np.arange(b), last].argmax(-1)
    mask[:, l + i] = 1
    last = [l + i] * b
  return ids[:, l:]


def translated(predict, golden, steps: int) -> np.ndarray:
  """Greedy answers of an encoder with a decoder, the start token first."""
  b = len(golden['input_ids'])
  ids = np.zeros((b, steps), np.int64)
  for i in range(steps - 1):
    mask = np.broadcast_to(np.arange(steps) <= i, ids.shape)
    logits = predict(
      {
        'input_ids': golden['input_ids'],
        'attention_mask': golden['attention_mask'],
        'decoder_input_ids': ids,
        'decoder_attention_mask': mask,
      }
    )['logits']
    ids[:, i + 1] = np.asarray(logits)[:, i].argmax(-1)
  return ids


def continuations(folder: pathlib.Path, golden: dict) -> dict[str, bool]:
  """{prompts: whether the greedy continuation is the golden one}."""
  predict, _ = predictor(folder)
  found = {}
  for side in ('left', 'right'):
    if f'gen_{side}_ids' in golden:
      ids, mask, answer = (
        golden[f'gen_{side}_{x}']
        for x in ('input_ids', 'attention_mask', 'ids')
      )
      mine = continued(predict, ids, mask, answer.shape[1])
      found[side] = np.array_equal(mine, answer)
  if 'gen_hf_sequences' in golden:
    answer = golden['gen_hf_sequences']
    mine = translated(predict, golden, answer.shape[1])
    found['answers'] = np.array_equal(mine, answer)
  return found


def check(folder: pathlib.Path) -> tuple[bool, str]:
  """Whether a model agrees, and a line that says."""
  with np.load(folder / 'io.npz') as file:
    golden = dict(file)
  try:
    found = errors(folder, golden)
    greedy = continuations(folder, golden)
  except ValueError as error:
    return False, f'{folder.name}: {error}  <- DIFFERS'
  worst = max(found, key=found.get)
  good = bool(found) and all(x < BOUND for x in found.values())
  good &= all(greedy.values())
  line = (
    f'{folder.name}: {len(found)} outputs, worst {worst} {found[worst]:.1e}'
  )
  line += ''.join(
    f', {side} {"equal" if same else "not equal"}'
    for side, same in greedy.items()
  )
  return good, line + ('' if good else '  <- DIFFERS')


def main(arguments: list[str]) -> int:
  """Checks every model of a folder; the exit code."""
  if len(arguments) != 1:
    print('usage: python -m tests.golden_hf DIR', file=sys.stderr)
    return 2
  folders = sorted(
    p.parent for p in pathlib.Path(arguments[0]).glob('*/io.npz')
  )
  if not folders:
    print(f'no MODEL/io.npz in {arguments[0]}', file=sys.stderr)
    return 2
  bad = 0
  for folder in folders:
    good, line = check(folder)
    bad += not good
    print(line, flush=True)
  print(f'{len(folders) - bad} of {len(folders)} models agree')
  return int(bad > 0)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
