"""PyTorch on the device of a benchmark: its settings, and waiting for it."""

import torch

from experiments.benchmarks import sides


def prepare(device: str) -> torch.device:
  """Settings of this process, and PyTorch's name of the device.

  On a GPU products of f32 are TF32, in convolutions and else, as JAX has it by
  default; cuDNN tries its algorithms, as XLA does.

  Raises:
    RuntimeError: PyTorch has no GPU.
  """
  if device == 'cpu':
    torch.set_num_threads(sides.THREADS)
    return torch.device('cpu')
  if not torch.cuda.is_available():
    raise RuntimeError('PyTorch finds no GPU')
  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  torch.backends.cudnn.benchmark = True
  return torch.device('cuda')


def wait(device: torch.device) -> None:
  """Until the device has done what it was told."""
  if device.type == 'cuda':
    torch.cuda.synchronize()


def arithmetic(device: torch.device, dtype: str) -> str:
  """In what networks compute products, as PyTorch is set."""
  if dtype != 'float32':
    return dtype
  if device.type == 'cpu':
    return 'float32'
  matmul = torch.backends.cuda.matmul.allow_tf32
  convolutions = torch.backends.cudnn.allow_tf32
  if matmul != convolutions:
    return f'TF32 {"in products" if matmul else "in convolutions"} alone'
  return 'TF32' if matmul else 'float32'


def peak_memory(device: torch.device) -> int:
  """The most bytes in use: of the GPU, or of this process."""
  if device.type == 'cpu':
    return sides.peak_memory()
  return torch.cuda.max_memory_allocated()
