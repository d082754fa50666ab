"""Architectures as 0/1 features inside a TensorFlow graph, equal to `SearchSpace.one_hot` and `layer_one_hot`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pnag_tf.space import space as space_lib


class Encoder:
    """Encodes canonical choices, in a handful of graph operations whatever the space.

    Attributes:
      space: the search space.
      one_hot_size: width of `one_hot`.
      joint_size: width of `joint`.
    """

    def __init__(self, space: space_lib.SearchSpace):
        self.space = space
        sizes = space.token_sizes
        self.one_hot_size = int(sizes.sum())
        self._token = np.repeat(np.arange(space.tokens), sizes)
        self._option = np.concatenate([np.arange(size) for size in sizes]).astype(np.int32)
        pairs = len(space.ratios) * len(space.kernels)
        self.joint_size = space.layers * pairs
        self._layer = np.repeat(np.arange(space.layers), pairs)
        self._pair = np.tile(np.arange(pairs), space.layers).astype(np.int32)

    def layer_active(self, choices: tf.Tensor) -> tf.Tensor:
        """bool ``[n, layers]``: which layer slots are part of the network."""
        depth = tf.gather(tf.constant(self.space.depths), tf.gather(choices, self.space.depth_columns, axis=1))
        active = tf.range(self.space.max_depth) < depth[:, :, None]
        return tf.reshape(active, [-1, self.space.layers])

    def active(self, choices: tf.Tensor) -> tf.Tensor:
        """bool ``[n, tokens]``: which tokens say something about the network."""
        layers = tf.reshape(self.layer_active(choices), [-1, self.space.units, self.space.max_depth])
        pairs = tf.repeat(layers, 2, axis=2)
        return tf.reshape(tf.concat([tf.ones_like(pairs[:, :, :1]), pairs], 2), [-1, self.space.tokens])

    def one_hot(self, choices: tf.Tensor) -> tf.Tensor:
        """float32 ``[n, one_hot_size]``: each active token one-hot, inactive ones all zero."""
        marked = tf.where(self.active(choices), choices, -1)
        return tf.cast(tf.gather(marked, self._token, axis=1) == self._option, tf.float32)

    def joint(self, choices: tf.Tensor) -> tf.Tensor:
        """float32 ``[n, joint_size]``: each active layer's (ratio, kernel) jointly."""
        ratio = tf.gather(choices, self.space.ratio_columns.ravel(), axis=1)
        kernel = tf.gather(choices, self.space.kernel_columns.ravel(), axis=1)
        marked = tf.where(self.layer_active(choices), ratio * len(self.space.kernels) + kernel, -1)
        return tf.cast(tf.gather(marked, self._layer, axis=1) == self._pair, tf.float32)
