"""What a run will take: each kind of work is probed and multiplied; hours become records."""

import dataclasses

import pytest

from pnag_tf import config as config_lib
from pnag_tf import presets
from pnag_tf.api import entering
from pnag_tf.run import estimate
from pnag_tf.run import probes as probes_lib
from pnag_tf.util import errors, files


@pytest.fixture
def settings(image_folder):
    tiny = presets.preset("tiny")
    return dataclasses.replace(
        tiny,
        data=config_lib.Data("folder", str(image_folder), augmentation="flip", batch_size=16),
        finetune=config_lib.Finetune(epochs=2),
    )


@pytest.fixture
def probes(monkeypatch):
    """A step of a phase takes 10 s to compile and 1 s; a network 1 ms an image to calibrate and 2 to judge."""
    monkeypatch.setattr(probes_lib.Training, "phase_s", lambda self, number: (10.0, 1.0, 3.0))
    monkeypatch.setattr(probes_lib.Training, "alone_s", lambda self: (0.5, 2.0))
    monkeypatch.setattr(probes_lib.Judging, "pass_s", lambda self, choices: (0.001, 0.002))
    monkeypatch.setattr(probes_lib.Timing, "table_s", lambda self: 30.0)
    monkeypatch.setattr(probes_lib.Timing, "measured_s", lambda self, networks, beside, calls: networks * 4.0)


def test_the_parts_by_hand(settings, tmp_path, probes):
    run = entering.enter(settings, tmp_path / "run")
    found = {part.stage: part.seconds for part in estimate.parts(run)}
    # 240 images: 48 for the test, 38 for validation, 154 for training, which are 9 steps: a chunk of 50 a phase
    record = 0.001 * 154 + 0.002 * 38
    assert found["supernet"] == pytest.approx(2 * (10 + 50 * 1.0 + 3 + 2 * record))
    assert found["records"] == pytest.approx(60 * record)
    alone = 5 * 2 * (9 * 0.5 + 0.002 * 38 + 2.0)
    choosing = 5 * 4 * record
    assert found["eval"] == pytest.approx(alone + choosing + 2 * 5 * 4.0 + 5 * 0.002 * 48)
    rows = estimate.table(estimate.parts(run))
    assert [row["stage"] for row in rows] == ["data", "supernet", "latency_table", "records", "search", "eval", "all"]
    assert float(rows[-1]["minutes"]) == pytest.approx(sum(found.values()) / 60, abs=0.06)
    assert float(rows[-1]["memory_gib"]) > 0.2


def test_rounds_are_expected_to_take_their_minutes(settings, tmp_path, probes):
    how = dataclasses.replace(settings.eval, measurements=10_000, minutes=2.0)
    run = entering.enter(dataclasses.replace(settings, eval=how), tmp_path / "run")
    found = {part.stage: part.seconds for part in estimate.parts(run)}
    record = 0.001 * 154 + 0.002 * 38
    assert found["records"] == pytest.approx(60 * record + 120, abs=record)


def test_hours_become_records(settings, tmp_path, probes):
    run = entering.estimated(entering.enter(settings, tmp_path / "run"), hours=0.5)
    count = run.config.measure.architectures
    total = sum(part.seconds for part in estimate.read(run.layout.estimate))
    assert 0.5 * 3600 - 1 < total <= 0.5 * 3600 or count == estimate.MOST_RECORDS
    assert files.read_json(run.layout.config)["measure"]["architectures"] == count
    again = entering.within(settings, tmp_path / "run", 0.5)  # the same command later
    assert again.measure.architectures == count
    assert entering.within(settings, tmp_path / "run", 1.0) == settings
    assert entering.estimated(entering.enter(again, tmp_path / "run"), 0.5).config == run.config
    with pytest.raises(errors.UserError, match="expected 0.1 hours or more for 60 records, found 0.01"):
        entering.estimated(entering.enter(settings, tmp_path / "short"), hours=0.01)


def test_a_probe_is_of_this_machine(settings, tmp_path):
    run = entering.enter(dataclasses.replace(settings, device="mobile"), tmp_path / "run")
    with pytest.raises(errors.UserError, match="`device=mobile`: only runs on the CPU can be estimated"):
        estimate.parts(run)


@pytest.mark.heavy
def test_the_probe_itself(settings, tmp_path):
    """Everything is done on the images; nothing but the estimate stays in the folder."""
    run = entering.estimated(entering.enter(settings, tmp_path / "run"))
    found = estimate.read(run.layout.estimate)
    assert all(part.seconds > 0 for part in found if part.stage != "data")
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {
        "config.json",
        "estimate.json",
        "images",
        "seconds.json",
    }
