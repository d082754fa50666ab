"""Off-the-shelf networks: which fit a resolution, their sizes, and that they take images as the run gives them."""

import types

import keras
import numpy as np
import pytest

from pnag_tf.latency import export
from pnag_tf.util import errors
from pnag_tf.zoo import counting, shelf

APPLICATIONS = [name for name, each in shelf.NETWORKS.items() if each.pretrained]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "resolution", "params"),
    [
        ("tutorial_cnn", 32, 122_570),  # as the tutorial prints
        ("tiny_cnn", 28, 8_922),
        ("resnet_8", 32, 78_042),
        ("resnet_14", 32, 175_258),
        ("mobilenet_v2_0.35", 28, 408_938),
        ("mobilenet_v3_small_minimalistic", 16, 1_029_986),
    ],
)
def test_sizes(name, resolution, params):
    model = shelf.build(name, 10, resolution)
    assert counting.params(model) == params
    assert (model.input_shape, model.output_shape) == ((None, resolution, resolution, 3), (None, 10))


def test_which_networks_are_for_a_resolution():
    assert shelf.fitting(16) == ("tiny_cnn", "resnet_8", "resnet_14")
    assert shelf.fitting(28) == shelf.fitting(64) == tuple(shelf.NETWORKS)
    assert shelf.fitting(96) == tuple(APPLICATIONS)


@pytest.mark.parametrize(("name", "resolution"), [("tutorial_cnn", 16), ("resnet_8", 96), ("mobilenet_v2_0.5", 4)])
def test_a_resolution_that_a_network_does_not_take(name, resolution):
    with pytest.raises(errors.UserError, match=f"{name}: expected images of .* px, found {resolution}"):
        shelf.build(name, 10, resolution)


def test_unknown_name():
    with pytest.raises(errors.UserError, match="unknown network 'lenet'; choose from tutorial_cnn, "):
        shelf.build("lenet", 10, 32)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", pytest.param("efficientnet_b0", marks=pytest.mark.heavy)])
def test_batch_norm_follows_quickly_and_the_export_answers_the_same(name):
    model = shelf.build(name, 3, 28)
    found = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert found and {layer.momentum for layer in found} == {shelf.BATCH_NORM_MOMENTUM}
    images = RNG.normal(size=(1, 28, 28, 3)).astype("float32")
    np.testing.assert_allclose(export.run(export.convert(model), images), model(images), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(("bytes_in", "scale"), [(True, 255.0), (False, 2.0)])
def test_pretrained_networks_get_the_pixels_that_they_know(bytes_in, scale, monkeypatch):
    """What the body sees, by a body that answers its input."""

    def body(input_tensor, weights, include_top, pooling):
        assert weights == "imagenet" and not include_top
        mean = keras.layers.GlobalAveragePooling2D()(input_tensor)
        return types.SimpleNamespace(outputs=[mean])

    monkeypatch.setattr(keras.applications, "MobileNetV2", body)
    model = shelf._build_application("MobileNetV2", bytes_in, {}, 2, 40, ((0.5,), (0.25,)))
    seen = keras.Model(model.inputs[0], model.layers[-2].output)
    black, white = (np.full((1, 40, 40, 3), (value - 0.5) / 0.25, "float32") for value in (0, 1))
    low = 0.0 if bytes_in else -1.0
    np.testing.assert_allclose(seen(black), np.full((1, 3), low), atol=1e-4)
    np.testing.assert_allclose(seen(white), np.full((1, 3), low + scale), rtol=1e-5)


def test_weights_that_cannot_be_had_are_one_line(monkeypatch):
    def offline(**_):
        raise Exception("URL fetch failure on https://storage: None\nand more")

    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    with pytest.raises(errors.UserError, match="weights of MobileNetV2 cannot be had: URL fetch failure on .*: None$"):
        shelf.build("mobilenet_v2_0.35", 10, 32, ((0.5,), (0.25,)))


@pytest.mark.heavy
@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.parametrize("resolution", [16, 28, 48])
def test_every_application_takes_every_resolution(name, resolution):
    logits = shelf.build(name, 10, resolution)(RNG.normal(size=(2, resolution, resolution, 3)).astype("float32"))
    assert logits.shape == (2, 10) and np.isfinite(logits).all()
