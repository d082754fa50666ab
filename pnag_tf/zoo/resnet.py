"""ResNet-18 and ResNet-50 (He et al., CVPR 2016), the latter with the stride in the 3x3 convolution ("v1.5").

The figures and accuracies in PNAG's tables are those of this form; `keras.applications` has the paper's own, with the
stride in the 1x1 convolution, which is 6 % cheaper.
"""

from __future__ import annotations

import functools

import keras

from pnag_tf.zoo import layers
from pnag_tf.zoo.entry import Entry

DEFINITION = "github.com/pytorch/vision, torchvision/models/resnet.py"


def build(depths: tuple[int, ...], bottleneck: bool, name: str, classes: int, resolution: int) -> keras.Model:
    """The network, freshly initialised: images float32 [n, r, r, 3] -> logits [n, classes].

    Args:
      depths: blocks of each stage.
      bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions, which quadruple the width, instead of two 3x3.
    """
    images = keras.Input((resolution, resolution, 3), name="images")
    x = layers.conv(images, "stem", 64, kernel=7, stride=2, activation="relu")
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for stage, depth in enumerate(depths):
        for index in range(depth):
            stride = 2 if stage and index == 0 else 1
            x = _block(x, f"stage{stage + 1}_block{index}", 64 * 2**stage, stride, bottleneck)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, keras.layers.Dense(classes, name="classifier")(x), name=name)


def build_small(depth: int, classes: int, resolution: int) -> keras.Model:
    """The paper's form for small images (its section 4.2): three stages of 16, 32 and 64 channels, no pooling before.

    Where the channels change, the shortcut is a 1x1 convolution.

    Args:
      depth: 6 n + 2 for n blocks a stage: 8, 14, 20 and so on.
    """
    images = keras.Input((resolution, resolution, 3), name="images")
    x = layers.conv(images, "stem", 16, kernel=3, activation="relu")
    for stage in range(3):
        for index in range((depth - 2) // 6):
            stride = 2 if stage and index == 0 else 1
            x = _block(x, f"stage{stage + 1}_block{index}", 16 * 2**stage, stride, bottleneck=False)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, keras.layers.Dense(classes, name="classifier")(x), name=f"resnet_{depth}")


def _block(x, name: str, width: int, stride: int, bottleneck: bool):
    channels = 4 * width if bottleneck else width
    shortcut = x
    if stride > 1 or x.shape[-1] != channels:
        shortcut = layers.conv(x, f"{name}_shortcut", channels, stride=stride)
    if bottleneck:
        x = layers.conv(x, f"{name}_reduce", width, activation="relu")
        x = layers.conv(x, f"{name}_middle", width, kernel=3, stride=stride, activation="relu")
        x = layers.conv(x, f"{name}_expand", channels)
    else:
        x = layers.conv(x, f"{name}_first", width, kernel=3, stride=stride, activation="relu")
        x = layers.conv(x, f"{name}_second", width, kernel=3)
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.Activation("relu", name=f"{name}_act")(x)


ENTRIES = {
    "resnet-18": Entry(functools.partial(build, (2, 2, 2, 2), False, "resnet_18"), DEFINITION),
    "resnet-50": Entry(
        functools.partial(build, (3, 4, 6, 3), True, "resnet_50"),
        DEFINITION,
        note="PNAG's table leaves out the classifier's multiply-adds.",
    ),
}
