import dataclasses

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


def test_latencies_are_positive_ordered_and_counted(tflites):
    seen = []
    small, large = host.measure(tflites, progress=lambda done, total: seen.append((done, total)))
    for latency in (small, large):
        assert 0 < latency.p5_ms <= latency.median_ms <= latency.p95_ms
        assert latency.runs >= turns.MIN_ROUNDS * turns.MIN_SAMPLES_PER_SLICE
    assert large.median_ms > 2 * small.median_ms
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
