"""CONTRIBUTING.md tells the truth: its paths exist, its method is one."""

import pathlib
import re
import textwrap

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import numerics
from kd_jax.methods import base, pairs

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'CONTRIBUTING.md').read_text()
PATHS = re.findall(r'`((?:kd_jax|tests|experiments|\.ci)/[\w/.]+)`', TEXT)


@pytest.mark.parametrize('path', PATHS)
def test_every_path_exists(path):
  assert (ROOT / path).exists()


def test_the_example_is_a_method():
  (block,) = re.findall(r'```python\n(.*?)```', TEXT, re.S)
  names = {'jnp': jnp, 'numerics': numerics}
  exec(compile(textwrap.dedent(block), 'CONTRIBUTING.md', 'exec'), names)
  method = pairs.on_logits(names['hellinger'])(temperature=2.0)
  z = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
  student, teacher = ({'logits': x} for x in z)
  batch = {'labels': np.arange(5)}
  values, _ = method.loss(base.NOTHING, student, teacher, batch, method.hparams)
  p_s, p_t = (np.exp(x / 2) / np.exp(x / 2).sum(-1, keepdims=True) for x in z)
  want = 0.5 * ((np.sqrt(p_t) - np.sqrt(p_s)) ** 2).sum(-1)
  np.testing.assert_allclose(values, want, rtol=1e-5)
