"""Fused operations of training: what Keras's own layers and optimizer compute, in fewer of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pnag_tf.space import network as network_lib
from pnag_tf.supernet import fused, optimizers


@pytest.fixture
def network(space, backbone):
    keras.utils.set_random_seed(3)
    return network_lib.randomise(network_lib.build(backbone, space.decode(space.smallest())[0]))


def _batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(12, 16, 16, 3)).astype("float32"), np.eye(10, dtype="float32")[rng.integers(0, 10, 12)]


def test_a_training_step_is_that_of_keras(network):
    images, labels = _batch()
    found = []
    for trained, optimizer in (
        (network, keras.optimizers.SGD(0.1, 0.9, True)),
        (fused.for_training(network), optimizers.Momentum(0.1, 0.9, True)),
    ):
        trained.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True))
        for _ in range(2):
            trained.train_on_batch(images, labels)
        found.append(trained.get_weights())  # moving statistics among them
    for weight, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, weight, rtol=1e-3, atol=1e-4)


def test_each_batch_norm_is_one_operation_in_training(network):
    trained = fused.for_training(network)
    forward = tf.function(lambda images: trained(images, training=True))
    kinds = [each.type for each in forward.get_concrete_function(tf.zeros([2, 16, 16, 3])).graph.get_operations()]
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert kinds.count("FusedBatchNormV3") == len(norms) and "SquaredDifference" not in kinds


def test_a_frozen_batch_norm_keeps_its_statistics():
    layer = fused.BatchNormalization()
    layer.build((None, 4, 4, 2))
    layer.trainable = False
    images = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
    np.testing.assert_allclose(layer(images, training=True), layer(images, training=False))
    np.testing.assert_array_equal(layer.moving_mean, [0, 0])


def test_only_batch_norms_that_the_operation_computes_are_replaced():
    images = keras.Input((4, 4, 3))
    x = keras.layers.BatchNormalization(name="whole")(images)
    x = keras.layers.BatchNormalization(scale=False, name="no_scale")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.BatchNormalization(name="flat")(x)
    copy = fused.for_training(keras.Model(images, keras.layers.Dense(2)(x)))
    names = [layer.name for layer in copy.layers if isinstance(layer, fused.BatchNormalization)]
    assert names == ["whole"]


def test_the_plain_network_holds_layers_of_keras_alone(network):
    images, labels = _batch()
    trained = fused.for_training(network)
    trained.compile(optimizers.Momentum(0.1), keras.losses.CategoricalCrossentropy(from_logits=True))
    trained.train_on_batch(images, labels)
    plain = fused.plain(trained)
    assert {type(layer).__module__.split(".")[0] for layer in plain.layers} == {"keras"}
    assert [layer.name for layer in plain.layers] == [layer.name for layer in network.layers]
    np.testing.assert_array_equal(plain(images), trained(images))


def test_a_policy_changes_all_layers_but_images_and_logits(network):
    mixed = fused.for_training(network, "mixed_bfloat16")
    assert {layer.compute_dtype for layer in mixed.layers[1:-1]} == {"bfloat16"}  # the first are the images
    assert mixed.layers[-1].compute_dtype == mixed.output.dtype == "float32"
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
    again = fused.plain(mixed)
    np.testing.assert_array_equal(again(images), network(images))
