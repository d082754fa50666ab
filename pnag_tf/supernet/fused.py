"""Training in fewer operations: batch norm as a single one of TensorFlow's, where Keras composes it of many.

Small networks spend more time on the number of operations than on their arithmetic. With this batch norm and the
update of `optimizers.Momentum`, a training step of the networks in `fitting.SMALL` takes 0.6 to 0.8 of its processor
time. Results are Keras's, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from pnag_tf.supernet import elastic


class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch norm of [b, h, w, c] over all but the channels; in training one operation, with its gradient."""

    PLAIN = keras.layers.BatchNormalization

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):
            return super().call(inputs, training=False, mask=mask)
        y, statistics = elastic.normalise(inputs, self.gamma.value, self.beta.value, self.epsilon)
        mean, variance = tf.unstack(statistics)
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        variance *= (count - 1) / count  # Keras's moving variance is that of the batch, not the unbiased one
        for moving, measured in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + measured * (1.0 - self.momentum))
        return y


def for_training(network: keras.Model, policy: str = "float32") -> keras.Model:
    """A network as it trains fastest, with the weights of `network`.

    Args:
      policy: a Keras dtype policy; the last layer, the logits, stays float32.
    """
    return _cloned(network, policy, lambda layer: BatchNormalization if _fits(layer) else type(layer))


def plain(network: keras.Model) -> keras.Model:
    """The network that `for_training`, here or in `rounded`, was given, with the weights of now.

    In float32, of Keras's own layers; these are the `PLAIN` of ours.
    """
    return _cloned(network, "float32", lambda layer: getattr(type(layer), "PLAIN", type(layer)))


def _fits(layer: keras.Operation) -> bool:
    """Whether the one operation computes what this layer does."""
    if type(layer) is not keras.layers.BatchNormalization:
        return False
    whole = layer.center and layer.scale and not (layer.renorm or layer.synchronized)
    return whole and layer.input_spec.ndim == 4 and layer.axis in (-1, 3)


def _cloned(network: keras.Model, policy: str, kind: Callable[[keras.Operation], type]) -> keras.Model:
    def clone(layer):
        settings = layer.get_config()
        if isinstance(layer, keras.layers.Layer):  # an operation, such as `x + 3`, has no policy
            settings["dtype"] = "float32" if layer is network.layers[-1] else policy
            settings["trainable"] = True  # frozen, if at all, by the way it was trained
        return kind(layer).from_config(settings)

    copy = keras.models.clone_model(network, clone_function=clone)
    copy.set_weights(network.get_weights())
    return copy
