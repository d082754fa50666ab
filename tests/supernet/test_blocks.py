"""Fused blocks, and backbones without fixed parts: supernet, extracted network, file and counts agree."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from pnag_tf.latency import export
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import cost, fitting
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import ofa, subnet

# Both kinds, with and without squeeze-excite, kernels to choose from, and a head that mixes without expanding.
SPACE = space_lib.SearchSpace(units=2, depths=(1, 2), kernels=(3, 5), ratios=(1, 2))
BACKBONES = {
    "mixed": backbone_lib.Backbone(
        base_widths=(8, 16),
        strides=(1, 2),
        squeeze_excite=(True, False),
        activations=("hard_swish", "relu"),
        kinds=("fused", "mbconv"),
        base_stem=8,
        base_first=0,
        base_final_expand=0,
        base_feature_mix=32,
        resolution=16,
        classes=5,
    ),
    "bare": dataclasses.replace(
        fitting.fit(16)[1],
        base_widths=(8, 16),
        strides=(1, 2),
        squeeze_excite=(False, False),
        activations=("relu", "relu"),
        kinds=("fused", "fused"),
        base_stem=8,
        classes=5,
    ),
}


@pytest.fixture(scope="module", params=BACKBONES)
def net(request):
    """A supernet with everything that starts as zero or one moved off it."""
    keras.utils.set_random_seed(0)
    made = supernet_lib.Supernet(SPACE, BACKBONES[request.param])
    rng = np.random.default_rng(0)
    for weight in made.trainable_variables:
        weight.assign(np.array(weight) + rng.normal(0, 0.1, weight.shape))
    channels = made.moving.shape[1]
    made.moving.assign(np.stack([rng.normal(0, 0.3, channels), rng.uniform(0.5, 2, channels)]))
    return made


@pytest.fixture(scope="module")
def images():
    return tf.constant(np.random.default_rng(2).normal(size=(6, 16, 16, 3)).astype("float32"))


def _some():
    return np.stack([SPACE.smallest(), SPACE.largest(), *SPACE.sample(np.random.default_rng(3), 3)])


def _logits(net, images, choices):
    return net({"images": images, "choices": tf.constant(choices)}).numpy()


def test_the_extracted_network_equals_the_supernet_and_has_the_counted_parameters(net, images):
    for choices in _some():
        arch = SPACE.decode(choices)[0]
        model, expected = subnet.extract(net, arch), _logits(net, images, choices)
        np.testing.assert_allclose(model(images), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
        trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        assert trainable == cost.params(net.backbone, arch)


def test_multiply_adds_are_those_of_the_layers(net):
    """Counted once more, from the convolutions of the built network."""
    arch = SPACE.decode(SPACE.largest())[0]
    total = 0
    for layer in subnet.extract(net, arch).layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            total += int(np.prod(layer.output.shape[1:])) * int(np.prod(layer.kernel_size))
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            places = int(np.prod(layer.output.shape[1:-1]))
            total += places * int(np.prod(layer.kernel.shape))
    assert total == cost.madds(net.backbone, arch)


def test_the_file_answers_as_the_supernet(net, images):
    expected = _logits(net, images[:1], SPACE.largest())
    content = export.convert(subnet.extract(net, SPACE.decode(SPACE.largest())[0]))
    answered = export.run(content, images[:1].numpy())
    np.testing.assert_allclose(answered, expected, atol=1e-4 * np.abs(expected).max())


def test_it_saves_and_loads_and_sorting_keeps_the_largest_network(net, images, tmp_path):
    net.save(tmp_path / "net.keras")
    again = ofa.load(str(tmp_path / "net.keras"))
    for choices in _some():
        np.testing.assert_allclose(_logits(again, images, choices), _logits(net, images, choices), atol=1e-6)
    before = _logits(again, images, SPACE.largest())
    again.sort_channels()
    np.testing.assert_allclose(_logits(again, images, SPACE.largest()), before, atol=1e-5 * np.abs(before).max())
    assert not np.allclose(_logits(again, images, SPACE.smallest()), _logits(net, images, SPACE.smallest()))


def test_every_weight_of_the_largest_network_gets_a_gradient(net, images):
    with tf.GradientTape() as tape:
        logits, _ = net.forward(images, tf.constant(SPACE.largest()), training=True)
        loss = tf.reduce_sum(logits**2)
    smaller_kernels = [weight for weight in net.trainable_variables if "transform" in weight.path]
    for weight, gradient in zip(net.trainable_variables, tape.gradient(loss, net.trainable_variables), strict=True):
        if not any(weight is each for each in smaller_kernels):
            assert gradient is not None and float(tf.reduce_max(tf.abs(gradient))) > 0, weight.path
