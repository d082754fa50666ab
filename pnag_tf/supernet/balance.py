"""The mean of the classes' top-1 as a Keras metric."""

from __future__ import annotations

import keras
import tensorflow as tf


class BalancedAccuracy(keras.metrics.Metric):
    """The mean over classes of the share of their images that are named right; classes without images are left out.

    Args:
      classes: how many there are; labels are one-hot.
    """

    def __init__(self, classes: int, name: str = "accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.right = self.add_weight(shape=(classes,), initializer="zeros", name="right")
        self.count = self.add_weight(shape=(classes,), initializer="zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = tf.cast(y_true, tf.float32)
        hits = tf.cast(tf.equal(tf.argmax(labels, -1), tf.argmax(y_pred, -1)), tf.float32)
        self.right.assign_add(tf.reduce_sum(labels * hits[:, tf.newaxis], 0))
        self.count.assign_add(tf.reduce_sum(labels, 0))

    def result(self):
        there = tf.cast(self.count > 0, tf.float32)
        return tf.reduce_sum(tf.math.divide_no_nan(self.right, self.count)) / tf.maximum(tf.reduce_sum(there), 1.0)
