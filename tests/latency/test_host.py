import dataclasses
import types

import pytest

from pnag_tf.latency import export, host, turns
from pnag_tf.space import network
from pnag_tf.util import errors


@pytest.fixture(scope="module")
def tflites(backbone):
    """A block, and one that has about 30 times its work."""
    small = backbone.block(1, 1, 3, 3)
    large = dataclasses.replace(small, in_size=24, out_size=24, hidden=240)
    return [export.convert(network.randomise(network.build_blocks([block]))) for block in (small, large)]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_latency_is_what_the_clock_says_of_one_inference(monkeypatch, threads):
    """Of an interpreter that takes 3 ms, or 10 us, by a clock of its own; one thread is told its processor time."""
    now, runs = {"thread": 0, "wall": 0}, []

    def load(model, threads):
        def invoke():
            runs.append(model)
            now["thread"] += model
            now["wall"] += 2 * model

        return types.SimpleNamespace(invoke=invoke)

    clocks = {"thread_time_ns": lambda: now["thread"], "perf_counter_ns": lambda: now["wall"]}
    monkeypatch.setattr(host, "_load", load)
    monkeypatch.setattr(host, "time", types.SimpleNamespace(**clocks))
    latencies = host.measure([3_000_000, 10_000], threads)
    for latency, expected in zip(latencies, (3.0, 0.01), strict=True):
        expected *= threads
        assert (latency.p5_ms, latency.median_ms, latency.p95_ms) == pytest.approx((expected,) * 3)
    assert runs.count(3_000_000) >= latencies[0].runs > 0 and runs.count(10_000) >= latencies[1].runs
    assert latencies[1].runs > 10 * latencies[0].runs  # a slice is as long for each


def test_latencies_are_positive_ordered_and_counted(tflites):
    seen = []
    small, large = host.measure(tflites, progress=lambda done, total: seen.append((done, total)))
    for latency in (small, large):
        assert 0 < latency.p5_ms <= latency.median_ms <= latency.p95_ms
        assert latency.runs >= turns.MIN_ROUNDS * turns.MIN_SAMPLES_PER_SLICE
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert turns.MIN_ROUNDS <= len(seen) <= turns.MAX_ROUNDS == seen[0][1]


def test_paths_and_contents_are_both_taken_and_the_device_is_described(tflites, tmp_path):
    (tmp_path / "block.tflite").write_bytes(tflites[0])
    latencies = host.measure([tmp_path / "block.tflite", str(tmp_path / "block.tflite"), tflites[0]], threads=2)
    assert len(latencies) == 3
    assert latencies[0].device == host.describe(2) != host.describe(1)
    assert "LiteRT" in latencies[0].device and "2 threads" in latencies[0].device


def test_no_models_no_latencies():
    assert host.measure([]) == []


def test_a_file_that_is_no_tflite_is_named(tmp_path):
    (tmp_path / "notes.tflite").write_text("no model")
    for path in ("notes.tflite", "missing.tflite"):
        with pytest.raises(errors.UserError, match=path):
            host.measure([tmp_path / path])
    with pytest.raises(errors.UserError, match="LiteRT can run"):
        host.measure([b"no model"])
