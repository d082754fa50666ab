"""Networks trained side by side: each once, errors as from this process, and no process is left behind."""

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest

from pnag_tf import config as config_lib
from pnag_tf import presets
from pnag_tf.run import context, side_by_side, train
from pnag_tf.supernet import finetune, shrinking
from pnag_tf.util import errors


@pytest.fixture(scope="module")
def config(image_folder):
    preset = presets.preset("tiny")
    return dataclasses.replace(
        preset,
        backbone=dataclasses.replace(preset.backbone, classes=2),
        data=config_lib.Data("folder", str(image_folder), augmentation="none", batch_size=16),
        finetune=config_lib.Finetune(epochs=2, learning_rate=0.02, processes=2),
    )


@pytest.fixture(scope="module")
def supernet_file(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("supernet") / "fresh.keras"
    shrinking.fresh(config).save(path)
    return str(path)


@pytest.fixture
def run(config, supernet_file, tmp_path):
    return context.make(config, tmp_path, supernet_file=supernet_file)


@pytest.fixture(scope="module")
def archs(config):
    return [str(arch) for arch in config.space.decode(config.space.sample(np.random.default_rng(0), 3))]


def test_all_networks_are_trained_and_once(run, archs, monkeypatch):
    trained = train.alone(run, [*archs, archs[0]])
    assert [[row["epoch"] for row in history] for _, history in trained] == [[0, 1, 2]] * 4
    assert trained[3] is trained[0] and len(list(run.layout.finetune.iterdir())) == 3
    assert list(run.seconds()) == ["eval/pnag/finetune"]
    monkeypatch.setattr(side_by_side, "train", None)  # nothing is left for it
    again = train.alone(run, archs)
    np.testing.assert_equal([history for _, history in again], [history for _, history in trained[:3]])


def test_an_error_of_a_process_is_that_of_this_one(run, archs):
    settings = dataclasses.replace(run.config, data=config_lib.Data("folder", "/nowhere"))
    broken = context.make(settings, run.layout.root, supernet_file=run.supernet_file)
    with pytest.raises(errors.UserError, match="/nowhere"):
        side_by_side.train(broken, archs, 2, lambda: None)


def test_a_killed_process_is_named_and_a_failing_one_shows_its_error(run, archs, monkeypatch, capfd):
    def command(code):
        monkeypatch.setattr(side_by_side, "COMMAND", [sys.executable, "-c", code])

    command("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(errors.UserError, match="killed by signal 9.*`finetune.processes=1`"):
        side_by_side.train(run, archs[:1], 1, lambda: None)
    command("raise ValueError('a bug')")
    with pytest.raises(RuntimeError, match="ended with 1; its error stands above"):
        side_by_side.train(run, archs[:1], 1, lambda: None)
    assert "a bug" in capfd.readouterr().err


def test_interrupted_no_process_goes_on(run, archs):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side.train(run, archs, 2, interrupt)
    epochs = [finetune.done_epochs(folder) for folder in run.layout.finetune.iterdir()]
    assert max(epochs) == 1 and len(epochs) == 2


def test_a_process_ends_with_the_one_that_started_it(run, archs):
    asked = {"config": run.config, "root": run.layout.root, "supernet_file": run.supernet_file}
    asked["config"] = dataclasses.replace(run.config, finetune=config_lib.Finetune(epochs=100_000))
    command = [sys.executable, "-m", "pnag_tf.run.trainee"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        pickle.dump(asked | {"arch": archs[0], "threads": 1}, process.stdin)
        process.stdin.flush()
        assert process.stdout.readline() == b"epoch\n"
        process.stdin.close()
        assert process.wait(timeout=20) == 1


@pytest.mark.parametrize("asked, networks, expected", [(2, 5, 2), (4, 3, 3), (1, 5, 1), (0, 1, 1)])
def test_no_more_processes_than_networks(run, asked, networks, expected):
    settings = dataclasses.replace(run.config, finetune=config_lib.Finetune(processes=asked))
    assert side_by_side.processes(dataclasses.replace(run, config=settings), networks) == expected
