"""Training by the clock: what fits is planned by hand-made paces, and the pace of a real network is what it takes."""

import dataclasses

import keras
import pytest

from pnag_tf import config as config_lib
from pnag_tf import data, presets
from pnag_tf.supernet import distribution, finetune, pace
from pnag_tf.zoo import shelf

PACE = pace.Pace(start_s=7, step_s=0.5, validation_s=2, keep_s=1)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (35, (2, 20)),  # 26 are left, and an epoch takes 10 + 2 + 1
        (34.9, (1, 20)),
        (21, (1, 18)),  # 12 are left: 9 for steps
        (13, (1, 2)),
        (1, (1, 1)),  # one step is the least
    ],
)
def test_epochs_are_what_fits(seconds, expected):
    found = pace.plan(PACE, seconds, steps_per_epoch=20)
    assert (found.epochs, found.steps) == expected


def test_a_pace_is_from_batch_to_batch():
    assert pace._interval([10.0, 10.5, 11.0, 11.5]) == 0.5
    assert pace._interval([10.0, 10.1, 10.2, 11.2, 12.2, 13.2]) == 1.0  # without what was ready
    assert pace._interval([10.0]) == 0.0  # all there is


@pytest.fixture(scope="module")
def config(image_folder):
    images = config_lib.Data("folder", str(image_folder), augmentation="none", batch_size=16)
    settings = config_lib.Finetune(epochs=2, optimizer="adam", learning_rate=1e-3)
    return dataclasses.replace(presets.preset("tiny"), data=images, finetune=settings)


def test_the_pace_is_measured_on_the_start_that_training_goes_on_from(config, tmp_path):
    splits, spread, begun = data.load(config.data, 16, seed=0), distribution.make(), []

    def start():
        begun.append(keras.utils.set_random_seed(0))
        return shelf.build("tiny_cnn", 2, 16)

    seconds = 8.0
    found = pace.measure(start, config, splits, tmp_path, seconds, spread)
    plan = pace.plan(found, seconds, splits.steps_per_epoch(16))
    assert plan.epochs >= 1 and found.step_s > 0
    _, history = finetune.train(start, config, splits, tmp_path, progress=False, distribution=spread, steps=5)
    assert len(begun) == 1 and [row["epoch"] for row in history] == [0, 1, 2]
