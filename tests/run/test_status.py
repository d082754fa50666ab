"""What `--stage=status` reads off a folder."""

import dataclasses
import os
import time

import numpy as np
import pytest

from pnag_tf import presets
from pnag_tf.run import status
from pnag_tf.util import errors, files


@pytest.fixture
def run(tmp_path):
    """The folder of a run that has only begun."""
    settings = dataclasses.asdict(presets.preset("tiny")) | {"records_file": "", "supernet_file": ""}
    files.write_json(tmp_path / "config.json", settings)
    return tmp_path


def _states(run):
    return {row["stage"]: row["state"] for row in status.look(run)}


def test_a_run_that_has_only_begun(run):
    states = _states(run)
    assert states.pop("supernet") == "next"
    assert set(states.values()) == {"to come"}
    assert list(states) == ["latency_table", "records", "predictors", "evaluator", "generator", "eval"]


def test_what_is_done_is_told_with_age_size_and_time(run):
    for name in ("supernet/0_full.keras", "supernet/1_width.keras", "latency_table.json", "eval/pnag.csv"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(bytes(500_000))
    (run / "records.unfinished.csv").write_text("arch,top1,latency_ms\n" + "x\n" * 20)
    hour_ago = time.time() - 3 * 3600
    os.utime(run / "latency_table.json", (hour_ago, hour_ago))
    files.write_json(run / "seconds.json", {"supernet": 500.0, "eval/pnag": 3.0, "eval/evo": 4.0})
    rows = {row["stage"]: row for row in status.look(run)}
    assert rows["supernet"] == {
        "stage": "supernet", "state": "done", "changed": "0 s ago", "size": "1.00 MB", "took": "8 min",
        "share": "99 %",
    }  # fmt: skip
    assert rows["latency_table"]["changed"] == "3 h ago"
    assert rows["records"]["state"] == "under way: 20 of 60, next"
    assert (rows["eval"]["state"], rows["eval"]["took"]) == ("done", "7 s")


def test_how_far_training_is(run):
    (run / "supernet").mkdir()
    (run / "supernet/0_full.keras").touch()
    (run / "generator").mkdir()
    np.savez(run / "generator/checkpoint.npz", iteration=300, identity='{"iterations": 1500}')
    states = _states(run)
    assert states["supernet"] == "under way: 1 of 2 phases, next"
    assert states["generator"] == "under way: 300 of 1500 iterations"


def test_a_run_on_records_needs_no_images(run):
    settings = files.read_json(run / "config.json") | {"records_file": "r.csv"}
    files.write_json(run / "config.json", settings)
    assert list(_states(run)) == ["records", "predictors", "evaluator", "generator", "eval"]


def _records(run, top1, top1_se):
    rows = [
        {"arch": "a", "top1": value, "latency_ms": 1, "top1_se": se} for value, se in zip(top1, top1_se, strict=True)
    ]
    files.write_csv(run / "records.csv", rows, rows[0])


def test_the_share_of_the_signal_is_told_and_too_little_of_it_warned_of(run):
    assert status.notes(run) == []
    _records(run, [0.70, 0.72, 0.5], [0.006, 0.008, ""])  # the last one's noise is not known
    (told,) = status.notes(run)
    numbers = "standard deviation 1.00 points, standard error 0.71 points"
    assert told == f"50 % of the variance of the records' top-1 is signal ({numbers})"
    _records(run, [0.70, 0.72], [0.011, 0.011])
    (warned,) = status.notes(run)
    numbers = "standard deviation 1.00 points, standard error 1.10 points"
    assert warned == (
        f"warning: the records' top-1 differ by no more than their noise ({numbers}): use more validation images "
        "(measure.validation_images) or train the supernet longer"
    )
    _records(run, [0.70, 0.72], ["", ""])
    assert status.notes(run) == []


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(errors.UserError, match="expected the folder of a run, found no config.json"):
        status.look(tmp_path)


def test_networks_trained_by_eval_are_no_stage_under_way(run):
    for name in ("finetune/0-3/best.keras", "eval/pnag.csv"):
        (run / name).parent.mkdir(parents=True)
        (run / name).touch()
    states = _states(run)
    assert states["eval"] == "done" and "finetune" not in states
    (run / "eval/pnag.csv").unlink()
    assert _states(run)["finetune"] == "under way"
