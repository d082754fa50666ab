"""A trained supernet for other images: its body, and a new classifier, to be trained by a few epochs more."""

from __future__ import annotations

import dataclasses

import keras

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.supernet import model as supernet_lib


def adapted(
    given: supernet_lib.Supernet, backbone: backbone_lib.Backbone, dropout: float, seed: int
) -> supernet_lib.Supernet:
    """A supernet with the weights and statistics of `given`, and an untrained classifier.

    Args:
      backbone: that of `given` but for its classes and resolution, of which no other weight depends.
      dropout: before the classifier.
      seed: of the classifier's weights.

    Raises:
      ValueError: the backbone differs in something else.
    """
    if dataclasses.replace(backbone, classes=0, resolution=0) != dataclasses.replace(
        given.backbone, classes=0, resolution=0
    ):
        raise ValueError("expected the backbone of the given supernet, up to classes and resolution")
    keras.utils.set_random_seed(seed)
    net = supernet_lib.Supernet(given.space, backbone, dropout)
    fresh = {id(weight) for weight in net.classifier.weights}
    for weight, trained in zip(net.weights, given.weights, strict=True):
        if id(weight) not in fresh:
            weight.assign(trained)
    return net
