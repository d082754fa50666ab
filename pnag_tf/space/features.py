"""Architectures as 0/1 features inside a TensorFlow graph: `SearchSpace.one_hot` and `layer_one_hot` there."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pnag_tf.space import space as space_lib


class Encoder:
    """Encodes canonical choices, in a handful of graph operations whatever the space.

    Which column tells of what is the space's business.

    Attributes:
      space: the search space.
      one_hot_size: width of `one_hot`.
    """

    def __init__(self, space: space_lib.SearchSpace):
        self.space = space
        self.one_hot_size = len(space.one_hot_columns[0])

    def active(self, choices: tf.Tensor) -> tf.Tensor:
        """bool ``[n, tokens]``: which tokens say something about the network."""
        depths = tf.gather(tf.constant(self.space.depths), tf.gather(choices, self.space.depth_columns, axis=1))
        return tf.constant(self.space.token_layers, tf.int32) < tf.gather(depths, self.space.token_units, axis=1)

    def one_hot(self, choices: tf.Tensor) -> tf.Tensor:
        """float32 ``[n, one_hot_size]``: each active token one-hot, inactive ones all zero."""
        return _equal(tf.where(self.active(choices), choices, -1), *self.space.one_hot_columns)

    def layer_one_hot(self, choices: tf.Tensor) -> tf.Tensor:
        """float32 ``[n, layers * layer_settings]``: each active layer's (resolution, ratio, kernel) jointly."""
        ratios, kernels = self.space.ratio_columns.ravel(), self.space.kernel_columns.ravel()
        joint = tf.gather(choices, ratios, axis=1)
        if self.space.resolutions:
            joint += choices[:, -1:] * len(self.space.ratios)
        joint = joint * len(self.space.kernels) + tf.gather(choices, kernels, axis=1)
        active = tf.gather(self.active(choices), ratios, axis=1)
        return _equal(tf.where(active, joint, -1), *self.space.layer_one_hot_columns)


def _equal(values: tf.Tensor, columns: np.ndarray, expected: np.ndarray) -> tf.Tensor:
    """1.0 where a column of ``values`` holds what is expected of it, else 0.0."""
    return tf.cast(tf.gather(values, columns, axis=1) == expected.astype(np.int32), tf.float32)
