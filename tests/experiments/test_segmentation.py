"""The recipes of CamVid and Cityscapes build, and say what was published."""

import numpy as np
import pytest

from experiments.configs import camvid, cityscapes
from kd_jax import build


@pytest.fixture
def frames(tmp_path):
  """A folder laid out as CamVid, of frames of two films."""
  Image = pytest.importorskip('PIL.Image')
  rng = np.random.default_rng(0)
  for split, count in (('train', 9), ('val', 3), ('test', 3)):
    for i in range(count):
      labels = rng.integers(0, 12, (24, 32), np.uint8)
      image = rng.integers(0, 256, (24, 32, 3), np.uint8)
      for folder, array in ((split, image), (f'{split}annot', labels)):
        path = tmp_path / folder / f'{split}{i % 2}_{i}.png'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(array).save(path)
  return tmp_path


def test_camvid_builds(frames):
  c = camvid.get_config()
  c.data.raw_dir = str(frames)
  c.data.size = [24, 32]
  of = build.make_experiment(c)
  assert (of.data.task, of.data.classes) == ('segmentation', 11)
  assert {'teacher', 'student', 'baseline'} <= {s.name for s in of.stages}


@pytest.mark.parametrize('name', camvid.ALONE)
def test_a_network_of_camvid_alone_is_tuned_as_it_is_trained(name, frames):
  """The same network, steps and data as beside the other one."""
  alone, both = camvid.get_config(name), camvid.get_config()
  for c in (alone, both):
    c.data.raw_dir, c.data.size = str(frames), [24, 32]
    c.seeds = 1
  (stage,) = build.make_experiment(alone).stages
  part = both.teacher if name == 'teacher' else both.train
  assert alone.train.to_dict() == {
    k: v for k, v in part.to_dict().items() if k != 'seed'
  }
  assert alone.networks.student.name == both.networks[name].name
  assert set(stage.terms) == {'hard'} and not stage.frozen
  with pytest.raises(ValueError, match="did you mean 'teacher'"):
    camvid.get_config('teachr')


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=() if name == 'alone' else pytest.mark.slow)
    for name in cityscapes.METHODS
  ],
)
def test_cityscapes_builds(name, frames):
  """On a folder laid out alike, with students whose backbone is not loaded."""
  c = cityscapes.get_config(f'{name},deeplabv3_resnet18')
  c.data.update(
    folder=str(frames), image_folder='{split}', label_folder='{split}annot',
    image_suffix='', label_suffix='', test_split='test',
  )  # fmt: skip
  for part in (c.teacher, c.train):
    part.batch_size = 8
  of = build.make_experiment(c)
  assert of.data.classes == 19 and of.data.ignore == 255
  *teachers, student = of.stages
  assert {'hard', 'auxiliary'} <= set(student.terms)
  assert [stage.name for stage in teachers] == ['teacher'] * (name != 'alone')


def test_cityscapes_follows_the_published_rate():
  c = cityscapes.get_config()
  assert (c.train.steps, c.train.batch_size) == (40_000, 16)
  assert cityscapes.expected('cwd', 'deeplabv3_resnet18') == 75.55
  with pytest.raises(ValueError, match="did you mean 'cwd'"):
    cityscapes.get_config('cwdd,deeplabv3_resnet18')
  with pytest.raises(ValueError, match='legal: METHOD,STUDENT'):
    cityscapes.get_config('cwd')
