"""Off-the-shelf networks: what one would train on one's own images instead of searching for a network.

    from pnag_tf.zoo import shelf
    model = shelf.build("mobilenet_v3_small", classes=10, resolution=32)    # logits [n, 10]

`keras.applications` takes images of 32 pixels and more. Smaller ones are brought to that inside the network: padded
with zeros from PADDED_FROM pixels on, enlarged below.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Literal

import keras

from pnag_tf.util import errors
from pnag_tf.zoo import plain, resnet

SMALL_PX = 64  # the largest images that networks for small images are for
LEAST_PX = 32  # what keras.applications takes
PADDED_FROM = 24
# As PyTorch has it. The 0.999 of the MobileNets would take thousands of steps to forget the starting values.
BATCH_NORM_MOMENTUM = 0.9

Pixels = tuple[Sequence[float], Sequence[float]]
"""(mean, std) by which images were normalised: by colour channel, one for grey."""


@dataclasses.dataclass(frozen=True)
class Network:
    """An off-the-shelf network.

    Attributes:
      make: (classes, resolution, pixels or None) -> the network; with pixels it starts from ImageNet's weights.
      least, most: resolutions that it can take.
      usual: the least resolution at which it is trained unasked.
      pretrained: whether there are weights for it.
      optimizer, learning_rate: to train it with, for batches of 64 images.
    """

    make: Callable[[int, int, Pixels | None], keras.Model]
    least: int = 8
    most: int = 1 << 16
    usual: int = PADDED_FROM
    pretrained: bool = False
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 0.05


def build(name: str, classes: int, resolution: int, pixels: Pixels | None = None) -> keras.Model:
    """A network by name: images float32 [n, r, r, 3] -> logits [n, classes].

    Args:
      pixels: how the images are normalised; given, a network for which there are weights starts from ImageNet's.

    Raises:
      UserError: there is no network of that name, it does not take the resolution, or the weights cannot be had.
    """
    network = taking(name, resolution)
    model = network.make(classes, resolution, pixels if network.pretrained else None)
    return _renamed(model, name)


def entry(name: str) -> Network:
    """What is known of a network. Raises UserError when there is none of that name."""
    if name not in NETWORKS:
        raise errors.UserError(f"unknown network '{name}'; choose from {', '.join(NETWORKS)}")
    return NETWORKS[name]


def taking(name: str, resolution: int) -> Network:
    """`entry` of a network that takes images of a resolution. Raises UserError when it does not."""
    network = entry(name)
    if not network.least <= resolution <= network.most:
        raise errors.UserError(f"{name}: expected images of {network.least} to {network.most} px, found {resolution}")
    return network


def fitting(resolution: int) -> tuple[str, ...]:
    """The networks that one would train on images of a resolution."""
    return tuple(name for name, each in NETWORKS.items() if each.usual <= resolution <= each.most)


def _renamed(model: keras.Model, name: str) -> keras.Model:
    """The same network with a name of its own, whose batch norm follows within a few hundred steps."""

    def clone(layer):
        settings = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            settings |= {"momentum": BATCH_NORM_MOMENTUM}
        return type(layer).from_config(settings)

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return keras.Model(copy.inputs[0], copy.outputs[0], name=name.replace(".", "_"))


def _own(make: Callable[[int, int], keras.Model], **known) -> Network:
    """A network for small images, without weights."""
    return Network(lambda classes, resolution, pixels: make(classes, resolution), **{"most": SMALL_PX} | known)


def _application(function: str, bytes_in: bool = False, **settings) -> Network:
    make = functools.partial(_build_application, function, bytes_in, settings)
    return Network(make, pretrained=True)


def _build_application(
    function: str, bytes_in: bool, settings: dict, classes: int, resolution: int, pixels: Pixels | None
) -> keras.Model:
    """A network of keras.applications on normalised images.

    Args:
      bytes_in: it takes pixels from 0 to 255; else from -1 to 1.
    """
    images = keras.Input((resolution, resolution, 3), name="images")
    x = _enlarged(images, resolution)
    if pixels is not None:  # ImageNet's weights are for pixels as they were normalised then
        mean, std = ([values[0]] * 3 if len(values) == 1 else list(values) for values in pixels)
        factor, offset = (255, 0) if bytes_in else (2, -1)
        x = keras.layers.Rescaling([factor * s for s in std], [factor * m + offset for m in mean], name="pixels")(x)
    elif bytes_in:  # it divides by 255
        x = keras.layers.Rescaling(255, name="pixels")(x)
    make = functools.partial(getattr(keras.applications, function), input_tensor=x, **settings)
    if pixels is None:
        return make(weights=None, classes=classes, classifier_activation=None)
    try:
        body = make(weights="imagenet", include_top=False, pooling="avg")
    except Exception as error:  # Keras raises whatever its download raises
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise errors.UserError(f"ImageNet's weights of {function} cannot be had: {said}") from None
    logits = keras.layers.Dense(classes, name="classifier")(body.outputs[0])
    return keras.Model(images, logits)


def _enlarged(images, resolution: int):
    """Images of at least LEAST_PX pixels a side."""
    if resolution < PADDED_FROM:
        factor = -(-LEAST_PX // resolution)
        return keras.layers.UpSampling2D(factor, interpolation="bilinear", name="enlarge")(images)
    if resolution < LEAST_PX:
        before = (LEAST_PX - resolution) // 2
        sides = (before, LEAST_PX - resolution - before)
        return keras.layers.ZeroPadding2D((sides, sides), name="pad_to_32")(images)
    return images


_V3 = {"include_preprocessing": False}  # images come normalised

NETWORKS = {
    # As in the tutorial, which trains with Adam.
    "tutorial_cnn": _own(plain.tutorial_cnn, least=18, usual=18, optimizer="adam", learning_rate=1e-3),
    "tiny_cnn": _own(plain.tiny_cnn, usual=8, optimizer="adam", learning_rate=1e-3),
    "resnet_8": _own(functools.partial(resnet.build_small, 8), usual=8),
    "resnet_14": _own(functools.partial(resnet.build_small, 14), usual=8),
    "mobilenet_v2_0.35": _application("MobileNetV2", alpha=0.35),
    "mobilenet_v2_0.5": _application("MobileNetV2", alpha=0.5),
    "mobilenet_v2_1.0": _application("MobileNetV2", alpha=1.0),
    "mobilenet_v3_small": _application("MobileNetV3Small", **_V3),
    "mobilenet_v3_small_minimalistic": _application("MobileNetV3Small", minimalistic=True, **_V3),
    "mobilenet_v3_large": _application("MobileNetV3Large", **_V3),
    "mobilenet_v3_large_minimalistic": _application("MobileNetV3Large", minimalistic=True, **_V3),
    "efficientnet_b0": _application("EfficientNetB0", bytes_in=True),
}
