"""The benchmark of text: both sides have the same networks."""

import jax
import pytest

from experiments.benchmarks import our_texts, text

SIZE = text.QUICK[0]


@pytest.mark.slow
@pytest.mark.parametrize('name', text.NAMES)
def test_both_sides_have_as_many_parameters(name):
  texts = pytest.importorskip('experiments.benchmarks.pytorch.texts')
  network, batch = our_texts.network(name, SIZE), our_texts.batch_of(SIZE)
  shapes = jax.eval_shape(network.init, jax.random.key(0), batch['inputs'])
  ours = sum(x.size for x in jax.tree.leaves(shapes['params']))
  theirs = sum(x.numel() for x in texts.network(name, SIZE).parameters())
  assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize('side', ['our_texts', 'pytorch.texts'])
def test_steps_of_each_side_run(side):
  module = pytest.importorskip(f'experiments.benchmarks.{side}')
  module.tasks(tuple(SIZE))['gpt2']().run(2)


def test_repeats_are_at_least_one(capsys):
  pytest.importorskip('torch')
  assert text.main(['--repeats', '-1']) == 2
  assert capsys.readouterr().err.startswith('error: --repeats')
