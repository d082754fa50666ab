"""Measuring records on Ray: two actors on this machine, one of them killed."""

import dataclasses
import os
import pathlib
import signal

import numpy as np
import pytest

from pnag_tf import config as config_lib
from pnag_tf import data, presets
from pnag_tf.supernet import fanout, shrinking, subnet
from pnag_tf.util import errors

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def config(image_folder):
    images = config_lib.Data("folder", str(image_folder), augmentation="none")
    config = presets.preset("tiny")
    return dataclasses.replace(config, data=images, backbone=dataclasses.replace(config.backbone, classes=2))


@pytest.fixture(scope="module")
def path(config, tmp_path_factory):
    """A supernet that was never trained."""
    path = tmp_path_factory.mktemp("supernet") / "supernet.keras"
    shrinking.fresh(config).save(path)
    return path


@pytest.fixture(scope="module")
def choices(config):
    return config.space.sample(np.random.default_rng(0), 40)


def _actors():
    """Processes of actors that have loaded their supernet."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::Judge.hits" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass
    return found


def test_a_killed_actor_loses_nothing_and_nothing_comes_twice(config, path, choices):
    pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
    found, killed = {}, None
    for row, right in fanout.hits(config, path, choices, "local", workers=2):
        assert row not in found
        found[row] = right
        if killed is None and (running := _actors()):
            killed = running[0]
            os.kill(killed, signal.SIGKILL)
    assert killed is not None and sorted(found) == list(range(len(choices)))
    splits = data.load(config.data, config.backbone.resolution, config.seed)
    here = subnet.Subnets(shrinking.fresh(config), list(shrinking.calibration_batches(config, splits)))
    validation = list(splits.validation(config.measure.batch_size, config.measure.validation_images))
    for row in (0, 17, 39):
        (right, _) = next(here.hits(choices[row : row + 1], validation))
        assert (found[row] == right).all()


def test_what_an_actor_cannot_read_is_the_users_error(config, path, choices, tmp_path):
    pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
    (tmp_path / "broken.keras").write_text("no supernet")
    with pytest.raises(errors.UserError):
        list(fanout.hits(config, tmp_path / "broken.keras", choices[:2], "local", workers=1))


def test_a_cluster_that_is_not_there(config, path, choices):
    pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
    with pytest.raises(errors.UserError, match="`ray.address=127.0.0.1:1`: no Ray cluster can be reached"):
        next(fanout.hits(config, path, choices, "127.0.0.1:1"))
