"""Seconds of a run: over restarts, inside each other, and while a block still runs."""

import time

import pytest

from pnag_tf.run import timing


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run/seconds.json"


def test_seconds_add_up_also_where_a_block_ends_badly(path):
    assert timing.read(path) == {}
    with timing.timed(path, "a"):
        time.sleep(0.05)
    first = timing.read(path)["a"]
    with pytest.raises(KeyboardInterrupt), timing.timed(path, "a"):
        time.sleep(0.05)
        raise KeyboardInterrupt
    assert first >= 0.05 and timing.read(path)["a"] >= first + 0.05


def test_a_block_inside_another_counts_its_own_seconds_alone(path):
    start = time.monotonic()
    with timing.timed(path, "eval"):
        with timing.timed(path, "eval/deploy"):
            time.sleep(0.2)
        with timing.timed(path, "eval"):  # as a stage that times a part of itself
            time.sleep(0.05)
    found = timing.read(path)
    assert found["eval/deploy"] >= 0.2 and 0.05 <= found["eval"] < 0.2
    assert sum(found.values()) <= time.monotonic() - start + 0.01


def test_what_a_killed_process_took_is_known(path, monkeypatch):
    monkeypatch.setattr(timing, "EVERY_S", 0.02)
    with timing.timed(path, "a"):
        time.sleep(0.2)
        before_its_end = timing.read(path)["a"]
    assert before_its_end > 0 and timing.read(path)["a"] >= 0.2


def test_rounding_does_not_add_up_over_many_writes(path, monkeypatch):
    monkeypatch.setattr(timing, "EVERY_S", 0.0)
    seconds = iter(0.0004 * i for i in range(1_000_000))
    monkeypatch.setattr(timing._Block, "seconds", lambda self: next(seconds))
    with timing.timed(path, "a"):
        time.sleep(0.2)
    assert timing.read(path)["a"] == pytest.approx(next(seconds) - 0.0004, abs=0.001)


def test_seconds_by_stage_and_of_a_run():
    seconds = {"supernet": 60, "records": 5, "records/latencies": 1, "eval/pnag": 2, "eval/pnag/deploy": 3}
    seconds |= {"eval/random": 4, "eval/pnag_finetuned": 8, "compare": 9}
    assert timing.by_stage(seconds) == {"supernet": 60, "records": 6, "eval": 17, "compare": 9}
    assert timing.of_run(seconds, "pnag") == 60 + 6 + 2 + 3
    assert timing.of_run(seconds, "random") == 60 + 6 + 4
    assert timing.share(6, 9) == "67 %" and timing.share(0, 0) == ""
