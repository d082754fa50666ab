"""The networks that `keras.applications` has, without weights and with logits as output."""

from __future__ import annotations

import functools

import keras

from pnag_tf.zoo.entry import Entry

DEFINITION = "keras.applications.{}"


def build(function: str, settings: dict, classes: int, resolution: int) -> keras.Model:
    """The network, freshly initialised: images float32 [n, r, r, 3] -> logits [n, classes]."""
    make = getattr(keras.applications, function)
    shape = (resolution, resolution, 3)
    return make(input_shape=shape, weights=None, classes=classes, classifier_activation=None, **settings)


def _entry(function: str, resolution: int = 224, note: str = "", **settings) -> Entry:
    return Entry(functools.partial(build, function, settings), DEFINITION.format(function), resolution, note)


_V3 = {"include_preprocessing": False}  # images come as the other networks take them

ENTRIES = {
    "mobilenetv2-1.0": _entry(
        "MobileNetV2",
        alpha=1.0,
        note="3.50M parameters; the paper's 3.4 is 3.47M, cut off, without batch norm's scales and offsets.",
    ),
    "mobilenetv2-1.4": _entry(
        "MobileNetV2",
        alpha=1.4,
        note="The sizes of the authors' release, 582M multiply-adds and 6.06M parameters, 6.11M with batch norm's "
        "scales and offsets; the paper prints 585 and 6.9.",
    ),
    "mobilenetv3-large-0.75": _entry("MobileNetV3Large", alpha=0.75, **_V3),
    "mobilenetv3-large-1.0": _entry(
        "MobileNetV3Large",
        alpha=1.0,
        note="217M multiply-adds, as in the authors' release; the paper prints 219. 5.48M parameters are printed as "
        "5.4.",
        **_V3,
    ),
    "efficientnet-b0": _entry(
        "EfficientNetB0",
        note="1 % fewer multiply-adds than the paper's 0.39 billion, which are rounded.",
    ),
    "efficientnet-b1": _entry(
        "EfficientNetB1",
        resolution=240,
        note="The paper's 0.70 billion multiply-adds are for 240 pixels; 687M by this count, 570M at 224.",
    ),
    "resnet-50-v1": _entry(
        "ResNet50",
        note="The stride is in the first 1x1 convolution and convolutions have biases: 3858M multiply-adds, 6 % fewer "
        "than PNAG's table has for ResNet-50, which is `resnet-50`.",
    ),
    "nasnet-a-mobile": _entry("NASNetMobile"),
}
