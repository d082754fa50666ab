"""Training with the rounding of int8: weights and activations are rounded on the way forward, gradients pass by.

A network in int8 has weights of 8 bits, scaled for each output channel, and activations of 8 bits in one range for all
of a tensor (Jacob et al., 2018). Batch norm stays as it was learnt: behind a convolution it is a factor and an offset
for each channel, and a factor changes nothing in what a weight is rounded to.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import ops

LEVELS = 255  # steps of an activation's range
LARGEST = 127  # of a weight


def for_training(network: keras.Model) -> keras.Model:
    """A plain network that is trained, and answers, with int8's rounding; `fused.plain` takes it off again."""
    names = {layer.name for layer in network.layers}

    def clone(layer):
        settings, own = layer.get_config(), _KINDS.get(type(layer), type(layer))
        if type(layer) is keras.layers.BatchNormalization:
            settings["trainable"] = False
            if layer.name.removesuffix("bn") + "act" in names:  # it is the activation that is rounded
                own = type(layer)
        return own.from_config(settings)

    copy = keras.models.clone_model(network, clone_function=clone)
    copy.set_weights(network.get_weights())
    return copy


def activation(values: tf.Tensor) -> tf.Tensor:
    """Values in 8 bits between the least and the largest of the batch, with 0; the gradient is that of `values`."""
    least, most = ops.minimum(ops.min(values), 0.0), ops.maximum(ops.max(values), 0.0)
    scale = ops.maximum(most - least, 1e-12) / LEVELS
    return values + tf.stop_gradient(ops.round(values / scale) * scale - values)


def weights(kernel: tf.Tensor, axis: int = -1) -> tf.Tensor:
    """Weights in 8 bits, symmetric about 0, with a scale for each place of `axis`; the gradient is that of `kernel`."""
    others = [each for each in range(kernel.ndim) if each != axis % kernel.ndim]
    scale = ops.maximum(ops.max(ops.abs(kernel), others, keepdims=True), 1e-12) / LARGEST
    return kernel + tf.stop_gradient(ops.round(kernel / scale) * scale - kernel)


class _Conv2D(keras.layers.Conv2D):
    PLAIN = keras.layers.Conv2D

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, weights(kernel))

    def call(self, inputs):
        y = super().call(inputs)
        return activation(y) if self.use_bias else y  # without, a batch norm stands behind it


class _DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    PLAIN = keras.layers.DepthwiseConv2D

    def call(self, inputs):
        kernel = weights(ops.convert_to_tensor(self.kernel), axis=2)
        return ops.depthwise_conv(inputs, kernel, self.strides, self.padding)


class _Dense(keras.layers.Dense):
    PLAIN = keras.layers.Dense

    def call(self, inputs):
        return activation(ops.matmul(inputs, weights(ops.convert_to_tensor(self.kernel))) + self.bias)


class _BatchNormalization(keras.layers.BatchNormalization):
    PLAIN = keras.layers.BatchNormalization

    def call(self, inputs, training=None, mask=None):
        return activation(super().call(inputs, training=False, mask=mask))


def _rounding(plain: type[keras.layers.Layer]) -> type[keras.layers.Layer]:
    """A layer whose output is rounded."""

    def call(self, inputs):
        return activation(plain.call(self, inputs))

    return type(f"_{plain.__name__}", (plain,), {"PLAIN": plain, "call": call})


_ROUNDING = (
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Multiply,
)
_KINDS = {
    each.PLAIN: each for each in (_BatchNormalization, _Conv2D, _DepthwiseConv2D, _Dense, *map(_rounding, _ROUNDING))
}
