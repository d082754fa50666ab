"""The blocks of a supernet, with elastic kernel and expand ratio, and their batch norm."""

from __future__ import annotations

import functools

import keras
import numpy as np
import tensorflow as tf

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.supernet import elastic


def pad_channels(values: tf.Tensor, channels: int) -> tf.Tensor:
    """[n, c] -> [n, channels], zeros behind."""
    padded = tf.pad(values, [[0, 0], [0, channels - tf.shape(values)[1]]])
    return tf.ensure_shape(padded, [values.shape[0], channels])


class BatchNorm(keras.layers.Layer):
    """Scale and offset of a batch norm whose statistics are passed in and handed out.

    `bind` applies it behind a linear operation given as a function of a per-channel factor on its weights; with known
    statistics the normalisation is folded into those weights, which saves a pass over the activations.
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.scale = self.add_weight(shape=(channels,), initializer="ones", name="gamma")
        self.offset = self.add_weight(shape=(channels,), initializer="zeros", name="beta")
        self.built = True

    def bind(self, linear, statistics, active=None):
        """Args:
          linear: function of a factor [active] (or None for one) that returns [b, h, w, active].
          statistics: float32 [2, channels], or None for the batch's own.
          active: number of leading channels in use; None for all.

        Returns:
          The normalised tensor, and the batch's statistics [2, channels] or None where they were given.
        """
        scale, offset = self.scale[:active], self.offset[:active]
        if statistics is None:
            y, measured = elastic.normalise(linear(None), scale, offset)
            return y, pad_channels(measured, self.channels)
        factor, bias = elastic.folded(scale, offset, statistics[:, :active])
        y = linear(factor)
        return tf.nn.bias_add(y, tf.cast(bias, y.dtype)), None


class Block(keras.layers.Layer):
    """What both kinds of block share: kernels cut out of the largest one, squeeze-excite, projection, shortcut.

    What is not stored is a method: Keras saves whatever layers the properties of a layer lead to, under their names.

    Args:
      block: the block at its largest setting.
      kernels: kernel sizes, increasing; the last is the block's own.
      hidden: hidden channels of each expand ratio, increasing.
      squeezes: squeeze-excite channels of each expand ratio, or zeros.
    """

    def __init__(
        self,
        block: backbone_lib.Block,
        kernels: tuple[int, ...],
        hidden: tuple[int, ...],
        squeezes: tuple[int, ...],
        **kwargs,
    ):
        super().__init__(name=block.name, autocast=False, **kwargs)
        self.block, self.kernels, self.hidden, self.squeezes = block, kernels, hidden, squeezes
        width, squeeze = hidden[-1], squeezes[-1]
        self._build_convolutions(width, kernels[-1])
        self.transforms = [
            self.add_weight(shape=(k * k, k * k), initializer="identity", name=f"transform_{k}")
            for k in reversed(kernels[:-1])
        ]
        if squeeze:
            self.reduce = self.add_weight(shape=(width, squeeze), initializer=_he(), name="reduce")
            self.reduce_bias = self.add_weight(shape=(squeeze,), initializer="zeros", name="reduce_bias")
            self.excite = self.add_weight(shape=(squeeze, width), initializer=_he(), name="excite")
            self.excite_bias = self.add_weight(shape=(width,), initializer="zeros", name="excite_bias")
        self.project = self.add_weight(shape=(width, block.out_channels), initializer=_he(), name="project")
        self.project_norm = BatchNorm(block.out_channels, name="project_norm")
        if block.residual:
            # The block starts as the identity: after one epoch 0.9 points better on Fashion-MNIST.
            self.project_norm.scale.assign(tf.zeros(block.out_channels))
        self.built = True

    def window(self) -> keras.Variable:
        """Filters of the k × k convolution at the largest kernel, [K, K, ..., hidden]."""
        raise NotImplementedError

    def hidden_norms(self) -> list[BatchNorm]:
        """Batch norms of the hidden channels, in the order of their statistics."""
        raise NotImplementedError

    def matrices(self) -> list[keras.Variable]:
        """Weights [..., output channels] of the full convolutions, each in front of a batch norm."""
        raise NotImplementedError

    @property
    def norms(self) -> list[BatchNorm]:
        """All batch norms in the order of their statistics."""
        return [*self.hidden_norms(), self.project_norm]

    def call(self, x, ratio, kernel, statistics=None):
        """Args:
          x: [b, h, w, in_channels].
          ratio: int32 scalar, index of the expand ratio.
          kernel: int32 scalar, index of the kernel.
          statistics: for each of `norms` float32 [2, channels], or None for the batch's own.

        Returns:
          [b, h', w', out_channels], and the batch statistics for each of `norms` (empty where they were given).
        """
        given = iter(statistics if statistics is not None else [None] * len(self.norms))
        measured, shortcut = [], x
        active = tf.gather(tf.constant(self.hidden), ratio)

        def bind(norm, linear, channels=None):
            y, found = norm.bind(linear, next(given), channels)
            measured.append(found)
            return y

        x = self._convolve(x, kernel, active, bind)
        if self.squeezes[-1]:
            x = x * self._gate(x, active, tf.gather(tf.constant(self.squeezes), ratio))
        x = bind(self.project_norm, functools.partial(_pointwise_scaled, x, self.project[:active]))
        return (x + shortcut if self.block.residual else x), ([] if statistics is not None else measured)

    def filters(self, kernel, active):
        """Filters [k, k, ..., active] of the kernel with index `kernel`, for the first `active` hidden channels."""
        stack = elastic.all_kernels(self.window()[..., :active], self.transforms, self.kernels)
        size = tf.gather(tf.constant(self.kernels), kernel)
        start = tf.gather(tf.constant(elastic.kernel_offsets(self.kernels)), kernel)
        return tf.reshape(stack[start : start + size * size], [size, size, *self.window().shape[2:-1], active])

    def permute(self, order: np.ndarray) -> None:
        """Reorders the hidden channels, and the squeeze-excite bottleneck by the L1 norm of its outgoing weights."""
        hidden = [(self.window(), -1), (self.project, 0)]
        hidden += [(weight, 0) for norm in self.hidden_norms() for weight in (norm.scale, norm.offset)]
        for weight, axis in hidden:
            weight.assign(np.take(np.array(weight), order, axis))
        if self.squeezes[-1]:
            reduce, excite = np.array(self.reduce)[order], np.array(self.excite)[:, order]
            inner = np.argsort(-np.abs(excite).sum(1), kind="stable")
            self.reduce.assign(reduce[:, inner])
            self.reduce_bias.assign(np.array(self.reduce_bias)[inner])
            self.excite.assign(excite[inner])
            self.excite_bias.assign(np.array(self.excite_bias)[order])

    def _build_convolutions(self, width: int, kernel: int) -> None:
        """Makes the weights in front of the projection, for `width` hidden channels and the largest kernel."""
        raise NotImplementedError

    def _convolve(self, x, kernel, active, bind):
        """[b, h, w, in_channels] -> [b, h', w', active], what is in front of squeeze-excite and projection."""
        raise NotImplementedError

    def _gate(self, x, active, squeeze):
        """Squeeze-excite gate [b, 1, 1, active]."""
        pooled = tf.cast(tf.reduce_mean(x, [1, 2]), tf.float32)
        reduced = tf.nn.relu(tf.matmul(pooled, self.reduce[:active, :squeeze]) + self.reduce_bias[:squeeze])
        excited = tf.matmul(reduced, self.excite[:squeeze, :active]) + self.excite_bias[:active]
        return tf.cast(elastic.hard_sigmoid(excited), x.dtype)[:, None, None]


class ElasticBlock(Block):
    """Inverted bottleneck: 1 × 1 expansion, depthwise k × k, projection (MobileNetV2, section 3.3).

    Its name stands in the files of supernets, as those of its attributes do.
    """

    def window(self) -> keras.Variable:
        return self.depthwise

    def hidden_norms(self) -> list[BatchNorm]:
        return ([self.expand_norm] if self.block.expands else []) + [self.depthwise_norm]

    def matrices(self) -> list[keras.Variable]:
        return ([self.expand] if self.block.expands else []) + [self.project]

    def permute(self, order: np.ndarray) -> None:
        super().permute(order)
        if self.block.expands:
            self.expand.assign(np.array(self.expand)[:, order])

    def _build_convolutions(self, width, kernel):
        if self.block.expands:
            self.expand = self.add_weight(shape=(self.block.in_channels, width), initializer=_he(), name="expand")
            self.expand_norm = BatchNorm(width, name="expand_norm")
        # Fan-out of a depthwise filter is k·k: it feeds one output channel.
        spread = keras.initializers.RandomNormal(stddev=(2.0 / kernel**2) ** 0.5)
        self.depthwise = self.add_weight(shape=(kernel, kernel, width), initializer=spread, name="depthwise")
        self.depthwise_norm = BatchNorm(width, name="depthwise_norm")

    def _convolve(self, x, kernel, active, bind):
        if self.block.expands:
            x = bind(self.expand_norm, functools.partial(_pointwise_scaled, x, self.expand[:, :active]), active)
            x = elastic.activate(x, self.block.activation)
        convolve = functools.partial(_scaled, elastic.depthwise, x, self.filters(kernel, active), self.block.stride)
        return elastic.activate(bind(self.depthwise_norm, convolve, active), self.block.activation)


class FusedBlock(Block):
    """One full k × k convolution in the place of expansion and depthwise (EfficientNetV2, section 3.2)."""

    def window(self) -> keras.Variable:
        return self.fused

    def hidden_norms(self) -> list[BatchNorm]:
        return [self.fused_norm]

    def matrices(self) -> list[keras.Variable]:
        return [self.fused, self.project]

    def _build_convolutions(self, width, kernel):
        shape = (kernel, kernel, self.block.in_channels, width)
        self.fused = self.add_weight(shape=shape, initializer=_he(), name="fused")
        self.fused_norm = BatchNorm(width, name="fused_norm")

    def _convolve(self, x, kernel, active, bind):
        convolve = functools.partial(_scaled, elastic.convolution, x, self.filters(kernel, active), self.block.stride)
        return elastic.activate(bind(self.fused_norm, convolve, active), self.block.activation)


KINDS = {"mbconv": ElasticBlock, "fused": FusedBlock}


def make(
    block: backbone_lib.Block, kernels: tuple[int, ...], hidden: tuple[int, ...], squeezes: tuple[int, ...]
) -> Block:
    """The elastic block of a kind; arguments as for `Block`."""
    return KINDS[block.kind](block, kernels, hidden, squeezes)


def _he() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(2.0, "fan_out")


def _pointwise_scaled(x, weights, factor):
    return elastic.pointwise(x, weights if factor is None else weights * factor)


def _scaled(convolve, x, filters, stride, factor):
    return convolve(x, filters if factor is None else filters * factor, stride)
