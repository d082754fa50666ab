"""The stage `baselines`: what is trained, how long, what is kept after a crash, and who is dominated."""

import dataclasses

import numpy as np
import pytest

from pnag_tf import config as config_lib
from pnag_tf import data, presets
from pnag_tf.latency import device as devices
from pnag_tf.run import baselines, context, deploy, dominance, report, stages
from pnag_tf.space import network
from pnag_tf.supernet import pace
from pnag_tf.util import errors, files, scalars
from pnag_tf.zoo import shelf

NETWORKS = ("tutorial_cnn", "tiny_cnn")


def _config(image_folder, **settings):
    """Preset tiny at 20 px: the tutorial's CNN takes no less."""
    tiny = presets.preset("tiny")
    return dataclasses.replace(
        tiny,
        backbone=dataclasses.replace(tiny.backbone, classes=2, resolution=20),
        data=config_lib.Data("folder", str(image_folder), augmentation="none", batch_size=16),
        latency=config_lib.Latency(source="measured"),
        baselines=config_lib.Baselines(**{"networks": NETWORKS} | settings),
    )


@pytest.fixture(scope="module")
def deployed(image_folder, tmp_path_factory):
    """The folder of a run whose two networks, one for two budgets, are deployed."""
    run = context.make(_config(image_folder), tmp_path_factory.mktemp("deployed") / "run")
    stages.enter(run)
    space = run.config.space
    archs = [space.decode(choices)[0] for choices in (space.smallest(), space.largest())]
    rows = []
    for budget, arch, top1 in (("1", archs[0], "0.5"), ("2", archs[1], "1.0"), ("3", archs[1], "1.0")):
        model = network.randomise(network.build(run.config.backbone, arch))
        row = {"method": "pnag", "budget_ms": budget, "arch": str(arch), "predicted_top1": "0.6"}
        row |= {"predicted_latency_ms": budget, "validation_top1": top1, "test_top1": top1, "test_top5": "1"}
        rows.append(row | {"latency_ms": budget, "params": "10", "madds": "100", "found_by": "pnag"})
        path = run.layout.network("pnag", "cpu", budget)
        exported = run.resources.device.export(model)
        found = run.resources.exporter.tested(model, exported)
        deploy.write(path, rows[-1], exported, found, "a CPU", run.config, run.resources.splits, ".tflite")
    files.write_csv(run.layout.table("pnag"), rows, rows[0])
    files.write_json(run.layout.seconds, {"supernet": 20.0, "eval/pnag": 10.0, "eval/random": 99.0, "compare": 99.0})
    return run


@pytest.fixture
def paced(monkeypatch):
    """Paces by which 30 seconds are two epochs of nine steps; the seconds for which they were asked."""
    asked = []

    def measure(start, config, splits, folder, seconds, distribution):
        asked.append(seconds)
        return pace.Pace(0, 1.0, 1.0, 0.0)

    monkeypatch.setattr(pace, "measure", measure)
    return asked


def _forbidden(*_, **__):
    raise AssertionError("a finished network was touched")


def test_networks_are_trained_as_long_as_the_run_and_timed_beside_it(deployed, paced, monkeypatch):
    """Killed while the second one trains, it goes on there; called again, it only measures."""
    logs = iter([scalars.nowhere, _interrupt, scalars.nowhere])
    monkeypatch.setattr(context.Context, "log", lambda self, stage: next(logs))
    read, test = [], data.Splits.test
    monkeypatch.setattr(data.Splits, "test", lambda self, size: read.append(size) or test(self, size))
    table = deployed.layout.baselines_table("cpu")
    with pytest.raises(KeyboardInterrupt):
        stages.run(deployed, "baselines")
    assert paced == [30.0, 30.0]  # seconds: neither another method nor the comparison counts
    assert [row["network"] for row in files.read_csv(table, ())] == ["tutorial_cnn"]
    assert dominance.tables(deployed.layout) == {}
    kept = {path: path.stat().st_mtime_ns for path in deployed.layout.baselines.glob("tutorial_cnn/*")}
    ((title, shown),) = stages.run(deployed, "baselines")
    assert len(paced) == 2 and len(read) == 2  # test images once a network
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    rows = files.read_csv(table, dominance.COLUMNS)
    assert [row["network"] for row in rows] == ["pnag-1", "pnag-3", *NETWORKS]
    assert [row["minutes"] for row in rows[:2]] == ["0.5", "0.5"] and all(float(row["latency_ms"]) > 0 for row in rows)
    assert [row["epochs"] for row in rows] == ["", "", "2", "2"] and all(float(row["minutes"]) > 0 for row in rows)
    assert [row["params"] for row in rows] == ["10", "10", "60610", "6290"]
    described = files.read_json(deployed.layout.baselines / "tutorial_cnn_cpu.json")
    assert described["file"] == "tutorial_cnn_cpu.tflite" and described["test_top1"] == rows[2]["test_top1"]
    assert title.endswith(dominance.verdict(rows)) and len(shown) == 4
    assert deployed.seconds()["baselines/tiny_cnn"] > 0
    monkeypatch.setattr(baselines, "_train", _forbidden)
    stages.run(deployed, "baselines")
    assert len(read) == 2 and set(dominance.tables(deployed.layout)) == {"cpu"}
    page = report.write(deployed.layout).read_text()
    assert dominance.verdict(files.read_csv(table, ())) in page and page.index("off-the-shelf") < page.index("Budget:")
    assert "<td>supernet</td><td>20 s</td>" in page


def _interrupt(step, values):
    raise KeyboardInterrupt


# ---- how long --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, 60.0), ({"time": "shared"}, 15.0), ({"minutes": 2.0}, 120.0), ({"minutes": 2.0, "time": "shared"}, 30.0)],
)
def test_seconds_of_each_network(settings, expected):
    assert baselines._seconds(config_lib.Baselines(**settings), 60.0, count=4) == expected


def test_a_run_of_unknown_seconds_asks_for_minutes():
    with pytest.raises(errors.UserError, match="expected `baselines.minutes`, found 0"):
        baselines._seconds(config_lib.Baselines(), 0.0, count=4)


@pytest.mark.parametrize(
    ("settings", "seconds", "again"),
    [({}, 105.0, False), ({}, 120.0, True), ({"minutes": 1.0}, 105.0, True), ({"weights": "imagenet"}, 100.0, True)],
)
def test_a_plan_holds_until_the_run_has_taken_longer(settings, seconds, again, image_folder, tmp_path):
    run = context.make(_config(image_folder, **settings), tmp_path)
    folder = run.layout.baselines / "tiny_cnn"
    files.write_json(folder / "plan.json", {"seconds": 100.0, "weights": "none", "before_s": 0.0, "epochs": 3})
    (folder / "best.keras").touch()
    plan = baselines._plan(run, folder, seconds)
    assert (folder / "best.keras").exists() == ("epochs" in plan) == (not again)
    assert plan["seconds"] == (seconds if again else 100.0)


def test_the_learning_rate_grows_with_the_batch_and_shrinks_for_known_weights(image_folder):
    config = dataclasses.replace(_config(image_folder), data=config_lib.Data(batch_size=256))
    rates = {
        (name, weights): baselines._recipe(config, name, weights).finetune.learning_rate
        for name in ("tutorial_cnn", "efficientnet_b0")
        for weights in ("none", "imagenet")
    }
    assert rates["tutorial_cnn", "none"] == rates["tutorial_cnn", "imagenet"] == 1e-3
    assert rates["efficientnet_b0", "none"] == pytest.approx(0.2)
    assert rates["efficientnet_b0", "imagenet"] == pytest.approx(0.04)


# ---- what cannot be used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": ("lenet",)}, "unknown network 'lenet'; choose from tutorial_cnn"),
        ({"networks": ("mobilenet_v2_0.5", "resnet_20")}, "unknown network 'resnet_20'"),
        ({"weights": "imagenet"}, "expected a network of keras.applications, found tutorial_cnn, tiny_cnn"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_made(settings, message, image_folder, tmp_path):
    run = context.make(_config(image_folder, **settings), tmp_path / "run")
    with pytest.raises(errors.UserError, match=message):
        stages.run(run, "baselines")
    assert not (tmp_path / "run").exists()


def test_images_that_a_network_does_not_take(image_folder, tmp_path):
    config = dataclasses.replace(_config(image_folder), backbone=presets.preset("tiny").backbone)
    with pytest.raises(errors.UserError, match="tutorial_cnn: expected images of 18 to 64 px, found 16"):
        baselines.check(context.make(config, tmp_path))


def test_a_deployed_file_that_is_gone(deployed, image_folder, tmp_path):
    run = context.make(_config(image_folder), tmp_path)
    files.write_bytes(run.layout.table("pnag"), deployed.layout.table("pnag").read_bytes())
    with pytest.raises(errors.UserError, match="pnag_cpu_1.tflite, found none: stage eval deploys it"):
        baselines.baselines(run)


def test_no_name_stands_for_all_that_fit(image_folder):
    config = _config(image_folder, networks=())
    assert baselines.names(config) == shelf.fitting(20)


# ---- who is dominated ------------------------------------------------------------------------------------------------


def _row(name, test_top1, latency_ms, method=""):
    return {"network": name, "test_top1": str(test_top1), "latency_ms": str(latency_ms), "method": method}


def test_the_verdict_by_hand():
    own = [_row("pnag-1", 0.8, 1.0, "pnag"), _row("pnag-2", 0.9, 2.0, "pnag")]
    equal = [_row("a", 0.8, 0.9), _row("b", 0.95, 2.0)]
    none = "None of 2 pnag networks is dominated (higher test top-1 at lower latency)"
    assert dominance.verdict(own + equal) == none
    better = [_row("c", 0.81, 0.9), _row("d", 0.91, 0.95)]
    assert dominance.verdict(own + better) == (
        "2 of 2 pnag networks are dominated (higher test top-1 at lower latency): pnag-1 by d, c; pnag-2 by d"
    )


def test_latencies_come_from_one_call(deployed, monkeypatch):
    calls = []

    def measure(models, progress=None):
        calls.append(len(models))
        return [devices.MeasuredLatency(ms, ms, ms, 1, "test") for ms in np.arange(1.0, len(models) + 1)]

    device = dataclasses.replace(deployed.resources.device, measure=measure)
    monkeypatch.setitem(deployed.resources.__dict__, "device", device)
    rows = baselines._timed(deployed, baselines._own(deployed))
    assert calls == [2] and [row["latency_ms"] for row in rows] == ["1", "2"]
