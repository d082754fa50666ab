"""A trained supernet for other images: its body, and a new classifier, to be trained by a few epochs more."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection

import keras

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import ofa


def load(
    path: str | os.PathLike, space: space_lib.SearchSpace, backbone: backbone_lib.Backbone
) -> supernet_lib.Supernet:
    """A saved supernet, at the resolutions of a run.

    Args:
      space, backbone: those of the saved one but for the resolutions, of which no weight depends.

    Raises:
      UserError: see `ofa.load`.
    """
    given = ofa.load(path)
    if (given.space, given.backbone) == (space, backbone):
        return given
    net = supernet_lib.Supernet(space, backbone, given.dropout)
    return _with_weights(net, given)


def adapted(
    given: supernet_lib.Supernet,
    space: space_lib.SearchSpace,
    backbone: backbone_lib.Backbone,
    dropout: float,
    seed: int,
) -> supernet_lib.Supernet:
    """A supernet with the weights and statistics of `given`, and an untrained classifier.

    Args:
      space, backbone: those of `given` but for the classes and the resolutions, of which no other weight depends.
      dropout: before the classifier.
      seed: of the classifier's weights.

    Raises:
      ValueError: space or backbone differ in something else.
    """
    keras.utils.set_random_seed(seed)
    net = supernet_lib.Supernet(space, backbone, dropout)
    return _with_weights(net, given, {id(weight) for weight in net.classifier.weights})


def _with_weights(
    net: supernet_lib.Supernet, given: supernet_lib.Supernet, fresh: Collection[int] = ()
) -> supernet_lib.Supernet:
    """`net` with the weights of `given`, but for those whose `id` is in `fresh`."""
    if _body(net) != _body(given):
        raise ValueError("expected space and backbone of the given supernet, up to classes and resolutions")
    for weight, trained in zip(net.weights, given.weights, strict=True):
        if id(weight) not in fresh:
            weight.assign(trained)
    return net


def _body(net: supernet_lib.Supernet) -> tuple[space_lib.SearchSpace, backbone_lib.Backbone]:
    """What the weights in front of the classifier depend on."""
    return net.space.without_resolutions, dataclasses.replace(net.backbone, classes=0, resolution=0)
