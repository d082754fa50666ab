"""The optimizers, against Keras's own and against a singular value decomposition."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pnag_tf.space import network as network_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import optimizers


def test_momentum_equals_keras_sgd():
    results = []
    for optimizer in (optimizers.Momentum(0.1, momentum=0.9, nesterov=True), keras.optimizers.SGD(0.1, 0.9, True)):
        variable = keras.Variable([1.0, -2.0])
        optimizer.build([variable])
        for gradient in ([1.0, 2.0], [0.5, -1.0], [0.0, 3.0]):
            optimizer.apply([tf.constant(gradient)], [variable])
        results.append(np.asarray(variable.value))
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_the_average_of_the_weights_by_hand():
    variable = keras.Variable([0.0])
    optimizer = optimizers.Momentum(1.0, momentum=1e-12, use_ema=True, ema_momentum=0.5)
    optimizer.build([variable])
    for _ in range(3):
        optimizer.apply([tf.constant([-1.0])], [variable])  # the weight is 1, 2, 3
    np.testing.assert_allclose(variable.numpy(), [3.0])
    optimizer.finalize_variable_values([variable])
    np.testing.assert_allclose(variable.numpy(), [0.5 * (0.5 * 1 + 0.5 * 2) + 0.5 * 3])


@pytest.mark.parametrize("shape", [(3, 3, 8, 16), (5, 12), (40, 4)], ids=str)
def test_muon_turns_a_matrix_and_keeps_its_norm(shape):
    rng = np.random.default_rng(0)
    gradient, start = rng.normal(size=(2, *shape)).astype("float32")
    variable = keras.Variable(start)
    optimizer = optimizers.Muon(0.1, [variable], momentum=0.9, nesterov=True)
    optimizer.build([variable])
    optimizer.apply([tf.constant(gradient)], [variable])
    scaled = start * (shape[-1] ** 0.5 / np.linalg.norm(start))
    step = ((scaled - variable.numpy()) / (optimizers.TURN * 0.1)).reshape(-1, shape[-1])
    u, _, v = np.linalg.svd(gradient.reshape(-1, shape[-1]), full_matrices=False)
    values = np.diag(u.T @ step @ v.T)  # along the singular vectors of the gradient, and nowhere else:
    np.testing.assert_allclose((u * values) @ v, step, atol=2e-3)
    assert (values > 0.6).all() and (values < 1.3).all()
    optimizer.apply([tf.zeros(shape)], [variable])
    assert np.linalg.norm(variable.numpy()) == pytest.approx(shape[-1] ** 0.5, rel=0.05)


def test_what_is_no_matrix_of_muon_moves_by_momentum():
    found = []
    for kind in (optimizers.Momentum, optimizers.Muon):
        matrix, other = keras.Variable(np.eye(3, dtype="float32")), keras.Variable(np.ones((3, 2), "float32"))
        settings = {"matrices": [matrix]} if kind is optimizers.Muon else {}
        optimizer = kind(0.1, momentum=0.9, nesterov=True, **settings)
        optimizer.build([other, matrix])
        for _ in range(2):
            optimizer.apply([tf.ones((3, 2)), tf.ones((3, 3))], [other, matrix])
        found.append(other.numpy())
    np.testing.assert_array_equal(*found)


def test_muon_has_the_matrices_in_front_of_a_batch_norm(space, backbone):
    net = supernet_lib.Supernet(space, backbone)
    names = [variable.path.split("/", 1)[-1] for variable in net.matrices()]
    assert not {name for name in names if not name.endswith(("expand", "project", "final_expand"))}
    network = network_lib.build(backbone, space.decode(space.largest())[0])
    ours = {kernel.path.split("/")[-2] for kernel in network_lib.normalised_kernels(network)}
    assert len(ours) == len(names)
    assert not {name for name in ours if not name.endswith(("_expand_conv", "_project_conv"))}


def test_a_network_behaves_alike_when_its_matrices_are_scaled(space, backbone):
    """What the norm that Muon keeps rests on."""
    network = network_lib.build(backbone, space.decode(space.largest())[0])
    images = tf.random.stateless_normal((4, backbone.resolution, backbone.resolution, 3), (0, 1))
    before = network(images, training=True)
    for kernel in network_lib.normalised_kernels(network):
        kernel.assign(7.0 * kernel)
    np.testing.assert_allclose(network(images, training=True), before, rtol=0.05, atol=1e-3)
