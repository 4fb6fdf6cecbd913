"""Runs a pure step on devices, in one of three ways.

`on_one`: jit. `on_mesh`: jit over a mesh with the batch split. `on_pmap`:
pmap over the batch. All three give the same numbers, except that with dropout
each shard of `on_pmap` draws a different mask.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kd_jax import device, types

AXIS = 'data'


class Placement(NamedTuple):
  """A way to run pure functions on devices.

  Attributes:
    name: 'one', 'mesh' or 'pmap'.
    count: devices, over all processes.
    compile: (fn, args, donate=()) -> fn, compiled; it takes `args` replicated
      arguments and then a batch. `fn` also takes `axis_name`.
    replicate: pytree -> a copy of it on every device.
    split: batch of this process -> the batch on the devices, split over them.
    spread: (fn, axes, out) -> fn as a pure function that computes on all
      devices, for a jit around it. `axes` says of each argument, and `out` of
      the result (or of each part of it), along which axis its arrays are
      split; None: they are whole on every device. Under pmap `fn` also takes
      `axis_name`.
    put: (pytree of this process, axis=None) -> the same on the devices, as the
      functions of `spread` take it.
    devices: over which the lanes of a sweep are spread; none: not at all.
    share: for a batch inside a program whose work on it `devices` share out.
  """

  name: str
  count: int
  compile: Callable
  replicate: Callable
  split: Callable
  spread: Callable
  put: Callable
  devices: tuple[jax.Device, ...] = ()
  share: Callable = lambda batch: batch


def on_one(device: jax.Device | None = None) -> Placement:
  """jit on one device."""
  device = device or jax.local_devices()[0]

  def compile(fn, args, donate=()):
    del args
    return jax.jit(fn, donate_argnums=donate)

  def spread(fn, axes, out):
    del axes, out
    return fn

  def put(tree, axis=None):
    del axis
    return jax.device_put(tree, device)

  return Placement('one', 1, compile, put, put, spread, put)


def on_each(devices) -> Placement:
  """jit; each lane of a sweep on one device, what lanes share on all of them.

  The frozen networks see a part of the batch on each device, where it can be
  split evenly; their outputs are gathered for the lanes.
  """
  devices = tuple(devices)
  mesh = Mesh(np.array(devices), (AXIS,))
  whole = NamedSharding(mesh, PartitionSpec())
  parts = NamedSharding(mesh, PartitionSpec(AXIS))

  def share(batch):
    uneven = any(x.shape[0] % len(devices) for x in jax.tree.leaves(batch))
    return batch if uneven else jax.lax.with_sharding_constraint(batch, parts)

  def put(tree, axis=None):
    del axis
    return jax.device_put(tree, whole)

  one = on_one(devices[0])
  return one._replace(
    replicate=put, split=put, put=put, devices=devices, share=share
  )


def on_mesh(devices=None) -> Placement:
  """jit over a mesh: replicated state, split batch, one global program."""
  devices = list(devices or jax.devices())
  mesh = Mesh(np.array(devices), (AXIS,))
  whole = NamedSharding(mesh, PartitionSpec())
  parts = NamedSharding(mesh, PartitionSpec(AXIS))

  def compile(fn, args, donate=()):
    return jax.jit(
      fn,
      in_shardings=(whole,) * args + (parts,),
      out_shardings=whole,
      donate_argnums=donate,
    )

  def constrained(axis, x):
    shared = axis is None or x.ndim <= axis or x.shape[axis] % len(devices)
    spec = PartitionSpec() if shared else _spec(axis)
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))

  def spread(fn, axes, out):
    del axes  # the arguments lie as `put` has put them

    def on_all(*args):
      return jax.tree.map(
        lambda axis, part: jax.tree.map(
          functools.partial(constrained, axis), part
        ),
        out,
        fn(*args),
        is_leaf=lambda x: x is None,
      )

    return on_all

  put = functools.partial(_put, mesh)
  split = functools.partial(put, axis=0)
  return Placement('mesh', len(devices), compile, put, split, spread, put)


def on_pmap(devices=None) -> Placement:
  """pmap over the batch; state goes in and comes out without a device axis."""
  devices = list(devices or jax.devices())
  local = [d for d in devices if d.process_index == jax.process_index()]
  mesh = Mesh(np.array(devices), (AXIS,))

  # Where a process has several devices, donating an array would give away the
  # copies on all of them with the first.
  shares = jax.process_count() > 1 and len(local) > 1

  def compile(fn, args, donate=()):
    return jax.pmap(
      functools.partial(fn, axis_name=AXIS),
      axis_name=AXIS,
      in_axes=(None,) * args + (0,),
      out_axes=None,
      donate_argnums=() if shares else donate,
      devices=None if jax.process_count() > 1 else devices,
    )

  parts = NamedSharding(Mesh(np.array(local), (AXIS,)), PartitionSpec(AXIS))

  def split(batch):
    stacked = jax.tree.map(
      lambda x: np.reshape(x, (len(local), -1, *np.shape(x)[1:])), batch
    )
    return jax.device_put(stacked, parts)

  def replicate(tree):
    return tree if jax.process_count() > 1 else put(tree)

  def spread(fn, axes, out):
    return jax.shard_map(
      functools.partial(fn, axis_name=AXIS),
      mesh=mesh,
      in_specs=tuple(map(_spec, axes)),
      out_specs=jax.tree.map(_spec, out, is_leaf=lambda x: x is None),
      check_vma=False,
    )

  put = functools.partial(_put, mesh)
  return Placement('pmap', len(devices), compile, replicate, split, spread, put)


def _spec(axis: int | None) -> PartitionSpec:
  """Arrays split along an axis over the devices; None: whole on each."""
  if axis is None:
    return PartitionSpec()
  return PartitionSpec(*[None] * axis, AXIS)


def _put(mesh, tree, axis: int | None = None):
  """`Placement.put` on several devices."""
  sharding = NamedSharding(mesh, _spec(axis))
  return jax.tree.map(functools.partial(_to_devices, sharding), tree)


def _to_devices(sharding, x):
  """The array on the devices of the sharding; keys keep their type."""
  on_device = isinstance(x, jax.Array)
  if on_device and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
    data = _to_devices(sharding, jax.random.key_data(x))
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
  if on_device and x.sharding.is_equivalent_to(sharding, x.ndim):
    return x
  local = np.asarray(jax.device_get(x))
  return jax.make_array_from_process_local_data(sharding, local)


PLACEMENTS = {'one': on_one, 'mesh': on_mesh, 'pmap': on_pmap}


def choose(name: str = 'auto', devices=None) -> Placement:
  """A placement by name; 'auto' is 'one' on one device and 'pmap' on several.

  Raises:
    ValueError: for an unknown name.
  """
  if name == 'auto':
    name = 'one' if len(devices or jax.devices()) == 1 else 'pmap'
  if name not in PLACEMENTS:
    raise types.unknown('parallel', name, ['auto', *PLACEMENTS])
  if name == 'one':
    return on_one(devices[0] if devices else None)
  return PLACEMENTS[name](devices)


def check_batch(batch_size: int, placement: Placement) -> None:
  """Refuses a batch that the devices cannot share evenly.

  Raises:
    ValueError: batch_size is not a multiple of the number of devices.
  """
  if batch_size % placement.count:
    raise ValueError(
      f'batch_size {batch_size} is not divisible by {placement.count} devices;'
      f' use a multiple of {placement.count}'
    )


def fits(tree: types.PyTree, placement: Placement) -> bool:
  """Whether each device has room for a copy of arrays, and as much again."""
  apart = bool(jax.local_devices()[0].memory_stats())
  copies = 1 if apart else placement.count  # a CPU's devices share its memory
  return 2 * copies * device.nbytes(tree) <= device.free()


def meet(where: str) -> None:
  """Waits for the other processes of this run, if there are any."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(where)
