"""PyTorch's side of `text`: networks of transformers, eager, AdamW."""

import functools
from collections.abc import Callable

import numpy as np
import torch
import transformers
from torch import nn
from torch.nn import functional

from experiments.benchmarks import settings, sides, text
from experiments.benchmarks.pytorch import on_device


def network(name: str, size: text.Size) -> nn.Module:
  """The network of a size, without dropout, in training."""
  return _MAKERS[name](size).train()


def _sizes(size: text.Size, wider: int) -> dict[str, int]:
  """A size in the words of BERT and Llama; the hidden layer is `wider`."""
  return {
    'vocab_size': size.vocabulary,
    'hidden_size': size.width,
    'num_hidden_layers': size.depth,
    'num_attention_heads': size.heads,
    'intermediate_size': wider * size.width,
    'max_position_embeddings': size.length,
  }


def _bert(size: text.Size) -> nn.Module:
  return transformers.BertForMaskedLM(
    transformers.BertConfig(
      **_sizes(size, 4),
      hidden_dropout_prob=0.0,
      attention_probs_dropout_prob=0.0,
    )
  )


def _gpt2(size: text.Size) -> nn.Module:
  return transformers.GPT2LMHeadModel(
    transformers.GPT2Config(
      vocab_size=size.vocabulary,
      n_embd=size.width,
      n_layer=size.depth,
      n_head=size.heads,
      n_positions=size.length,
      resid_pdrop=0.0,
      embd_pdrop=0.0,
      attn_pdrop=0.0,
      bos_token_id=0,
      eos_token_id=0,
      use_cache=False,
    )
  )


def _llama(size: text.Size) -> nn.Module:
  return transformers.LlamaForCausalLM(
    transformers.LlamaConfig(**_sizes(size, 2), use_cache=False)
  )


_MAKERS = {'bert': _bert, 'gpt2': _gpt2, 'llama': _llama}


def task(name: str, size: text.Size) -> sides.Task:
  """Steps of AdamW on the cross-entropy of all tokens."""
  device = on_device.prepare('cpu')
  student, rng = network(name, size), np.random.default_rng(0)
  shape = settings.BATCHES, 2, size.batch_size, size.length
  batches = torch.from_numpy(rng.integers(0, size.vocabulary, shape))
  optimizer = torch.optim.AdamW(student.parameters(), lr=settings.ADAM_RATE)
  mask, place = torch.ones(shape[2:], dtype=torch.long), {'next': 0}

  def run(count):
    for _ in range(count):
      ids, labels = batches[place['next'] % len(batches)]
      logits = student(input_ids=ids, attention_mask=mask).logits
      loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
      optimizer.zero_grad()
      loss.backward()
      optimizer.step()
      place['next'] += 1
    on_device.wait(device)

  return sides.Task(run)


def tasks(size: tuple) -> dict[str, Callable]:
  """{network: () -> Task}."""
  size = text.Size(*size)
  return {name: functools.partial(task, name, size) for name in text.NAMES}
