import keras
import numpy as np
import pytest
import tensorflow as tf

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import cost, network
from pnag_tf.space import space as space_lib


@pytest.fixture(scope="module")
def largest(space, backbone):
    return network.build(backbone, space.decode(space.largest())[0])


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_parameters_are_those_counted_from_the_description(space, backbone, largest):
    assert trainable(largest) == cost.params(backbone, space.decode(space.largest())[0])
    for arch in space.decode(space.sample(np.random.default_rng(0), 3)):
        assert trainable(network.build(backbone, arch)) == cost.params(backbone, arch)


def test_parameters_of_the_paper_space():
    space = space_lib.SearchSpace()
    backbone = backbone_lib.Backbone(width_multiplier=1.2, resolution=64)
    arch = space.decode(space.sample(np.random.default_rng(1), 1))[0]
    assert trainable(network.build(backbone, arch)) == cost.params(backbone, arch)


def test_layers_carry_the_names_that_weights_are_copied_by(largest):
    names = {layer.name for layer in largest.layers if layer.weights}
    assert {"stem_conv", "stem_bn", "first_depthwise_conv", "first_project_bn", "classifier"} <= names
    assert {"unit2_layer0_expand_conv", "unit2_layer2_squeeze_reduce", "unit2_layer2_squeeze_expand"} <= names
    assert {"final_expand_conv", "final_expand_bn", "feature_mix_conv"} <= names
    assert not {"first_expand_conv", "unit1_layer0_squeeze_reduce"} & names


def reference_block(model, block, x):
    """The block in TensorFlow's own operations, with the padding written out."""

    def weights(part):
        return [weight.numpy() for weight in model.get_layer(f"{block.name}_{part}").weights]

    def batch_norm(x, part):
        scale, offset, mean, variance = weights(part)
        return (x - mean) / np.sqrt(variance + 1e-5) * scale + offset

    def act(x):
        return tf.nn.relu(x) if block.activation == "relu" else x * tf.nn.relu6(x + 3) / 6

    y = act(batch_norm(tf.nn.conv2d(x, weights("expand_conv")[0], 1, "VALID"), "expand_bn"))
    pad = block.kernel // 2
    y = tf.pad(y, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    y = tf.nn.depthwise_conv2d(y, weights("depthwise_conv")[0], [1, block.stride, block.stride, 1], "VALID")
    y = act(batch_norm(y, "depthwise_bn"))
    if block.squeeze:
        gate = tf.reduce_mean(y, [1, 2], keepdims=True)
        kernel, bias = weights("squeeze_reduce")
        gate = tf.nn.relu(tf.nn.conv2d(gate, kernel, 1, "VALID") + bias)
        kernel, bias = weights("squeeze_expand")
        y *= tf.nn.relu6(tf.nn.conv2d(gate, kernel, 1, "VALID") + bias + 3) / 6
    y = batch_norm(tf.nn.conv2d(y, weights("project_conv")[0], 1, "VALID"), "project_bn")
    return x + y if block.residual else y


@pytest.mark.parametrize(("unit", "layer", "kernel"), [(0, 0, 3), (1, 0, 7), (1, 1, 5)])
def test_block_against_tensorflow_with_padding_written_out(backbone, unit, layer, kernel):
    block = backbone.block(unit, layer, ratio=4, kernel=kernel)
    model = network.build_blocks([block])
    rng = np.random.default_rng(0)
    for variable in model.variables:
        sign = 1 if "variance" in variable.path else rng.choice([-1, 1])
        variable.assign(rng.uniform(0.2, 1, variable.shape) * sign)
    x = rng.normal(size=(2, block.in_size, block.in_size, block.in_channels)).astype(np.float32)
    expected = reference_block(model, block, x).numpy()
    actual = model(x).numpy()
    assert actual.shape == (2, block.out_size, block.out_size, block.out_channels)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_a_network_of_odd_size_has_the_sizes_of_the_description(space):
    backbone = backbone_lib.Backbone(
        base_widths=(16, 24),
        strides=(2, 2),
        squeeze_excite=(False, True),
        activations=("relu", "hard_swish"),
        resolution=27,
        classes=3,
    )
    arch = space.decode(space.smallest())[0]
    model = network.build(backbone, arch)
    for block in backbone.blocks(arch):
        output = model.get_layer(f"{block.name}_project_bn").output
        assert output.shape[1:] == (block.out_size, block.out_size, block.out_channels)
    assert model.get_layer("final_expand_conv").output.shape[1] == backbone.final_size


def test_saved_and_loaded_model_answers_the_same(largest, tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    largest.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert largest(images).shape == (2, 10)
    np.testing.assert_array_equal(loaded(images).numpy(), largest(images).numpy())


def test_dropout_only_acts_in_training(space, backbone):
    model = network.build(backbone, space.decode(space.smallest())[0], dropout=0.5)
    images = np.ones((1, 16, 16, 3), np.float32)
    np.testing.assert_array_equal(model(images).numpy(), model(images).numpy())
    assert not np.array_equal(model(images, training=True).numpy(), model(images, training=True).numpy())
