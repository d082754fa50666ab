"""Networks of inverted bottlenecks (Sandler et al., MobileNetV2) as data, and the one builder for all of them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import keras

from pnag_tf.zoo import layers


class Layer(NamedTuple):
    """One inverted bottleneck; at ratio 1 nothing expands.

    Attributes:
      kernel: of the depthwise convolution.
      ratio: channels inside for each channel before.
      groups: of the projection; with more than one, the channels are shuffled in front of the depthwise convolution.
    """

    kernel: int
    ratio: int
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class Stage:
    """Layers with the same channels behind them.

    Attributes:
      channels: behind each layer.
      stride: of the first layer; the others have 1.
      layers: in order; what a table calls a skipped layer is not among them.
      squeeze: channels of the squeeze-excite bottleneck as a share of the layer's input channels, 0 for none.
    """

    channels: int
    stride: int
    layers: tuple[Layer, ...]
    squeeze: float = 0.0


@dataclasses.dataclass(frozen=True)
class Design:
    """What a whole network is made of: 3x3 convolution at stride 2, stages, 1x1 convolution, pooling, classifier.

    Attributes:
      stem: channels behind the first convolution.
      stages: in order.
      head: channels in front of the classifier.
      activation: 'relu' or 'relu6'.
      epsilon: batch norm's.
      symmetric: see `layers.conv`.
    """

    stem: int
    stages: tuple[Stage, ...]
    head: int
    activation: str
    epsilon: float
    symmetric: bool = True


def build(network: Design, name: str, classes: int, resolution: int) -> keras.Model:
    """The network, freshly initialised: images float32 [n, r, r, 3] -> logits [n, classes]."""
    settings = {"epsilon": network.epsilon, "symmetric": network.symmetric}
    images = keras.Input((resolution, resolution, 3), name="images")
    x = layers.conv(images, "stem", network.stem, kernel=3, stride=2, activation=network.activation, **settings)
    for number, stage in enumerate(network.stages, 1):
        for index, layer in enumerate(stage.layers):
            stride = stage.stride if index == 0 else 1
            squeeze = max(1, int(x.shape[-1] * stage.squeeze)) if stage.squeeze else 0
            place = f"stage{number}_layer{index}"
            x = _bottleneck(x, place, layer, stage.channels, stride, squeeze, network.activation, settings)
    x = layers.conv(x, "head", network.head, activation=network.activation, **settings)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, keras.layers.Dense(classes, name="classifier")(x), name=name)


def _bottleneck(x, name: str, layer: Layer, channels: int, stride: int, squeeze: int, activation: str, settings: dict):
    """Expand, depthwise, squeeze-excite, project; with the shortcut where the shapes allow it."""
    shortcut = x
    if layer.ratio > 1:
        x = layers.conv(x, f"{name}_expand", x.shape[-1] * layer.ratio, activation=activation, **settings)
    if layer.groups > 1:
        x = _shuffle(x, name, layer.groups)
    x = layers.conv(x, f"{name}_depthwise", None, layer.kernel, stride, activation=activation, **settings)
    if squeeze:
        x = _squeeze_excite(x, name, squeeze)
    x = layers.conv(x, f"{name}_project", channels, groups=layer.groups, **settings)
    residual = stride == 1 and shortcut.shape[-1] == channels
    return keras.layers.Add(name=f"{name}_add")([shortcut, x]) if residual else x


def _squeeze_excite(x, name: str, squeeze: int):
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze_pool")(x)
    gate = keras.layers.Conv2D(squeeze, 1, activation="relu", name=f"{name}_squeeze_reduce")(gate)
    gate = keras.layers.Conv2D(x.shape[-1], 1, activation="sigmoid", name=f"{name}_squeeze_expand")(gate)
    return keras.layers.Multiply(name=f"{name}_squeeze_multiply")([x, gate])


def _shuffle(x, name: str, groups: int):
    """ShuffleNet's: channel j of group i moves to place j * groups + i."""
    _, height, width, channels = x.shape
    x = keras.layers.Reshape((height, width, groups, channels // groups), name=f"{name}_shuffle_split")(x)
    x = keras.layers.Permute((1, 2, 4, 3), name=f"{name}_shuffle_swap")(x)
    return keras.layers.Reshape((height, width, channels), name=f"{name}_shuffle_join")(x)
