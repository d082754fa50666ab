"""The one piece that all convolutional networks of the zoo are put together from."""

from __future__ import annotations

import keras


def conv(
    x,
    name: str,
    filters: int | None,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: str | None = None,
    epsilon: float = 1e-5,
    symmetric: bool = True,
):
    """Convolution without bias, batch norm, activation: [n, s, s, c] -> [n, s', s', filters], s' = ceil(s / stride).

    Args:
      name: the layers are called `<name>_conv`, `<name>_bn`, `<name>_act`.
      filters: channels behind it, None for a depthwise convolution.
      activation: what follows the batch norm; None for nothing.
      epsilon: batch norm's.
      symmetric: padding kernel // 2 on every side, as PyTorch pads, also at stride 2; else TensorFlow's 'same'.
    """
    padding = "same"
    if symmetric and stride > 1:
        x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        padding = "valid"
    settings = {"strides": stride, "padding": padding, "use_bias": False, "name": f"{name}_conv"}
    if filters is None:
        x = keras.layers.DepthwiseConv2D(kernel, **settings)(x)
    else:
        x = keras.layers.Conv2D(filters, kernel, groups=groups, **settings)(x)
    x = keras.layers.BatchNormalization(epsilon=epsilon, name=f"{name}_bn")(x)
    return keras.layers.Activation(activation, name=f"{name}_act")(x) if activation else x
