"""kd_jax: knowledge distillation in JAX, every method equal to its source."""

import importlib

__version__ = '0.2.0'

# Public name -> where it lives. Loaded when first asked for, so that
# importing kd_jax costs next to nothing.
_PUBLIC = {
  'METHODS': 'kd_jax.methods',
  'MODELS': 'kd_jax.models',
  'SCHEMES': 'kd_jax.schemes',
  'SOURCES': 'kd_jax.data.sources',
  'Method': 'kd_jax.methods.base',
  'Network': 'kd_jax.models.base',
  'Stage': 'kd_jax.stages',
  'Term': 'kd_jax.terms',
  'View': 'kd_jax.terms',
  'distill': 'kd_jax.api',
  'from_function': 'kd_jax.models.base',
  'from_linen': 'kd_jax.models.base',
  'from_nnx': 'kd_jax.models.base',
  'load_network': 'kd_jax.network_files',
  'make_data': 'kd_jax.data.sources',
  'make_eval_step': 'kd_jax.step',
  'make_experiment': 'kd_jax.build',
  'make_method': 'kd_jax.methods',
  'make_network': 'kd_jax.models',
  'make_halves': 'kd_jax.step',
  'save_network': 'kd_jax.network_files',
  'settle': 'kd_jax.machine',
  'train_alone': 'kd_jax.api',
  'with_precision': 'kd_jax.models.compute',
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
  if name not in _PUBLIC:
    raise AttributeError(f"module 'kd_jax' has no attribute '{name}'")
  return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
  return __all__
