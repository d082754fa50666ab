"""One supernet for several resolutions: extraction, training, the latency table and a whole run."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import pnag_tf as pnag
from pnag_tf import config as config_lib
from pnag_tf import data
from pnag_tf.latency import export
from pnag_tf.search import predictor
from pnag_tf.space import cost, features
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import optimizers, shrinking, subnet, transfer
from pnag_tf.util import files

PIXELS = (12, 16)
PLAIN = space_lib.SearchSpace(units=2, depths=(1, 2), kernels=(3, 5), ratios=(3, 4))
SPACE = dataclasses.replace(PLAIN, resolutions=PIXELS)


@pytest.fixture(scope="module")
def net(backbone):
    """A supernet for two resolutions, with everything moved off zero and one."""
    net = supernet_lib.Supernet(SPACE, backbone)
    rng = np.random.default_rng(0)
    for weight in net.trainable_variables:
        weight.assign(np.array(weight) + rng.normal(0, 0.1, weight.shape))
    return net


@pytest.fixture(scope="module")
def subnets(net):
    images = np.random.default_rng(1).normal(size=(2, 24, 16, 16, 3)).astype("float32")
    return subnet.Subnets(net, [tf.constant(batch) for batch in images])


def _scaled(images, pixels):
    return tf.image.resize(images, (pixels, pixels), antialias=True)


def test_the_extracted_network_takes_images_of_its_resolution(net, subnets):
    images = tf.random.stateless_normal((5, 16, 16, 3), (0, 1))
    for pixels in PIXELS:
        (choices,) = SPACE.encode([f"2,1:5,3,3,0:4,3,4,0:{pixels}"])
        model = subnets.extract(choices)
        assert model.input_shape == (None, pixels, pixels, 3)
        statistics = tf.constant(subnets.statistics(choices))
        expected = net.forward(images, tf.constant(choices), statistics)[0].numpy()
        traced = tf.function(lambda i, c, s: net.forward(i, c, s)[0])(images, tf.Variable(choices), statistics)
        np.testing.assert_allclose(traced, expected, atol=1e-4 * np.abs(expected).max())
        np.testing.assert_allclose(model(_scaled(images, pixels)), expected, atol=1e-4 * np.abs(expected).max())


def test_one_trace_serves_all_resolutions(subnets):
    batches = [(tf.random.stateless_normal((n, 16, 16, 3), (n, 1)), tf.range(n) % 10) for n in (9, 4)]
    choices = SPACE.encode([f"2,1:5,3,3,0:4,3,4,0:{pixels}" for pixels in PIXELS])
    first, second = subnets.hits(choices, batches)
    assert first.shape == second.shape == (2, 13)
    assert subnets._hits.experimental_get_tracing_count() == 1


def test_multiply_adds_are_those_of_the_smaller_images(backbone):
    small, large = (space_lib.Architecture.parse(f"1,1:3,0,3,0:3,0,3,0:{pixels}") for pixels in PIXELS)
    here = dataclasses.replace(backbone, resolution=12)
    plain = space_lib.Architecture(small.depths, small.kernels, small.ratios)
    assert cost.madds(backbone, small) == cost.madds(here, plain) < cost.madds(backbone, large)
    assert cost.params(backbone, small) == cost.params(backbone, large)


@pytest.mark.parametrize("sandwich", [False, True])
def test_training_draws_all_resolutions(net, sandwich):
    phase = config_lib.Phase("full", 1, 0.1, subnets_per_step=3, teacher=False, sandwich=sandwich)
    trainer = shrinking.Trainer(net, phase, config_lib.Supernet(), seed=0)
    drawn = {int(trainer.draw(step, index)[-1]) for step in range(8) for index in range(3)}
    assert drawn == {0, 1}
    if sandwich:
        assert [int(trainer.draw(5, index)[-1]) for index in range(2)] == [1, 0]


def test_a_step_changes_the_weights_by_both_resolutions(backbone):
    net = supernet_lib.Supernet(SPACE, backbone)
    phase = config_lib.Phase("sandwich", 1, 0.1, teacher=False, subnets_per_step=3, sandwich=True, ratios=(3, 4))
    trainer = shrinking.Trainer(net, phase, config_lib.Supernet(), seed=0)
    optimizer = optimizers.make("sgd", 0.01, net.matrices(), momentum=0.9)
    optimizer.build(net.trainable_variables)
    trainer.compile(optimizer=optimizer)
    images = tf.random.stateless_normal((8, 16, 16, 3), (2, 1))
    before = net.stem.numpy()
    loss = trainer.train_on_batch(images, tf.range(8))
    assert np.isfinite(loss[0] if isinstance(loss, list) else loss) and (net.stem.numpy() != before).any()


def test_features_in_a_graph_are_those_of_the_space():
    choices = SPACE.sample(np.random.default_rng(0), 40)
    encoder = features.Encoder(SPACE)
    assert (encoder.one_hot(tf.constant(choices)).numpy() == SPACE.one_hot(choices)).all()
    assert (encoder.layer_one_hot(tf.constant(choices)).numpy() == SPACE.layer_one_hot(choices)).all()
    assert predictor.latency_inputs(SPACE, choices).shape[1] == SPACE.one_hot(choices).shape[1] + 2 * 4 * 4


def test_a_supernet_of_one_resolution_is_read_for_several(backbone, tmp_path):
    plain = supernet_lib.Supernet(PLAIN, backbone)
    plain.save(tmp_path / "plain.keras")
    net = transfer.load(tmp_path / "plain.keras", SPACE, backbone)
    assert net.space == SPACE
    images = tf.random.stateless_normal((3, 16, 16, 3), (0, 1))
    (choices,) = SPACE.encode(["2,1:5,3,3,0:4,3,4,0:16"])
    inputs = {"images": images, "choices": tf.constant(choices)}
    np.testing.assert_allclose(net(inputs), plain(inputs | {"choices": tf.constant(choices[:-1])}), atol=1e-6)


def test_splits_at_another_resolution_are_the_same_images(image_folder):
    splits = data.load(config_lib.Data("folder", str(image_folder), augmentation="none", batch_size=8), 16, 0)
    small = splits.at(12)
    assert splits.at(16) is splits and splits.at(12) is small
    for part in ("validation", "test"):
        large_batch, small_batch = (next(iter(getattr(each, part)(8))) for each in (splits, small))
        assert small_batch[0].shape == (8, 12, 12, 3) and (small_batch[1] == large_batch[1]).numpy().all()
        assert small_batch[0].numpy().mean() == pytest.approx(large_batch[0].numpy().mean(), abs=0.02)


@pytest.mark.heavy
def test_from_photos_to_networks_of_two_resolutions(image_folder, tmp_path):
    """The whole road; a network takes, is trained on and tested with images of the resolution that was found for it."""
    settings = ["measure.architectures=24", "finetune.epochs=1", "eval.quantize=int8", "supernet.least_steps=0"]
    run = pnag.Run("tiny", tmp_path, images=image_folder, resolution=PIXELS, settings=settings)
    assert (run.config.space.resolutions, run.config.backbone.resolution) == (PIXELS, 16)
    (_, rows), *_ = run.make("eval")
    records = files.read_csv(tmp_path / "records.csv", ("arch",))
    assert {row["arch"].rsplit(":", 1)[1] for row in records} == {"12", "16"}
    for row in rows:
        pixels = space_lib.Architecture.parse(row["arch"]).resolution
        about = files.read_json(tmp_path / f"deploy/pnag_cpu_{row['budget_ms']}.json")
        assert about["resolution"] == row["resolution"] == pixels
        content = (tmp_path / f"deploy/{about['file']}").read_bytes()
        assert export.Runner(content)(np.zeros((1, pixels, pixels, 3), np.float32)).shape == (1, 2)
        assert [kind["quantization"] for kind in about["variants"]] == ["float32", "int8"]
