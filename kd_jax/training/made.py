"""Puts made images in the place of a data set's training examples."""

from collections.abc import Mapping

import numpy as np

from kd_jax import build, stages, types
from kd_jax.data import splits
from kd_jax.models import generators


def on_images(
  experiment: build.Experiment,
  stage: stages.Stage,
  networks: Mapping[str, types.Variables],
) -> build.Experiment:
  """The experiment as a stage sees it, which may not see the training set.

  While a stage makes its images, black ones are in their place: only their
  number and shape are of use, and their labels. A stage on the images of
  earlier stages has those, with the labels for which they were made, in the
  units of the data set's pixels, so that it augments and normalizes them as it
  would the data's.

  Args:
    experiment: any.
    stage: of it.
    networks: {name: variables} of what is finished.
  """
  data = experiment.data
  if stage.maker is not None:
    shape = (stage.maker.examples, *data.train.inputs.shape[1:])
    labels = stage.maker.labels
    if labels is None:
      labels = np.zeros(shape[0], np.int32)
    train = splits.Split(np.broadcast_to(np.uint8(0), shape), labels)
  elif stage.transfer:
    images = [
      np.asarray(networks[maker.name]['params'][generators.IMAGES])
      for maker in stage.transfer
    ]
    labels = [maker.labels for maker in stage.transfer]
    pixels = np.concatenate(images) * np.float32(data.std)
    train = splits.Split(pixels + np.float32(data.mean), np.concatenate(labels))
  else:
    return experiment
  name = 'images made of the teacher'
  return experiment._replace(data=data._replace(train=train, name=name))
