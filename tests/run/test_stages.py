"""What a stage does where TensorFlow gives up: the images are looked through only if one of them is to blame."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf import config as config_lib
from pnag_tf import presets
from pnag_tf.run import context as context_lib
from pnag_tf.run import stages
from pnag_tf.util import errors


@pytest.fixture
def photos(image_folder, tmp_path):
    """A copy of the image folder, for a test to spoil."""
    return shutil.copytree(image_folder, tmp_path / "photos")


@pytest.fixture
def run(photos, tmp_path):
    """A run on these photos, of which nothing is made or opened yet."""
    tiny = presets.preset("tiny")
    data = config_lib.Data("folder", str(photos), augmentation="none", batch_size=16)
    backbone = dataclasses.replace(tiny.backbone, classes=2)
    return context_lib.make(dataclasses.replace(tiny, data=data, backbone=backbone), tmp_path / "run")


def _replace(monkeypatch, function):
    """Stage `supernet`, which needs no other one, makes this instead."""
    stage = dataclasses.replace(stages.STAGES["supernet"], make=function)
    monkeypatch.setitem(stages.STAGES, "supernet", stage)


@tf.function(input_signature=[tf.TensorSpec([None, None])])
def _misshapen(images):
    return tf.reshape(images, [7, -1])


@tf.function
def _not_a_number(images):
    return tf.debugging.check_numerics(images / 0.0 * 0.0, "loss")


@pytest.mark.parametrize("bad", [_misshapen, _not_a_number])
def test_a_bad_tensor_decodes_no_image_again(bad, run, monkeypatch):
    _replace(monkeypatch, lambda context: bad(tf.ones([5, 3])))
    monkeypatch.setattr(type(run.resources.splits), "check_files", lambda self: pytest.fail("all images are decoded"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="loss|values"):
        stages.run(run, "supernet")


def test_a_broken_image_is_named(run, photos, monkeypatch):
    """Its name is what TensorFlow does not say."""
    broken = sorted((photos / "dark").iterdir())[0]
    content = np.frombuffer(broken.read_bytes(), np.uint8).copy()
    content[len(content) // 2 :][:40] ^= 255
    broken.write_bytes(content.tobytes())

    def read(context):
        for part in (context.resources.splits.train(16), context.resources.splits.validation(16)):
            for _ in part.take(20):
                pass

    _replace(monkeypatch, read)
    with pytest.raises(errors.UserError, match=f"{broken} is broken: it cannot be decoded"):
        stages.run(run, "supernet")
