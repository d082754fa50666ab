"""The supernet and its subnets: extraction, recalibration, accuracy without retracing."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from pnag_tf.space import cost
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import subnet


@pytest.fixture(scope="module")
def images(supernet):
    r = supernet.backbone.resolution
    return tf.constant(np.random.default_rng(2).normal(size=(6, r, r, 3)).astype("float32"))


def _some(space):
    return np.stack([space.smallest(), space.largest(), *space.sample(np.random.default_rng(3), 4)])


def _logits(subnets, images, choices, statistics):
    """Through the traced function's own graph, as in use."""
    return subnets.net.forward(images, tf.constant(choices), tf.constant(statistics))[0]


def test_extracted_network_equals_the_supernet(subnets, images, space):
    for choices in _some(space):
        model = subnet.extract(subnets.net, space.decode(choices)[0])
        expected = subnets.net({"images": images, "choices": tf.constant(choices)}).numpy()
        np.testing.assert_allclose(model(images), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_taps_that_see_padding_alone_are_left_out(space, backbone):
    """On 8 pixels the second unit works on maps of 4 and 2: a kernel of 7 becomes 3 there, and nothing else changes."""
    small = dataclasses.replace(backbone, resolution=8)
    net = supernet_lib.Supernet(space, small)
    rng = np.random.default_rng(7)
    for weight in net.trainable_variables:
        weight.assign(np.array(weight) + rng.normal(0, 0.1, weight.shape))
    arch = space.decode(space.largest())[0]
    assert {block.kernel for block in small.blocks(arch)[-2:]} == {3}
    pixels = tf.constant(rng.normal(size=(4, 8, 8, 3)).astype("float32"))
    expected = net({"images": pixels, "choices": tf.constant(space.largest())}).numpy()
    np.testing.assert_allclose(subnet.extract(net, arch)(pixels), expected, atol=1e-5 * np.abs(expected).max())


def test_extracted_network_has_the_counted_parameters_and_survives_saving(subnets, images, space, tmp_path):
    choices = space.sample(np.random.default_rng(4), 1)
    model = subnets.extract(choices[0])
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert trainable == cost.params(subnets.net.backbone, space.decode(choices)[0])
    model.save(tmp_path / "subnet.keras")
    again = keras.models.load_model(tmp_path / "subnet.keras")
    np.testing.assert_allclose(again(images), model(images), atol=1e-6)


def test_recalibrated_statistics_are_those_of_the_calibration_images(subnets, space):
    """The stem sees the images themselves, so its statistics can be computed by hand."""
    net, statistics = subnets.net, subnets.statistics(space.largest())
    images = tf.concat(list(subnets.calibration), 0)
    features = tf.nn.conv2d(images, tf.convert_to_tensor(net.stem), net.backbone.stem_stride, padding="SAME")
    mean, variance = tf.nn.moments(features, [0, 1, 2])
    np.testing.assert_allclose(statistics[0, : net.backbone.stem], mean, atol=1e-4)
    # Each batch's variance is the unbiased one: a part in 6,000 larger.
    np.testing.assert_allclose(statistics[1, : net.backbone.stem], variance, rtol=1e-3)


def test_statistics_of_skipped_layers_and_channels_are_zero(subnets, space):
    smallest = subnets.statistics(space.smallest())[1]
    largest = subnets.statistics(space.largest())[1]
    assert (smallest > 0).sum() < (largest > 0).sum() == largest.size


def test_accuracy_of_many_subnets_needs_one_trace(subnets, space):
    r = subnets.net.backbone.resolution
    rng = np.random.default_rng(5)
    batches = [(tf.constant(rng.normal(size=(n, r, r, 3)).astype("float32")), tf.range(n) % 10) for n in (30, 11)]
    before = subnets._hits.experimental_get_tracing_count()
    for choices in _some(space):
        top1, top5 = subnets.accuracy(choices, batches)
        statistics = subnets.statistics(choices)
        logits = np.concatenate([_logits(subnets, images, choices, statistics) for images, _ in batches])
        labels = np.concatenate([labels for _, labels in batches])
        assert np.isclose(top1, (logits.argmax(1) == labels).mean())
        assert np.isclose(top5, np.mean([y in np.argsort(-row)[:5] for row, y in zip(logits, labels, strict=True)]))
    assert subnets._hits.experimental_get_tracing_count() - before <= 1


def test_sorting_channels_keeps_the_largest_network_and_puts_the_heavy_channels_first(space, backbone, images):
    net = supernet_lib.Supernet(space, backbone)
    rng = np.random.default_rng(6)
    net.moving.assign(np.stack([rng.normal(0, 0.3, net.moving.shape[1]), rng.uniform(0.5, 2, net.moving.shape[1])]))
    inputs = {"images": images, "choices": tf.constant(space.largest())}
    before = net(inputs).numpy()
    small = net({**inputs, "choices": tf.constant(space.smallest())}).numpy()
    net.sort_channels()
    np.testing.assert_allclose(net(inputs), before, atol=1e-5 * np.abs(before).max())
    assert np.abs(net({**inputs, "choices": tf.constant(space.smallest())}) - small).max() > 1e-3
    for block in net.blocks:
        importance = np.abs(np.array(block.project)).sum(1)
        assert (np.diff(importance) <= 1e-6).all()


def test_moving_statistics_move_only_where_the_subnet_was(supernet, space, images):
    _, measured = supernet.forward(images, tf.constant(space.smallest()))
    change = np.abs(supernet.moved(measured) - np.array(supernet.moving)).sum(0)
    assert ((change > 0) == (measured[1].numpy() > 0)).all()


def test_supernet_saves_and_loads(supernet, space, images, tmp_path):
    supernet.save(tmp_path / "supernet.keras")
    again = keras.models.load_model(tmp_path / "supernet.keras")
    inputs = {"images": images, "choices": tf.constant(space.largest())}
    np.testing.assert_allclose(again(inputs), supernet(inputs), atol=1e-6)


def test_architectures_share_passes_over_the_images_and_none_is_forgotten(subnets, space):
    rng, resolution, passes = np.random.default_rng(5), subnets.net.backbone.resolution, []
    images = rng.normal(size=(2, 24, resolution, resolution, 3)).astype("float32")
    labels = rng.integers(0, 10, (2, 24)).astype("int32")

    class Batches:
        def __iter__(self):
            passes.append(1)
            return zip(map(tf.constant, images), map(tf.constant, labels), strict=True)

    choices = space.sample(rng, subnet.SHARED_PASS + 2)
    together = list(subnets.accuracies(choices, Batches()))
    assert len(passes) == 2
    for place in (0, subnet.SHARED_PASS + 1):
        assert together[place] == subnets.accuracy(choices[place], Batches())
        right = next(subnets.hits(choices[place][None], Batches()))
        assert right.shape == (2, 48) and right.dtype == bool and tuple(right.mean(1)) == together[place]
