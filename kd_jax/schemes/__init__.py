"""Makes the stages of a scheme: SCHEMES is the table of who teaches whom."""

from collections.abc import Callable, Mapping

from kd_jax import kinds, stages, types
from kd_jax.schemes import (
  offline,
  online,
  progressive,
  self_distillation,
  synthesis,
)
from kd_jax.schemes.base import Cast, hard

__all__ = ['SCHEMES', 'Cast', 'hard', 'make_stages']

SCHEMES: Mapping[str, Callable[..., list[stages.Stage]]] = {
  'offline': offline.offline,
  'ensemble': offline.ensemble,
  'two_phase': offline.two_phase,
  'head_start': offline.head_start,
  'online': online.online,
  'mutual': online.mutual,
  'branches': online.branches,
  'self_snapshot': self_distillation.self_snapshot,
  'self_ema': self_distillation.self_ema,
  'born_again': self_distillation.born_again,
  'self_exits': self_distillation.self_exits,
  'self_label': self_distillation.self_label,
  'progressive': progressive.progressive,
  'data_free': synthesis.data_free,
  'inversion': synthesis.inversion,
}


def make_stages(name: str, cast: Cast, /, **options) -> list[stages.Stage]:
  """The stages of the scheme `name`.

  Raises:
    ValueError: for an unknown scheme, option, network or signal, and for an
      option with an invalid value.
  """
  maker = kinds.entry('scheme', SCHEMES, name)
  kinds.options(f"scheme '{name}'", maker, options, passed=('cast',))
  trained = maker(cast, **options)
  for stage in trained:
    for network in (*stage.students, *stage.frozen):
      if network not in {*cast.networks, *stage.built_as}:
        raise types.unknown('network', network, cast.networks)
    for network in stage.students:
      if network in cast.loaded:
        raise ValueError(
          f"network '{network}' has load= and learns: it would begin anew; "
          'what starts from a loaded network has init_from='
        )
    stages.check(stage)
  names = [name for stage in trained for name in stage.kept.values()]
  names += [f'{name}_{m}' for name in names for m in ('best', 'last')]
  names += [stage.maker.name for stage in trained if stage.maker]
  for name in names:
    if names.count(name) > 1:
      raise ValueError(
        f"two networks would be kept as '{name}'; give the config's network "
        f"'{name}' another name"
      )
  return trained
