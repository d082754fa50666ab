"""The zoo: every network against its published size, and the counter against the package's own."""

import dataclasses

import keras
import numpy as np
import pytest

from pnag_tf import zoo
from pnag_tf.space import cost, network
from pnag_tf.util import errors
from pnag_tf.zoo import bottlenecks, counting, published

# Exact counts, so that a change shows: parameters, multiply-adds, and of the latter how many are the classifier's where
# the published figure leaves it out. Then by how much each may differ from the published figure; the reasons stand in
# the entries' notes. 0 means: the published digits, rounded.
COUNTS = {
    "mobilenetv2-1.0": (3_504_872, 300_774_272, 0, 0.04, 0.01),
    "mobilenetv2-1.4": (6_108_776, 582_195_824, 0, 0.12, 0.01),
    "mobilenetv3-large-0.75": (3_993_528, 154_560_624, 0, 0, 0),
    "mobilenetv3-large-1.0": (5_483_032, 216_589_760, 0, 0.02, 0.02),
    "efficientnet-b0": (5_288_548, 385_814_752, 0, 0, 0.02),
    "efficientnet-b1": (7_794_184, 686_802_832, 0, 0, 0.02),
    "nasnet-a-mobile": (5_289_978, 563_638_816, 0, 0, 0),
    "resnet-18": (11_689_512, 1_814_073_344, 0, 0, 0),
    "resnet-50": (25_557_032, 4_089_184_256, 2_048_000, 0, 0),
    "mnasnet-a1-1.0": (3_887_038, 311_579_072, 0, 0, 0),
    "mnasnet-a1-1.4": (6_105_992, 586_317_952, 0, 0, 0.01),
    "fbnet-a": (4_304_584, 244_452_664, 0, 0, 0.02),
    "fbnet-c": (5_570_664, 378_136_224, 0, 0.02, 0.01),
    "proxylessnas-cpu": (4_361_648, 439_243_864, 1_432_000, 0, 0),
    "proxylessnas-gpu": (7_119_848, 465_260_160, 1_728_000, 0, 0.002),
    "proxylessnas-mobile": (4_080_512, 320_427_584, 1_280_000, 0, 0),
    "ofa-note10-64": (9_109_040, 743_131_000, 0, 0, 0),
}
# Where PNAG's table prints another network's figures: those of the network's own paper.
OWN_FIGURES = {"mnasnet-a1-1.0": (3.9, 312)}
PNAG = [name for name in zoo.names() if name.startswith("pnag-")]
QUICK = ("resnet-18", "mnasnet-a1-1.0", "fbnet-c", "proxylessnas-cpu", "ofa-note10-64")


def published_figures(name):
    figures = {(row.params_m, row.madds_m) for row in published.rows_of(name)}
    assert len(figures) == 1
    return OWN_FIGURES.get(name) or figures.pop()


@pytest.mark.parametrize("name", COUNTS)
def test_counts_agree_with_what_is_published(name):
    params, madds, left_out, params_tolerance, madds_tolerance = COUNTS[name]
    params_m, madds_m = published_figures(name)
    if params_tolerance:
        assert abs(params / 1e6 / params_m - 1) < params_tolerance
    else:
        assert round(params / 1e6, 1) == params_m
    if madds_tolerance:
        assert abs((madds - left_out) / 1e6 / madds_m - 1) < madds_tolerance
    else:
        assert round((madds - left_out) / 1e6) == madds_m
    assert not (params_tolerance or madds_tolerance or left_out) or zoo.entry(name).note


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.heavy) for n in COUNTS])
def test_network_has_its_counts_and_answers(name):
    params, madds, *_ = COUNTS[name]
    resolution = zoo.entry(name).resolution
    model = zoo.build(name, resolution=resolution)
    assert (counting.params(model), counting.madds(model)) == (params, madds)
    assert (model.input_shape, model.output_shape) == ((None, resolution, resolution, 3), (None, 1000))
    images = np.random.default_rng(0).normal(size=(1, resolution, resolution, 3)).astype("float32")
    logits = model(images).numpy()
    assert np.isfinite(logits).all() and np.ptp(logits) > 0


@pytest.mark.heavy
@pytest.mark.parametrize("name", PNAG)
def test_published_architectures_build_and_count_as_described(name):
    known, model = published.ARCHITECTURES[name], zoo.build(name)
    assert counting.params(model) == cost.params(known.backbone(), known.architecture)
    assert counting.madds(model) == cost.madds(known.backbone(), known.architecture)
    assert model.output_shape == (None, 1000)


def test_every_network_is_counted_here_and_every_row_finds_its_network():
    assert set(zoo.names()) == {*COUNTS, *PNAG, "resnet-50-v1"}
    assert {row.network for row in published.ROWS} - {None} == {*COUNTS, *PNAG}
    assert all(zoo.entry(name).definition for name in zoo.names())


@pytest.mark.heavy
def test_the_resnet_50_of_keras_is_cheaper_than_the_published_one():
    model = zoo.build("resnet-50-v1")
    assert (counting.params(model), counting.madds(model)) == (25_583_592, 3_857_973_248)
    assert counting.madds(model) / 4087e6 < 0.95


def test_classes_and_resolution_are_chosen():
    model = zoo.build("fbnet-a", classes=10, resolution=64)
    assert (model.input_shape, model.output_shape) == ((None, 64, 64, 3), (None, 10))
    assert np.isfinite(model(np.ones((2, 64, 64, 3), "float32")).numpy()).all()


def test_unknown_name():
    with pytest.raises(errors.UserError, match="unknown network 'resnet-19'; choose from mobilenetv2-1.0, "):
        zoo.build("resnet-19")


def test_shuffle_interleaves_the_groups():
    features = keras.Input((1, 1, 6))
    shuffle = keras.Model(features, bottlenecks._shuffle(features, "x", 2))
    assert shuffle(np.arange(6, dtype="float32").reshape(1, 1, 1, 6)).numpy().ravel().tolist() == [0, 3, 1, 4, 2, 5]


# ---- counting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [16, 27])
def test_counts_are_those_of_cost_on_our_own_space(space, backbone, resolution):
    backbone = dataclasses.replace(backbone, resolution=resolution)
    for arch in space.decode(space.sample(np.random.default_rng(resolution), 2)):
        model = network.build(backbone, arch)
        assert counting.madds(model) == cost.madds(backbone, arch)
        assert counting.params(model) == cost.params(backbone, arch)


def test_each_kind_of_layer_by_hand():
    kl = keras.layers
    x = images = keras.Input((8, 8, 3))
    x = kl.Conv2D(4, 3, strides=2, padding="same")(x)  # 4x4: 16 * 9 * 3 * 4
    x = kl.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(x)  # 2x2: 4 * 9 * 8
    x = kl.BatchNormalization()(x)
    x = kl.Conv2D(6, 1, groups=2, use_bias=False)(x)  # 4 * 4 * 6
    x = kl.SeparableConv2D(5, 3, padding="same")(x)  # 4 * (9 * 6 + 6 * 5)
    x = kl.Dense(7)(kl.Flatten()(x))  # 20 * 7
    model = keras.Model(images, x)
    assert counting.madds(model) == 16 * 108 + 4 * 72 + 4 * 24 + 4 * 84 + 140
    assert counting.params(model) == (108 + 4) + 72 + 16 + 24 + (54 + 30 + 5) + 147


def test_a_shared_layer_costs_each_time_and_has_its_weights_once():
    first, second = keras.Input((4,)), keras.Input((4,))
    shared = keras.layers.Dense(3)
    model = keras.Model([first, second], keras.layers.Add()([shared(first), shared(second)]))
    shared(keras.Input((4,)))  # a call outside of the model
    assert (counting.madds(model), counting.params(model)) == (24, 15)


def test_nested_and_sequential_models_count():
    inner = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(2, 3, padding="same", use_bias=False)])
    images = keras.Input((4, 4, 2))
    model = keras.Model(images, inner(inner(images)))
    assert (counting.madds(inner), counting.params(inner)) == (16 * 36, 36)
    assert (counting.madds(model), counting.params(model)) == (2 * 16 * 36, 36)


def test_frozen_layers_still_count(space, backbone):
    model = network.build(backbone, space.decode(space.smallest())[0])
    before = counting.params(model)
    model.trainable = False
    assert counting.params(model) == before


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.Conv2DTranspose(2, 3), (4, 4, 2)),
        (keras.layers.Conv1D(2, 3), (4, 2)),
        (keras.layers.LSTM(2), (4, 2)),
        (keras.layers.TimeDistributed(keras.layers.Dense(2)), (4, 2)),
        (type("Special", (keras.layers.Dense,), {})(2), (4,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_layer_without_a_rule_is_an_error(layer, shape):
    images = keras.Input(shape)
    model = keras.Model(images, layer(images))
    for count in (counting.madds, counting.params):
        with pytest.raises(ValueError, match=f"no rule for counting {type(layer).__name__} '{layer.name}'"):
            count(model)


def test_products_without_weights_are_an_error():
    images = keras.Input((4, 4))
    for output in (keras.ops.matmul(images, images), keras.layers.Dot(1)([images, images])):
        with pytest.raises(ValueError, match="no rule for counting"):
            counting.madds(keras.Model(images, output))


def test_open_sizes_and_models_without_a_graph_are_errors():
    images = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="output of open size"):
        counting.madds(keras.Model(images, keras.layers.Conv2D(2, 3)(images)))
    with pytest.raises(ValueError, match="is no graph of layers"):
        counting.madds(type("Subclassed", (keras.Model,), {})(name="m"))
