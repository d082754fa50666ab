"""How long chosen networks are trained."""

import dataclasses

import pytest

from pnag_tf import presets
from pnag_tf.run import context, train
from pnag_tf.space import cost

CONFIG = presets.preset("demo")


def _epochs(root, **settings):
    """Epochs of the largest and of the smallest network."""
    config = dataclasses.replace(CONFIG, finetune=dataclasses.replace(CONFIG.finetune, least_steps=0, **settings))
    ends = config.space.decode([config.space.largest(), config.space.smallest()])
    return [train.planned(context.make(config, root), str(arch)).finetune.epochs for arch in ends]


@pytest.mark.parametrize(("equalise", "share"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_smaller_networks_train_longer(tmp_path, equalise, share):
    largest, smallest = (
        cost.madds(CONFIG.backbone, arch)
        for arch in CONFIG.space.decode([CONFIG.space.largest(), CONFIG.space.smallest()])
    )
    assert _epochs(tmp_path, epochs=4, equalise=equalise) == [4, round(4 * (largest / smallest) ** share)]


def test_none_are_trained_where_none_is_asked_for(tmp_path):
    assert _epochs(tmp_path, epochs=0, equalise=1.0) == [0, 0]
