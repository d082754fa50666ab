"""Elastic operations: convolutions of which only the first channels or the inner kernel take part.

Every function takes tensors whose channel count may be known only at run time, so that one traced graph serves all
architectures and each call computes (and differentiates) the active part alone.

Activations may be bfloat16 (mixed precision): weights, statistics and their gradients stay float32, and a weight is
cast to the type of the activation that it meets. Where both are float32 a cast costs nothing.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

BATCH_NORM_EPSILON = 1e-5


def pointwise(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """1 × 1 convolution: [b, h, w, c] and [c, d] -> [b, h, w, d].

    A matrix product: its gradients are up to four times as fast as those of a convolution on small feature maps.
    """
    shape = tf.shape(x)
    y = tf.matmul(tf.reshape(x, [-1, shape[3]]), tf.cast(weights, x.dtype))
    return tf.reshape(y, [shape[0], x.shape[1], x.shape[2], tf.shape(weights)[1]])


@tf.custom_gradient
def hard_swish(x: tf.Tensor) -> tf.Tensor:
    """x · relu6(x + 3) / 6 (MobileNetV3).

    Memory traffic is its whole cost. The gradient is written out so that it keeps the input alone and needs four
    passes; autodiff keeps three tensors and takes seven.
    """
    gate = tf.nn.relu6(x + 3.0) * (1 / 6)

    def gradient(upstream):
        inside = tf.raw_ops.Relu6Grad(gradients=upstream * x, features=x + 3.0) * (1 / 6)
        return upstream * gate + inside

    return x * gate, gradient


def activate(x: tf.Tensor, name: str) -> tf.Tensor:
    return tf.nn.relu(x) if name == "relu" else hard_swish(x)


def hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """relu6(x + 3) / 6, the gate of squeeze-excite."""
    return tf.nn.relu6(x + 3.0) * (1 / 6)


# ---- batch norm -----------------------------------------------------------------------------------------------------


def normalise(
    x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float = BATCH_NORM_EPSILON
) -> tuple[tf.Tensor, tf.Tensor]:
    """Batch norm by the batch's own statistics.

    Returns:
      The normalised tensor and its statistics, float32 [2, c]: mean and variance, cut off from the gradient.
    """
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    return y, tf.stop_gradient(tf.stack([mean, variance]))


def folded(scale: tf.Tensor, offset: tf.Tensor, statistics: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Batch norm with known statistics [2, c] as a factor on the convolution before it and a bias: [c], [c]."""
    factor = scale * tf.math.rsqrt(statistics[1] + BATCH_NORM_EPSILON)
    return factor, offset - statistics[0] * factor


# ---- full convolution -----------------------------------------------------------------------------------------------


def convolution(x: tf.Tensor, filters: tf.Tensor, stride: int) -> tf.Tensor:
    """Convolution with padding k // 2 on every side, also at stride 2.

    Args:
      x: [b, h, h, c], its height known when the graph is traced.
      filters: [k, k, c, d], k odd and possibly known only at run time.
      stride: 1 or 2.
    """
    height = x.shape[1]
    # No two pixels are further apart than height - 1: taps beyond see padding alone.
    filters = centre(tf.cast(filters, x.dtype), tf.minimum(tf.shape(filters)[0], 2 * height - 1))
    if stride == 1:
        return tf.nn.conv2d(x, filters, 1, "SAME")
    around = tf.shape(filters)[0] // 2
    padded = tf.pad(x, [[0, 0], [around, around], [around, around], [0, 0]])
    out = (height - 1) // stride + 1
    return tf.ensure_shape(tf.nn.conv2d(padded, filters, stride, "VALID"), [None, out, out, None])


# ---- depthwise convolution ------------------------------------------------------------------------------------------


def kernel_offsets(kernels: tuple[int, ...]) -> list[int]:
    """Row at which each kernel starts in the stack that `all_kernels` makes, in the order of `kernels`."""
    starts, row = {}, 0
    for kernel in reversed(kernels):
        starts[kernel] = row
        row += kernel * kernel
    return [starts[kernel] for kernel in kernels]


def all_kernels(largest: tf.Tensor, transforms: list[tf.Tensor], kernels: tuple[int, ...]) -> tf.Tensor:
    """Filters of every kernel size, from the largest one (once-for-all, section 3.2).

    Each smaller kernel is the centre of the next larger one, passed through a learned matrix. All of them together
    cost less than a thousandth of a block, so they are computed always and one is sliced out afterwards.

    Args:
      largest: [K, K, c].
      transforms: matrices [k·k, k·k], for the kernels in falling order after the largest.
      kernels: the sizes, increasing.

    Returns:
      [sum of k·k, c], largest kernel first.
    """
    stack, current, size = [tf.reshape(largest, [kernels[-1] ** 2, -1])], largest, kernels[-1]
    for kernel, matrix in zip(reversed(kernels[:-1]), transforms, strict=True):
        margin = (size - kernel) // 2
        centre = current[margin : margin + kernel, margin : margin + kernel]
        flat = tf.matmul(matrix, tf.reshape(centre, [kernel * kernel, -1]))
        stack.append(flat)
        current, size = tf.reshape(flat, [kernel, kernel, -1]), kernel
    return tf.concat(stack, 0)


def depthwise(x: tf.Tensor, filters: tf.Tensor, stride: int) -> tf.Tensor:
    """Depthwise convolution with padding k // 2 on every side, also at stride 2.

    Args:
      x: [b, h, h, c], its height known when the graph is traced.
      filters: [k, k, c], k odd and possibly known only at run time.
      stride: 1 or 2.
    """
    height, filters = x.shape[1], tf.cast(filters, x.dtype)
    if height == 1:  # every tap but the middle one falls on padding
        return x * tf.reshape(centre(filters, 1), [-1])
    # No two pixels are further apart than height - 1: taps beyond see padding alone.
    filters = centre(filters, tf.minimum(tf.shape(filters)[0], 2 * height - 1))
    # TensorFlow's SAME puts the odd row of padding at the bottom, ours needs it at the top: they are mirror images.
    mirrored = stride > 1 and height % 2 == 0
    if mirrored:
        x, filters = tf.reverse(x, [1, 2]), tf.reverse(filters, [0, 1])
    y = depthwise_same(x, filters, stride)
    return tf.reverse(y, [1, 2]) if mirrored else y


def centre(filters: tf.Tensor, size) -> tf.Tensor:
    """The inner [size, size, ...] of filters [k, k, ...]."""
    margin = (tf.shape(filters)[0] - size) // 2
    return filters[margin : margin + size, margin : margin + size]


def depthwise_same(x: tf.Tensor, filters: tf.Tensor, stride: int) -> tf.Tensor:
    """TensorFlow's SAME depthwise convolution with a faster filter gradient; shapes as in `depthwise`."""
    strides = [1, stride, stride, 1]

    @tf.custom_gradient
    def convolve(x, filters):
        def gradient(upstream):
            to_input = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(x),
                filter=filters[..., None],
                out_backprop=upstream,
                strides=strides,
                padding="SAME",
            )
            return to_input, filter_gradient(x, upstream, tf.shape(filters)[0], stride)

        return tf.nn.depthwise_conv2d(x, filters[..., None], strides, "SAME"), gradient

    return convolve(x, filters)


# Height of the feature map up to which the filter gradient goes through products of pixels.
_SMALL_MAP = 8


def filter_gradient(x: tf.Tensor, upstream: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Gradient of `depthwise_same` for its filters.

    TensorFlow's CPU kernel is slow where the map is small: at [64, 4, 4, 960] and kernel 7, 48 ms with oneDNN. There
    the gradient is a batched matrix product instead (4 ms): for each channel, the products of every input pixel with
    every output pixel, summed over the batch, from which each tap gathers the pairs that lie its offset apart.

    Args:
      x: [b, h, h, c].
      upstream: gradient of the output, [b, o, o, c].
      kernel: size k of the filter, odd, int32 scalar.
      stride: 1 or 2.

    Returns:
      [k, k, c].
    """
    height = x.shape[1]
    if height > _SMALL_MAP or tf.config.list_logical_devices("GPU"):
        gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=x,
            filter_sizes=tf.stack([kernel, kernel, tf.shape(x)[3], 1]),
            out_backprop=upstream,
            strides=[1, stride, stride, 1],
            padding="SAME",
        )
        return gradient[..., 0]
    pixels, outputs, channels = height**2, upstream.shape[1] ** 2, tf.shape(x)[3]
    by_channel = tf.transpose(tf.reshape(x, [-1, pixels, channels]), [2, 1, 0])
    products = tf.matmul(by_channel, tf.transpose(tf.reshape(upstream, [-1, outputs, channels]), [2, 0, 1]))
    taps = tf.reshape(centre(tf.constant(_tap_pairs(height, stride), x.dtype), kernel), [kernel * kernel, -1])
    gradient = tf.matmul(taps, tf.reshape(products, [channels, -1]), transpose_b=True)
    return tf.reshape(gradient, [kernel, kernel, channels])


@functools.cache
def _tap_pairs(height: int, stride: int) -> np.ndarray:
    """Which (input pixel, output pixel) pairs each tap of the widest useful filter joins.

    Returns:
      float32 [k, k, pixels * outputs] of zeros and ones, k = 2 * height - 1, for padding SAME. Its centre serves
      every smaller odd filter.
    """
    kernel, out = 2 * height - 1, -(-height // stride)
    before = max((out - 1) * stride + kernel - height, 0) // 2
    offsets = np.arange(height)[:, None] - stride * np.arange(out) + before  # [height, out]: tap joining the two
    line = (offsets == np.arange(kernel)[:, None, None]).astype(np.float32)  # [k, height, out]
    pairs = np.einsum("ipq,jrs->ijprqs", line, line)
    return pairs.reshape(kernel, kernel, height**2 * out**2)
