"""Trains a chain of networks, in which each teaches the next."""

from collections.abc import Sequence

from kd_jax import kinds, stages, views
from kd_jax.schemes import base


def progressive(
  cast: base.Cast,
  *,
  chain: Sequence[str | kinds.Names] = (),
  combine='mean_probs',
) -> list[stages.Stage]:
  """Teacher assistants bridge the gap between a large and a small network.

  Args:
    cast: see `Cast`; terms whose teacher is 'before' read the network before
      in the chain.
    chain: names from the largest to the smallest; the first may be a list of
      teachers, which then form an ensemble.
    combine: how it combines them, a key of `views.VIEWS`.

  Returns:
    A stage for the first where it is not loaded, the last trained alone, then
    a stage for each link.

  Source: Mirzadeh et al., Improved knowledge distillation via teacher
    assistant, 2019, https://arxiv.org/abs/1902.03393.

  Raises:
    ValueError: for a chain that is too short or goes in a circle.
  """
  if len(chain) < 2:
    raise ValueError(f'a chain needs two networks, not {list(chain)}')
  top = [chain[0]] if isinstance(chain[0], str) else list(chain[0])
  names = [*top, *chain[1:]]
  for name in names:
    if names.count(name) > 1:
      raise ValueError(f"a cycle in the chain: '{name}' would teach itself")
  base.need(cast, *names)
  base.need_term(cast, base.BEFORE)
  base.need_no_views(cast)
  older = top[0]
  if len(top) > 1:
    older = 'ensemble'
    view = views.make_view(combine, sources=top)
    cast = cast._replace(views={**cast.views, older: view})
  links = []
  for name in chain[1:]:
    of = base.retarget(cast.terms, name, base.BEFORE, older)
    roles = {} if name == chain[-1] else {name: stages.ASSISTANT}
    links.append(base.stage(cast, name, (name,), of, roles=roles))
    older = name
  others = [n for link in links for n in link.frozen if n not in chain[1:]]
  needed = list(dict.fromkeys([*top, *others]))
  return [
    *base.teachers(cast, needed),
    *base.baselines(cast, (chain[-1],)),
    *links,
  ]
