"""What tests share: a two-unit space, its backbone, and the optional development material."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest

from pnag_tf import presets
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import proposals as search_lib
from pnag_tf.search import records as records_lib
from pnag_tf.search import reinforce
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib


@pytest.fixture(scope="session")
def space():
    """Two units: 7,371² architectures, small enough to trace in seconds."""
    return space_lib.SearchSpace(units=2, depths=(2, 3), kernels=(3, 5, 7), ratios=(3, 4, 6))


@pytest.fixture(scope="session")
def backbone():
    """The backbone of `space`: 16-pixel images, ten classes, squeeze-excite and both activations."""
    return backbone_lib.Backbone(
        base_widths=(16, 24),
        strides=(2, 2),
        squeeze_excite=(False, True),
        activations=("relu", "hard_swish"),
        base_stem=8,
        base_first=8,
        base_final_expand=64,
        base_feature_mix=64,
        stem_stride=1,
        resolution=16,
        classes=10,
    )


@pytest.fixture(scope="session")
def material():
    """The development folder with real measurements; tests that need it are skipped where it is absent."""
    folder = pathlib.Path(os.environ.get("PNAG_MATERIAL", pathlib.Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the measurements in {folder} (set PNAG_MATERIAL)")
    return folder


@pytest.fixture(scope="session")
def facts():
    """The folder of what others' programs and papers say, small enough to lie here; `make_facts.py` there made it."""
    return pathlib.Path(__file__).parent / "facts"


@pytest.fixture(scope="session")
def supernet(space, backbone):
    """A supernet with everything that starts as zero or one moved off it, so that a forgotten weight shows."""
    import keras

    from pnag_tf.supernet import model as supernet_lib

    keras.utils.set_random_seed(0)
    net = supernet_lib.Supernet(space, backbone)
    rng = np.random.default_rng(0)
    for weight in net.trainable_variables:
        weight.assign(np.array(weight) + rng.normal(0, 0.1, weight.shape))
    net.moving.assign(np.stack([rng.normal(0, 0.3, net.moving.shape[1]), rng.uniform(0.5, 2, net.moving.shape[1])]))
    return net


@pytest.fixture(scope="session")
def subnets(supernet):
    """Traced functions on that supernet, with calibration images."""
    import numpy as np
    import tensorflow as tf

    from pnag_tf.supernet import subnet

    resolution = supernet.backbone.resolution
    images = np.random.default_rng(1).normal(size=(2, 24, resolution, resolution, 3)).astype("float32")
    return subnet.Subnets(supernet, [tf.constant(batch) for batch in images])


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """Two classes of bright and dark noise."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 180)):
        (folder / name).mkdir()
        for number in range(120):
            pixels = np.clip(rng.normal(level, 40, (16, 16, 3)), 0, 255).astype("uint8")
            tf.io.write_file(str(folder / name / f"{number}.png"), tf.io.encode_png(pixels))
    return folder


# ---- what the tests of the search share: a table whose truth is a formula ------------------------------------------


@pytest.fixture(scope="session")
def truth(space):
    """(top-1, latency in ms) of choices: latency a sum over blocks, top-1 with an interaction of neighbours."""
    rng = np.random.default_rng(42)
    options = np.arange(len(space.ratios) * len(space.kernels))
    steps = options // len(space.kernels) + 0.5 * (options % len(space.kernels))
    cost = rng.uniform(0.2, 0.5, (space.layers, 1)) * (1 + rng.uniform(0.5, 1.0, (space.layers, 1)) * steps)
    worth = rng.uniform(0.2, 1.0, space.tokens)

    def measured(choices):
        latency_ms = 2 + space.layer_one_hot(choices) @ cost.ravel()
        one_hot = space.one_hot(choices)
        starts = np.cumsum(space.token_sizes)[:-1]
        steps = np.stack([part.argmax(1) * part.max(1) for part in np.split(one_hot, starts, axis=1)], 1)
        top1 = 0.5 + 0.01 * steps @ worth - 0.002 * np.sum(steps[:, 1:] * steps[:, :-1], 1) / space.tokens
        return top1, latency_ms

    return measured


@pytest.fixture(scope="session")
def table(space, truth):
    """400 records of `space`."""
    choices = np.unique(space.sample(np.random.default_rng(3), 450), axis=0)[:400]
    return records_lib.Records(space, choices, *truth(choices))


@pytest.fixture(scope="session")
def predictors(table):
    """Predictors of `table`, trained in a few seconds."""
    return predictor_lib.train(table, presets.preset("tiny").predictors, seed=0)


@pytest.fixture(scope="session")
def trained(table, predictors):
    """(evaluator, history) of `table` by the recipe of preset tiny."""
    budgets_ms = search_lib.training_budgets(table, presets.preset("tiny").generator)
    return search_lib.train_evaluator(table, predictors, presets.preset("tiny").evaluator, budgets_ms, seed=0)


@pytest.fixture(scope="session")
def generator(space, trained):
    """The generator of `trained`, by the recipe of preset tiny."""
    evaluator, _ = trained
    found, _ = reinforce.train(space, evaluator.graph, presets.preset("tiny").generator, evaluator.budgets_ms, 0)
    return found
