"""Fine-tuning: the best epoch is kept, a killed one goes on to the same result, and the stage deploys what it made."""

import dataclasses
import os
import shutil
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
from matplotlib import image

from pnag_tf import config as config_lib
from pnag_tf import data, presets
from pnag_tf.run import answers, context, train
from pnag_tf.space import network
from pnag_tf.supernet import finetune
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.util import files, scalars


@pytest.fixture(scope="module")
def config(image_folder):
    images = config_lib.Data("folder", str(image_folder), augmentation="none", batch_size=16)
    settings = config_lib.Finetune(epochs=3, learning_rate=0.05, ema=0.9)
    return dataclasses.replace(presets.preset("tiny"), data=images, finetune=settings)


@pytest.fixture(scope="module")
def splits(config):
    return data.load(config.data, 16, seed=0)


@pytest.fixture(scope="module")
def start(space, backbone):
    """The same network each time."""

    def make():
        keras.utils.set_random_seed(3)
        return network.build(dataclasses.replace(backbone, classes=2), space.decode(space.smallest())[0])

    return make


@pytest.fixture(scope="module")
def whole(start, config, splits, tmp_path_factory):
    """(network, history) of three epochs in one go."""
    return finetune.train(start, config, splits, tmp_path_factory.mktemp("whole"), progress=False)


def test_the_best_epoch_by_validation_is_returned(whole, splits):
    trained, history = whole
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    judged = answers.of(trained, splits.validation(50), splits.info.mean, splits.info.std)
    assert judged.top1 == pytest.approx(max(row["val_accuracy"] for row in history)) and judged.top5 == 1
    assert judged.top1 > history[0]["val_accuracy"]
    assert history[3]["loss"] < history[1]["loss"]


@pytest.mark.parametrize(
    ("epochs", "least_steps", "per_epoch", "expected"),
    [
        (2, 0, 9, (2, 9)),
        (2, 300, 200, (2, 200)),  # more than the least as it is
        (2, 300, 60, (5, 60)),
        (2, 300, 7, (6, 50)),  # judged every 50 steps, not every 7
        (0, 300, 7, (0, 7)),
    ],
)
def test_few_images_are_judged_every_so_many_steps(epochs, least_steps, per_epoch, expected):
    assert finetune.planned(config_lib.Finetune(epochs, least_steps=least_steps), per_epoch) == expected


def test_a_killed_training_goes_on_to_the_same_result(whole, start, config, splits, tmp_path):
    def log(step, values):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune.train(start, config, splits, tmp_path, progress=False, log=log)
    steps = []
    resumed, history = finetune.train(
        start, config, splits, tmp_path, progress=False, log=lambda step, _: steps.append(step)
    )
    assert steps == [2, 3]  # the epoch in which it died, and the one after it
    expected, told = whole
    np.testing.assert_allclose([row["val_accuracy"] for row in history], [row["val_accuracy"] for row in told])
    for weight, other in zip(resumed.weights, expected.weights, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.keras", "history.csv"]


def _contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def _forbidden(*_):
    raise AssertionError("a finished network was touched")


def test_a_finished_network_is_loaded_and_not_trained_again(whole, start, config, splits, tmp_path):
    _, history = finetune.train(start, config, splits, tmp_path, progress=False)
    before = _contents(tmp_path)
    again, told = finetune.train(_forbidden, config, splits, tmp_path, progress=False, log=_forbidden)
    assert _contents(tmp_path) == before
    np.testing.assert_equal(told, history)
    for weight, other in zip(again.weights, whole[0].weights, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-5)


def test_killed_behind_the_last_epoch_it_is_finished(start, config, splits, tmp_path):
    """The state of the epoch before lies there still."""

    def log(step, values):
        if step == config.finetune.epochs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune.train(start, config, splits, tmp_path, progress=False, log=log)
    before = _contents(tmp_path)
    assert before.pop(finetune.STATE)
    finetune.train(_forbidden, config, splits, tmp_path, progress=False, log=_forbidden)
    assert _contents(tmp_path) == before


def test_interrupted_in_the_third_network_the_first_two_are_not_touched(start, config, splits, tmp_path, monkeypatch):
    short = dataclasses.replace(config, finetune=dataclasses.replace(config.finetune, epochs=1))
    run = context.make(short, tmp_path / "run")
    subnets = types.SimpleNamespace(extract=lambda choices: start())
    run.resources.__dict__ |= {"splits": splits, "subnets": subnets}
    archs = [str(arch) for arch in run.config.space.decode(run.config.space.sample(np.random.default_rng(0), 3))]
    logs = iter([scalars.nowhere, scalars.nowhere, _interrupt])
    monkeypatch.setattr(context.Context, "log", lambda self, stage: next(logs))
    with pytest.raises(KeyboardInterrupt):
        for arch in archs:
            train.alone(run, [arch])
    known = {folder: _contents(folder) for folder in (tmp_path / "run/finetune").iterdir()}
    finished = {folder: held for folder, held in known.items() if finetune.STATE not in held}
    assert len(known) == 3 and len(finished) == 2
    subnets.extract = _forbidden
    logs = iter([_forbidden, _forbidden, scalars.nowhere])
    for arch in archs:
        assert [row["epoch"] for row in train.alone(run, [arch])[0][1]] == [0, 1]
    assert {folder: _contents(folder) for folder in finished} == finished


def _interrupt(step, values):
    raise KeyboardInterrupt


def test_mixed_precision_learns_and_leaves_a_float32_network(whole, start, config, splits, tmp_path):
    mixed = dataclasses.replace(config, mixed_precision=True)
    trained, history = finetune.train(start, mixed, splits, tmp_path, progress=False)
    losses = [[row["loss"] for row in rows[1:]] for rows in (history, whole[1])]
    np.testing.assert_allclose(*losses, rtol=0.1)
    assert losses[0] != losses[1]
    assert {layer.compute_dtype for layer in trained.layers} == {"float32"}
    judged = answers.of(trained, splits.validation(50), splits.info.mean, splits.info.std)
    assert judged.top1 == pytest.approx(max(row["val_accuracy"] for row in history), abs=0.02)


def test_the_start_is_kept_only_where_it_is_clearly_better(monkeypatch, tmp_path):
    """Of 100 images 0.8 has a standard error of 0.04: epochs above 0.72 count, and then the best of them."""
    kept = []
    monkeypatch.setattr(finetune, "keep", lambda network, path: kept.append(path.name))
    history = [{"epoch": 0, "loss": 0.0, "accuracy": 0.0, "val_accuracy": 0.8, "kept": 1.0}]
    best = finetune._Best(tmp_path, history, 100, scalars.nowhere)
    for epoch, top1 in enumerate((0.71, 0.75, 0.74, 0.79)):
        best.on_epoch_end(epoch, {"loss": 1.0, "accuracy": 0.5, "val_accuracy": top1})
    assert [row["kept"] for row in history] == [1, 0, 1, 0, 1] and len(kept) == 2
    assert finetune.before_and_best(history) == (0.8, 0.79)
    assert finetune.before_and_best(finetune._numbers(files.rows_left(tmp_path / finetune.HISTORY))) == (0.8, 0.79)
    earlier = [{"epoch": f"{n}", "val_accuracy": f"{top1}"} for n, top1 in enumerate((0.8, 0.75, 0.82))]
    assert finetune.before_and_best(finetune._numbers(earlier)) == (0.8, 0.82)


def test_a_loss_that_is_no_number_stops(tmp_path):
    keeper = finetune._Best(tmp_path, [], 100, scalars.nowhere)
    with pytest.raises(FloatingPointError, match="fine-tuning: loss nan in epoch 5"):
        keeper.on_epoch_end(4, {"loss": float("nan"), "accuracy": 0.1, "val_accuracy": 0.1})


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_what_is_deployed_was_trained_alone_and_each_network_once(image_folder, tmp_path):
    """On a supernet that was trained by sandwiches."""
    command = [sys.executable, "-m", "pnag_tf.main", "--preset=tiny", "--dataset=folder", f"--data_dir={image_folder}"]
    command += [f"--workdir={tmp_path}/run", "--shrinking=sandwich", "--finetune_epochs=2"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    rows = files.read_csv(tmp_path / "run/eval/pnag.csv", ("arch", "validation_top1_before", "validation_top1"))
    assert len(list((tmp_path / "run/finetune").iterdir())) >= len({row["arch"] for row in rows})
    assert all(float(row["validation_top1"]) >= float(row["validation_top1_before"]) - 0.2 for row in rows)
    assert len(list((tmp_path / "run/deploy").glob("pnag_cpu_*.tflite"))) == 5


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_from_a_search_on_two_classes_to_networks_of_three(image_folder, tmp_path):
    """The paper's road: architectures of a run on some classes, weights of a supernet that tells more apart."""
    more = shutil.copytree(image_folder, tmp_path / "more")
    (more / "lighter").mkdir()
    for path in (more / "light").iterdir():  # the same content in two classes would be left out
        image.imsave(more / "lighter" / path.name, np.minimum(image.imread(path)[..., :3] + 0.2, 1.0))
    preset = presets.preset("tiny")
    backbone = dataclasses.replace(preset.backbone, classes=3)
    supernet_lib.Supernet(preset.space, backbone).save(tmp_path / "three.keras")

    def run(name, images, *flags):
        command = [sys.executable, "-m", "pnag_tf.main", "--preset=tiny", "--dataset=folder", f"--data_dir={images}"]
        command += [f"--workdir={tmp_path / name}", *flags]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ)

    searched = run("search", image_folder, "--stage=eval")
    assert searched.returncode == 0, searched.stderr
    found = files.read_csv(tmp_path / "search/eval/pnag.csv", ("budget_ms", "arch"))
    weights = ("--stage=finetune", "--finetune_epochs=1", f"--supernet={tmp_path / 'three.keras'}")
    weights += (f"--archs={tmp_path / 'search/eval/pnag.csv'}",)
    tuned = run("three", more, *weights)
    assert tuned.returncode == 0, tuned.stderr
    after = files.read_csv(tmp_path / "three/eval/pnag_finetuned.csv", ("budget_ms", "arch", "test_top1"))
    assert [(row["budget_ms"], row["arch"]) for row in after] == [(row["budget_ms"], row["arch"]) for row in found]
    assert all(float(row["latency_ms"]) > 0 for row in after)
    for described in (tmp_path / "three/deploy").glob("pnag_finetuned_cpu_*.json"):
        assert files.read_json(described)["class_names"] == ["dark", "light", "lighter"]
    assert len(list((tmp_path / "three/deploy").glob("pnag_finetuned_cpu_*.tflite"))) == len(found)
    refused = run("search", more, *weights)  # the search's folder keeps its own supernet and images
    assert refused.returncode == 2 and "was made with other settings" in refused.stderr
