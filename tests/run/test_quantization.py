"""Kinds of deployed networks: figures beside each other, files, and the warning of a split graph."""

import dataclasses
import json
import types

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

from pnag_tf import config, data, main, presets
from pnag_tf.latency import export
from pnag_tf.latency.device import Device, MeasuredLatency
from pnag_tf.run import answers, context, evaluate, learn, measure, quantization, reference
from pnag_tf.run import finalists as finalists_lib
from pnag_tf.run import folder as folder_lib
from pnag_tf.search import candidates, records, rounds
from pnag_tf.supernet import subnet
from pnag_tf.util import files

KINDS = ("float16", "dynamic_int8", "int8")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).normal(size=(60, 16, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model(space, subnets):
    """A network that names several classes."""
    return subnets.extract(space.smallest())


@pytest.fixture(scope="module")
def batches(model, images):
    """Labels are what the model says of all but every fourth image."""
    labels = model(images).numpy().argmax(-1)
    assert len(set(labels)) > 2
    labels[::4] = (labels[::4] + 1) % 10
    return [(images[:45], labels[:45]), (images[45:], labels[45:])]


def _answers():
    """Of four images the first is right, and of another one the label is among the first five."""
    nothing, sure = np.zeros(0, np.int64), np.ones(4, np.float32)
    pictures = np.zeros((0, 16, 16, 3), np.uint8)
    return answers.Answers(np.arange(4), np.zeros(4, int), sure, np.arange(4) < 2, nothing, pictures)


@pytest.fixture(scope="module")
def chosen(space, subnets):
    """The same network, `model`, for two budgets, and another for the third."""
    finalists = []
    for choices in (space.smallest(), space.sample(np.random.default_rng(0), 1)[0]):
        found = candidates.Candidates(9.0, choices[None], np.array([0.5]), np.array([1.0]))
        statistics = subnets.statistics(choices)
        tflite = export.convert(subnet.extract(subnets.net, space.decode(choices)[0], statistics))
        latency = MeasuredLatency(1.0, 1.0, 1.0, 1, "test")
        finalist = finalists_lib.Finalist(found, 0, statistics, top1=0.5, exported=tflite, latency=latency)
        finalists.append(dataclasses.replace(finalist, test=_answers(), expected_top1=0.5))
    return [finalists[0], finalists[0], finalists[1]]


@pytest.fixture(scope="module")
def made(model, chosen, batches, images):
    networks, kinds = [(model, chosen[0].exported)], ("float16", "int8")

    def convert(network, kind):
        return export.convert(network, quantization=kind, representative=images)

    return quantization.make(networks, "float32", kinds, convert, lambda pixels: batches, _measure)


def _measure(tflites):
    """Latency is the length of the file in kB."""
    return [MeasuredLatency(ms := len(tflite) / 1e3, ms, ms, 1, "test") for tflite in tflites]


DEVICE = Device(".tflite", export.convert, _measure, lambda: "test")


def test_every_kind_has_its_figures_and_float32_is_the_first(made):
    (kinds,) = made
    assert [variant.quantization for variant in kinds] == ["float32", "float16", "int8"]
    float32, float16, int8 = kinds
    assert float32.top1 == 0.75 and float32.agreement == 1
    assert float16.top1 == float32.top1 and float16.agreement == 1
    assert 0.8 < int8.agreement and abs(int8.top1 - float32.top1) <= 1 - int8.agreement
    for variant in kinds:
        assert variant.latency.median_ms == len(variant.tflite) / 1e3
        assert variant.facts()["bytes"] == len(variant.tflite)
    assert float32.facts()["outside_xnnpack"] == "none"
    assert int8.facts()["outside_xnnpack"].startswith("HARD_SWISH:")


def test_judge_tells_a_wrong_network_from_a_right_one(subnets, chosen, batches):
    (right, same), (wrong, agreement) = quantization.judge([chosen[0].exported, chosen[2].exported], batches)
    assert (right, same) == (0.75, 1)
    other = subnets.extract(chosen[2].choices)
    expected = np.concatenate([other(images).numpy().argmax(-1) for images, _ in batches])
    assert wrong == np.mean(expected == np.concatenate([labels for _, labels in batches]))
    assert wrong < right and agreement < 0.9


def test_a_split_is_told_once_a_kind_with_what_it_costs(made):
    (float32, float16, int8), slow = made[0], MeasuredLatency(1e6, 1e6, 1e6, 1, "test")
    fast = dataclasses.replace(int8.latency, median_ms=float32.latency.median_ms / 2)
    networks = [[float32, float16, dataclasses.replace(int8, latency=fast)]] * 2
    (told,) = quantization.split_warnings(networks)
    assert told.startswith(f"int8: XNNPACK runs the graph in up to {int8.delegation.pieces} pieces")
    assert "HARD_SWISH between" in told and "0.50 times float32's: still faster" in told
    (told,) = quantization.split_warnings([[float32, dataclasses.replace(int8, latency=slow)]])
    assert "slower than float32" in told
    assert quantization.split_warnings([[float32, float16]]) == []


# ---- from finalists to files -----------------------------------------------------------------------------------------


@pytest.fixture
def run(space, backbone, batches, subnets, chosen, tmp_path, monkeypatch):
    """The stage `eval` from the moment at which the networks are chosen: called with the kinds that are asked for."""
    info = data.DatasetInfo("test", tuple("abcdefghij"), 1, 1, 60, 16, (0.5,), (0.5,))
    splits = types.SimpleNamespace(info=info)
    splits.at = lambda pixels: splits if pixels == 16 else None
    splits.calibration = splits.test = lambda *sizes: [(tf.constant(pictures), labels) for pictures, labels in batches]

    found = [dataclasses.replace(each.found, budget_ms=ms) for each, ms in zip(chosen, (1, 2, 3), strict=True)]
    table = records.Records(space, found[0].choices, found[0].top1, found[0].latency_ms)
    for module, name, answer in (
        (finalists_lib, "choose", chosen),
        (reference, "of_table", None),
        (rounds, "confirm", found),
        (measure, "read_latency_table", None),
        (measure, "read_records", table),
        (learn, "read_predictors", None),
        (learn, "read_generator", None),
        (evaluate, "_propose", found),
        (evaluate, "_prediction", None),
        (evaluate, "_write_samples", None),
    ):
        monkeypatch.setattr(module, name, lambda *args, answer=answer: answer)

    def start(*kinds):
        settings = dataclasses.replace(
            presets.preset("tiny"), space=space, backbone=backbone, eval=config.Eval(quantize=kinds)
        )
        made = context.make(settings, tmp_path)
        made.resources.__dict__ |= {"splits": splits, "subnets": subnets, "device": DEVICE}
        return evaluate.evaluate(made)

    return start


def test_files_tables_and_json_of_the_kinds_asked_for(run, tmp_path):
    (_, rows), (_, variants) = run("int8")
    assert [row["budget_ms"] for row in rows] == ["1", "2", "3"]
    folder = tmp_path / "deploy"
    assert [(row["budget_ms"], row["quantization"]) for row in variants] == [
        (budget, kind) for budget in "123" for kind in ("float32", "int8")
    ]
    assert sorted(path.name for path in folder.glob("*.tflite")) == sorted(
        f"pnag_cpu_{budget}{kind}.tflite" for budget in "123" for kind in ("", "_int8")
    )
    for row in variants:
        assert (folder / row["file"]).stat().st_size == row["bytes"]
    written = files.read_csv(folder / "quantized_pnag_cpu.csv", ("budget_ms", "test_top1", "agreement", "latency_ms"))
    assert written == [{key: str(value) for key, value in row.items()} for row in variants]
    described = json.loads((folder / "pnag_cpu_3.json").read_text())
    assert described["variants"] == [{k: v for k, v in row.items() if k != "budget_ms"} for row in variants[4:]]
    assert 0 < float(variants[1]["test_top1"]) < 1


def test_float32_alone_measures_nothing_more_and_leaves_no_older_kind_behind(run, tmp_path, monkeypatch):
    run("float16")
    assert (tmp_path / "deploy/pnag_cpu_2_float16.tflite").exists()
    monkeypatch.setattr(quantization, "make", None)
    assert len(run()) == 1
    assert sorted(path.name for path in (tmp_path / "deploy").iterdir()) == sorted(
        f"pnag_cpu_{budget}.{kind}" for budget in "123" for kind in ("answers.npz", "json", "md", "tflite")
    )
    described = json.loads((tmp_path / "deploy/pnag_cpu_1.json").read_text())
    assert (described["file"], described["test_top1"], described["latency_ms"]) == ("pnag_cpu_1.tflite", "0.2500", "1")
    assert described["variants"] == []


def test_the_setting_is_free_to_change():
    kept = [
        folder_lib.belonging(dataclasses.replace(presets.preset("tiny"), eval=config.Eval(quantize=kinds)), "", "")
        for kinds in ((), KINDS)
    ]
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("quantize", "records", "message"),
    [
        (["int8", "int4"], "", "--quantize=int4; choose from float32, float16, dynamic_int8, int8"),
        (["int8"], "x.csv", "--quantize=int8 with --records: there is no network to export"),
        (["float32", "int8"], "", "--quantize=int8 with --device=gpu: it runs no .tflite"),
    ],
)
def test_kinds_that_cannot_be_made_are_one_line(quantize, records, message, tmp_path, capsys):
    if not main.FLAGS.is_parsed():
        main.FLAGS(["main"])
    flags = {"preset": "tiny", "quantize": quantize, "records": records, "workdir": str(tmp_path / "run")}
    flags |= {"device": ["gpu"]} if "float32" in quantize else {}
    with flagsaver.flagsaver(**flags):
        assert main.main(["main"]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not (tmp_path / "run").exists()
