"""AUGMENTS: augmentations of raw images, pure functions of (key, batch).

An example's random numbers come from `fold_in(key, index of the example)`, so
its image is the same on any number of devices and at any place in a batch.
Numbers that a whole batch shares (the ratio of mixup) come from the key itself;
partners are neighbors in a batch (see `mix`).

Images are uint8, or f32 where black is 0. A step that blends pixels turns
uint8 into f32 in [0, 1], which `pipeline.make_prepare` treats alike.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from kd_jax import kinds, types
from kd_jax.data.augment import color, geometry, mix, ops, rand_augment

Augment = Callable[[jax.Array, types.Batch], types.Batch]


def make_augment(
  spec: Sequence, classes: int = 0, moves: str = ops.IMAGE
) -> Augment:
  """Makes the augmentation that applies the steps of `spec` in order.

  Args:
    spec: each a name, or a mapping of a 'name' and options; () is none.
    classes: K, for the steps that make labels soft.
    moves: what a geometric step must move, 'image', or 'image and label' where
      labels are maps.

  Returns:
    augment(key, batch) -> batch; pure and jit-able. `key` is one per training
    step, the same on every device; the batch needs 'inputs', 'labels' and
    'index', and 'mask' where labels are maps [B, H, W].

  Raises:
    ValueError: an unknown name or option, or a value out of its range; from
      here or from augment, a step that moves the image and not its label map.
  """
  kinds.check('a list of augmentations', spec, Sequence)
  steps = [_make_step(entry, classes) for entry in spec]
  names = [e if isinstance(e, str) else e['name'] for e in spec]
  for name in ('two_view', 'rotations'):
    if name in names[:-1]:
      raise ValueError(f"augmentations after '{name}'; legal: it comes last")

  image_only = [n for n, s in zip(names, steps) if s.moves == ops.IMAGE]
  if moves == ops.BOTH:
    _refuse(image_only)

  def augment(key: jax.Array, batch: types.Batch) -> types.Batch:
    if steps and ops.has_maps(batch):
      _refuse(image_only)
    for number, step in enumerate(steps):
      step_key = jax.random.fold_in(key, number)
      keys = jax.vmap(jax.random.fold_in, (None, 0))(step_key, batch['index'])
      batch = step.change(step_key, keys, batch)
    return batch

  return augment


def _refuse(names: Sequence[str]) -> None:
  """Refuses steps that tear an image and its label map apart."""
  if names:
    raise ValueError(
      f"augmentation '{names[0]}' changes where things are in an image and "
      'not in its label map; legal: scale_crop, resized_crop, pad_crop, shift, '
      'flip, cutmix, cutout, color_jitter, rand_augment with geometric=False, '
      'and two_view or teacher_view of steps that move nothing'
    )


def _make_step(entry: str | Mapping, classes: int) -> ops.Step:
  """Makes a step from its entry in a specification."""
  if isinstance(entry, str):
    entry = {'name': entry}
  # A ConfigDict has keys, yet is no Mapping.
  if not hasattr(entry, 'keys') or 'name' not in entry:
    raise ValueError(
      f'augmentation {entry!r}; legal: a name, or a mapping with a name'
    )
  options = dict(entry)
  name = options.pop('name')
  maker = kinds.entry('augmentation', AUGMENTS, name)
  kinds.options(f"augmentation '{name}'", maker, options, passed=('classes',))
  if 'classes' in kinds.of_options(maker):
    options['classes'] = classes
  return maker(**options)


def two_view(
  weak: Sequence = ('pad_crop', 'flip'),
  strong: Sequence = ('pad_crop', 'flip', 'rand_augment'),
) -> ops.Step:
  """Two views of each image: 'inputs' is weak, 'strong_inputs' is strong.

  This step comes last: a later step would change one of the views alone. Where
  labels are maps both views have the geometry of the steps before it, and
  neither may move anything.

  Args:
    weak: specification of the first view, as for `make_augment`.
    strong: specification of the second, drawn independently. Neither may mix
      images.

  Source: Y. Jin, J. Wang, D. Lin, Multi-Level Logit Distillation, 2023,
    https://openaccess.thecvf.com/content/CVPR2023/html/Jin_Multi-Level_Logit_Distillation_CVPR_2023_paper.html
  """
  weakly, strongly = make_augment(weak), make_augment(strong)
  _unmixed((*weak, *strong), 'two_view')

  def view(key: jax.Array, keys: jax.Array, batch: types.Batch) -> types.Batch:
    del keys
    first, second = jax.random.split(key)
    other = strongly(second, batch)['inputs']
    return {**weakly(first, batch), 'strong_inputs': other}

  return ops.Step(view, _moves((*weak, *strong)))


def teacher_view(steps: Sequence = ()) -> ops.Step:
  """Gives the teacher a separate view: 'teacher_inputs'.

  Later steps change the student's view, 'inputs', alone. Without `teacher_view`
  both see the same image ("consistent teaching"). Where labels are maps, the
  `steps` may move nothing, and later steps that do move all views alike. With
  no `steps` the teacher
  sees the original image ("fixed teacher"); with the student's steps it sees
  another random draw of them ("independent noise").

  Args:
    steps: specification of the teacher's view, as for `make_augment`; may not
      mix images.

  Source: L. Beyer et al., Knowledge distillation: A good teacher is patient
    and consistent, 2022, https://arxiv.org/abs/2106.05237, section 3.1.
  """
  change = make_augment(steps)
  _unmixed(steps, 'teacher_view')

  def view(key: jax.Array, keys: jax.Array, batch: types.Batch) -> types.Batch:
    del keys
    return {**batch, 'teacher_inputs': change(key, batch)['inputs']}

  return ops.Step(view, _moves(steps))


def _moves(spec: Sequence) -> str:
  """What views by these steps do to each other: a mover tears them apart."""
  still = all(_make_step(entry, 0).moves == ops.NOTHING for entry in spec)
  return ops.NOTHING if still else ops.IMAGE


def rotations() -> ops.Step:
  """Each image and its turns by 90, 180 and 270 degrees: four of one.

  Everything of a batch of B becomes [4 B, ...], the four of an image one after
  the other, and 'turns' i32 [4 B] counts the quarter turns. Turned images are
  masked: the accuracy and every term but those that read 'turns' count the
  upright ones alone, though the student's batch normalization sees all.

  This step comes last: a later step would change the four apart.

  Source: G. Xu, Z. Liu, X. Li, C. C. Loy, Knowledge Distillation Meets
    Self-Supervision, 2020, https://arxiv.org/abs/2006.07114.
  """

  def turn(key: jax.Array, keys: jax.Array, batch: types.Batch) -> types.Batch:
    del key, keys
    size = batch['labels'].shape[0]
    turns = jnp.tile(jnp.arange(4, dtype=jnp.int32), size)
    batch = {
      name: _turned(x) if name.endswith('inputs') else jnp.repeat(x, 4, axis=0)
      for name, x in batch.items()
    }
    return {**batch, 'turns': turns, 'mask': batch['mask'] * (turns == 0)}

  return ops.Step(turn, ops.IMAGE)


def _turned(images: jax.Array) -> jax.Array:
  """[B, H, H, C] -> [4 B, H, H, C]."""
  if images.shape[1] != images.shape[2]:
    raise ValueError(
      f"augmentation 'rotations' of images {images.shape[1]} x "
      f'{images.shape[2]}; legal: square ones'
    )
  turned = [jnp.rot90(images, turns, (1, 2)) for turns in range(4)]
  return jnp.stack(turned, axis=1).reshape(-1, *images.shape[1:])


def _unmixed(steps: Sequence, where: str) -> None:
  """Refuses steps that change more than the image of an example."""
  for entry in steps:
    name = entry['name'] if hasattr(entry, 'keys') else entry
    if name in ('mixup', 'cutmix', 'two_view', 'teacher_view', 'rotations'):
      raise ValueError(f"'{name}' within {where}; legal: before it")


AUGMENTS = {
  'shift': geometry.shift,
  'pad_crop': geometry.pad_crop,
  'resized_crop': geometry.resized_crop,
  'scale_crop': geometry.scale_crop,
  'flip': geometry.flip,
  'cutout': geometry.cutout,
  'color_jitter': color.color_jitter,
  'rand_augment': rand_augment.rand_augment,
  'mixup': mix.mixup,
  'cutmix': mix.cutmix,
  'two_view': two_view,
  'teacher_view': teacher_view,
  'rotations': rotations,
}
