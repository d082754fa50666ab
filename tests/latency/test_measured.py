"""Whole networks measured a few at a time: a killed call goes on, and little is held at once."""

import dataclasses
import pathlib

import numpy as np
import pytest

from pnag_tf import config as config_lib
from pnag_tf import presets
from pnag_tf.latency import device as devices
from pnag_tf.latency import measured
from pnag_tf.run import context, measure
from pnag_tf.util import errors, files


class Fake:
    """A device on which a network takes as long as the file says; all takes `slowness` times that in each call."""

    def __init__(self, slowness=(1.0,), dies_at_call=None):
        self.calls, self.slowness, self.dies_at_call, self.most = [], slowness, dies_at_call, 0
        self.device = devices.Device(".tflite", self.export, self.measure, lambda: "fake")

    def export(self, model):
        return str(model.count_params()).encode()

    def measure(self, models, progress=None):
        assert all(isinstance(model, pathlib.Path) for model in models)  # on disk: none is held in memory
        self.most = max(self.most, len(list(models[0].parent.glob("*.tflite"))))
        if len(self.calls) == self.dies_at_call:
            self.dies_at_call = None
            raise KeyboardInterrupt
        factor = self.slowness[len(self.calls) % len(self.slowness)]
        self.calls.append([float(model.read_text()) / 1e4 for model in models])
        return [devices.MeasuredLatency(ms * factor, ms, ms, 1, "fake") for ms in self.calls[-1]]


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(measured, "TOGETHER", 3)


@pytest.fixture(scope="module")
def config():
    return presets.preset("tiny")


@pytest.fixture(scope="module")
def choices(config):
    rows = np.unique(config.space.sample(np.random.default_rng(0), 12), axis=0)[:7]
    return np.concatenate([rows, rows[:2]])


def _ask(path, config, choices, fake, scaled=True):
    return measured.latency_ms(path, config, choices, fake.device, scaled, lambda *_: None)


def test_a_killed_call_goes_on_and_nothing_is_measured_twice(few, config, choices, tmp_path):
    through, killed = Fake(), Fake(dies_at_call=2)
    expected = _ask(tmp_path / "through.csv", config, choices, through)
    with pytest.raises(KeyboardInterrupt):
        _ask(tmp_path / "killed.csv", config, choices, killed)
    before = len(killed.calls)
    np.testing.assert_array_equal(_ask(tmp_path / "killed.csv", config, choices, killed), expected)
    assert before == 2 and killed.calls == through.calls
    assert sum(len(call) for call in through.calls) == len({row.tobytes() for row in choices}) + len(through.calls)
    assert through.most == killed.most == 4  # three and the one that all calls share
    assert not (tmp_path / "killed.csv.parts").exists()
    assert len(set(expected[:7])) > 1 and expected[7:].tolist() == expected[:2].tolist()
    again = Fake()
    np.testing.assert_array_equal(_ask(tmp_path / "killed.csv", config, choices[2:5], again), expected[2:5])
    assert not again.calls


def test_calls_compare_although_the_machine_slows_down(few, config, choices, tmp_path):
    steady = _ask(tmp_path / "steady.csv", config, choices, Fake())
    np.testing.assert_allclose(_ask(tmp_path / "slow.csv", config, choices, Fake((1.0, 1.5))), steady)
    raw = _ask(tmp_path / "raw.csv", config, choices, Fake((1.0, 1.5)), scaled=False)
    assert set(np.round(raw / steady, 3)) == {1.0, 1.5}


def test_measurements_of_another_device_are_not_mixed_in(few, config, choices, tmp_path):
    _ask(tmp_path / "latencies.csv", config, choices[:1], Fake())
    other = Fake()
    other.device = dataclasses.replace(other.device, describe=lambda: "another")
    with pytest.raises(errors.UserError, match="expected latencies of another, found those of fake"):
        _ask(tmp_path / "latencies.csv", config, choices[:1], other)


def test_records_with_measured_latency_need_no_supernet_for_them(few, config, tmp_path, monkeypatch):
    """A run with --latency=measured, killed while it measures: records.csv has the latencies of the device."""
    run = context.make(
        dataclasses.replace(
            config,
            latency=config_lib.Latency(source="measured"),
            measure=dataclasses.replace(config.measure, architectures=8),
        ),
        tmp_path / "run",
    )
    fake = Fake(dies_at_call=1)
    run.resources.__dict__["device"] = fake.device
    right = np.random.default_rng(0).random((8, 40)) < 0.5
    monkeypatch.setattr(measure, "_judge", lambda run, choices: enumerate(right[: len(choices)]))
    with pytest.raises(KeyboardInterrupt):
        measure.records(run)
    measure.records(run)
    table = measure.read_records(run)
    assert sum(len(call) for call in fake.calls) <= 8 + len(fake.calls)
    counts = {
        row["arch"]: float(row["latency_ms"]) for row in files.read_csv(tmp_path / "run/latencies.csv", ("arch",))
    }
    archs = [str(arch) for arch in run.config.space.decode(table.choices)]
    np.testing.assert_allclose(table.latency_ms, [counts[arch] for arch in archs], rtol=1e-3)
