"""Training with int8's rounding: what is rounded to what, and how gradients pass by."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pnag_tf.latency import export
from pnag_tf.space import network as network_lib
from pnag_tf.supernet import fused, rounded


@pytest.fixture(scope="module")
def network(space, subnets):
    return subnets.extract(space.smallest())


def _images(count=64):
    return np.random.default_rng(4).normal(size=(count, 16, 16, 3)).astype(np.float32)


def test_activations_have_256_levels_with_zero_among_them():
    values = tf.constant(np.random.default_rng(0).uniform(-1.0, 3.0, (100, 1000)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(values)
        found = rounded.activation(values)
        total = tf.reduce_sum(found * 2.0)
    levels = np.unique(np.round(found.numpy() / (4 / 255), 3))
    assert len(levels) <= 257 and 0.0 in levels
    assert np.abs(found - values).max() <= 0.51 * 4 / 255
    np.testing.assert_array_equal(tape.gradient(total, values), np.full(values.shape, 2.0))
    np.testing.assert_array_equal(rounded.activation(tf.zeros([3])), [0, 0, 0])


def test_each_output_channel_has_a_scale_of_its_own():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 2)).astype(np.float32) * [1.0, 1000.0]
    found = rounded.weights(tf.constant(kernel, tf.float32)).numpy()
    for channel in range(2):
        scale = np.abs(kernel[..., channel]).max() / 127
        np.testing.assert_allclose(found[..., channel], np.round(kernel[..., channel] / scale) * scale, rtol=1e-4)


def test_it_answers_as_the_int8_file_does_rather_than_as_the_float32_network(network):
    """Of 64 images; the file has the ranges of the same images."""
    images = _images()
    exact = network(images).numpy()
    simulated = rounded.for_training(network)(images, training=False).numpy()
    file = export.run(export.convert(network, quantization="int8", representative=images), images)
    assert np.abs(simulated - exact).mean() == pytest.approx(np.abs(file - exact).mean(), rel=1.0)
    assert np.abs(simulated - exact).max() > 1e-3


def test_weights_train_batch_norms_do_not_and_a_plain_network_comes_back(network):
    images, labels = _images(32), np.eye(10, dtype=np.float32)[np.arange(32) % 10]
    trained = rounded.for_training(network)
    trained.compile(keras.optimizers.SGD(0.02), keras.losses.CategoricalCrossentropy(from_logits=True))
    before = trained.evaluate(images, labels, verbose=0)
    statistics = [w.numpy() for layer in trained.layers if "bn" in layer.name for w in layer.weights]
    trained.fit(images, labels, epochs=5, batch_size=32, verbose=0)
    assert trained.evaluate(images, labels, verbose=0) < before
    after = [w.numpy() for layer in trained.layers if "bn" in layer.name for w in layer.weights]
    for one, other in zip(statistics, after, strict=True):
        np.testing.assert_array_equal(one, other)
    plain = fused.plain(trained)
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in network.layers]
    assert all(layer.trainable for layer in plain.layers)
    assert np.abs(plain(images).numpy() - network(images).numpy()).max() > 1e-4
    assert np.abs(plain(images).numpy() - trained(images, training=False).numpy()).max() < 1.0


def test_training_with_rounding_mends_what_rounding_breaks():
    """Two channels of one depthwise convolution, of which the first is a thousand times as large in what follows.

    Activations of both share one range, in which the second is rounded to nothing; training brings it back.
    """
    rng = np.random.default_rng(0)
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.DepthwiseConv2D(1, use_bias=False, name="depthwise_conv")(inputs)
    x = keras.layers.Activation("relu", name="act")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    net = keras.Model(inputs, keras.layers.Dense(2, name="classifier")(x))
    net.get_layer("depthwise_conv").set_weights([np.array([1.0, 0.001]).reshape(1, 1, 2, 1)])
    net.get_layer("classifier").set_weights([np.array([[0, 0], [2700.0, -2700.0]]), np.array([-1.35, 1.35])])
    labels = rng.integers(0, 2, 400)
    images = rng.uniform(0, 1, (400, 4, 4, 2)).astype(np.float32)
    images[..., 1] = (0.25 + 0.5 * (labels == 0))[:, None, None] + rng.normal(0, 0.05, (400, 4, 4))

    def right(model):
        return np.mean(model(images, training=False).numpy().argmax(1) == labels)

    trained = rounded.for_training(net)
    assert right(net) > 0.95 and right(trained) < 0.8
    trained.compile(keras.optimizers.Adam(0.001), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trained.fit(images, labels, epochs=60, batch_size=100, shuffle=False, verbose=0)
    plain = fused.plain(trained)
    files = [export.convert(model, quantization="int8", representative=images[:100]) for model in (net, plain)]
    before, after = (np.mean(export.run(file, images).argmax(1) == labels) for file in files)
    assert after > 0.95 > before


def test_every_layer_of_a_network_is_known(space, backbone):
    """A layer with arithmetic of its own that is not rounded would be forgotten here."""
    model = network_lib.build(backbone, space.decode(space.largest())[0])
    silent = (keras.layers.InputLayer, keras.layers.ZeroPadding2D, keras.layers.Flatten, keras.layers.Dropout)
    assert {type(layer) for layer in model.layers} <= {*rounded._KINDS, *silent}
