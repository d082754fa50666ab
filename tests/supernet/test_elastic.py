"""Elastic operations against plain TensorFlow."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf.supernet import blocks, elastic


def _plain_depthwise(x, filters, stride):
    """The same convolution, written with explicit padding and TensorFlow's own gradients."""
    pad = filters.shape[0] // 2
    x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    return tf.nn.depthwise_conv2d(x, filters[..., None], [1, stride, stride, 1], "VALID")


@pytest.mark.parametrize(
    ("height", "kernel", "stride"), [*itertools.product((1, 2, 4, 7, 8, 16), (3, 5, 7), (1, 2)), (13, 5, 2)]
)
def test_depthwise_and_its_gradients_equal_tensorflows_own(height, kernel, stride):
    rng = np.random.default_rng(height * 100 + kernel * 10 + stride)
    x = tf.constant(rng.normal(size=(3, height, height, 5)).astype("float32"))
    filters = tf.constant(rng.normal(size=(kernel, kernel, 5)).astype("float32"))
    results = []
    for convolve in (elastic.depthwise, _plain_depthwise):
        with tf.GradientTape() as tape:
            tape.watch([x, filters])
            y = convolve(x, filters, stride)
            loss = tf.reduce_sum(y * tf.constant(np.random.default_rng(0).normal(size=y.shape).astype("float32")))
        results.append([y, *tape.gradient(loss, [x, filters])])
    for ours, plain in zip(*results, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)


def test_one_trace_serves_every_kernel_size():
    step = tf.function(lambda f: elastic.depthwise(tf.ones([2, 8, 8, 3]), f, 1), reduce_retracing=True)
    concrete = step.get_concrete_function(tf.TensorSpec([None, None, 3]))
    for kernel in (3, 5, 7):
        filters = tf.random.stateless_normal([kernel, kernel, 3], seed=[kernel, 0])
        np.testing.assert_allclose(
            concrete(filters), _plain_depthwise(tf.ones([2, 8, 8, 3]), filters, 1), rtol=1e-4, atol=1e-5
        )


def test_hard_swish_and_its_gradient():
    x = tf.constant([-4.0, -3.0, -1.0, 0.0, 2.0, 3.0, 5.0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours, plain = elastic.hard_swish(x), x * tf.nn.relu6(x + 3.0) / 6.0
    np.testing.assert_allclose(ours, plain, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(ours, x), tape.gradient(plain, x), atol=1e-6)


def test_smaller_kernels_are_transformedcentres():
    rng = np.random.default_rng(0)
    largest = rng.normal(size=(7, 7, 4)).astype("float32")
    matrices = [rng.normal(size=(25, 25)).astype("float32"), rng.normal(size=(9, 9)).astype("float32")]
    stack = elastic.all_kernels(tf.constant(largest), [tf.constant(m) for m in matrices], (3, 5, 7)).numpy()
    five = matrices[0] @ largest[1:6, 1:6].reshape(25, 4)
    three = matrices[1] @ five.reshape(5, 5, 4)[1:4, 1:4].reshape(9, 4)
    starts = elastic.kernel_offsets((3, 5, 7))
    assert starts == [74, 49, 0]
    np.testing.assert_allclose(stack[0:49], largest.reshape(49, 4))
    np.testing.assert_allclose(stack[49:74], five, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(stack[74:], three, rtol=1e-4, atol=1e-5)


def test_batch_norm_folded_into_the_convolution_equals_batch_norm_behind_it():
    norm = blocks.BatchNorm(6)
    norm.scale.assign(tf.random.stateless_normal([6], [0, 1]))
    norm.offset.assign(tf.random.stateless_normal([6], [0, 2]))
    x, weights = tf.random.stateless_normal([8, 4, 4, 3], [0, 3]), tf.random.stateless_normal([3, 6], [0, 4])

    def linear(factor):
        return elastic.pointwise(x, weights[:, :4] if factor is None else weights[:, :4] * factor)

    y, measured = norm.bind(linear, None, 4)
    mean, variance = tf.nn.moments(linear(None), [0, 1, 2])
    np.testing.assert_allclose(measured[0], [*mean.numpy(), 0, 0], atol=1e-5)
    exact = tf.pad(tf.stack([mean, variance]), [[0, 0], [0, 2]])
    np.testing.assert_allclose(norm.bind(linear, exact, 4)[0], y, atol=1e-4)
