"""Several devices in one run: what they share, what each has of its own."""

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest
from scipy import stats

from pnag_tf import presets
from pnag_tf.api import entering
from pnag_tf.latency.device import Device, MeasuredLatency
from pnag_tf.run import context as context_lib
from pnag_tf.run import folder, learn, measure, stages, status, targets
from pnag_tf.run import layout as layout_lib
from pnag_tf.run.targets import Target
from pnag_tf.util import errors, files

TINY = presets.preset("tiny")
CONFIG = dataclasses.replace(TINY, backbone=dataclasses.replace(TINY.backbone, classes=10))


@pytest.fixture(scope="module")
def run(facts, tmp_path_factory):
    """A finished run on this machine's CPU."""
    root = tmp_path_factory.mktemp("devices") / "run"
    shutil.copytree(facts / "run_before", root)
    (root / "README.md").unlink()
    made = context_lib.make(CONFIG, root)
    stages.enter(made)
    return made


def _measure(models, progress=None):
    """A phone on which a network takes a millisecond for each 10 kB, and a block for each kB."""
    sizes = [len(model) if isinstance(model, bytes) else pathlib.Path(model).stat().st_size for model in models]
    return [MeasuredLatency(ms := size / 1e4, ms, ms, 1, "a phone") for size in sizes]


def _export(model):
    """As many bytes as there are weights."""
    return bytes(model.count_params())


@pytest.fixture(scope="module")
def phone(run):
    """The run on a phone too, up to the generator."""
    other = entering.beside(run, Target("mobile", "S1:5555"))
    other.resources.__dict__["device"] = Device(".tflite", _export, _measure, lambda: "a phone")
    stages.run(other, "generator")
    return other


def test_another_device_has_a_folder_of_its_own_and_shares_what_is_made_of_images(run, phone):
    assert phone.layout.root == run.layout.root / "devices/mobile_S1-5555"
    for shared in ("supernet", "images", "skipped", "finetune", "record_images"):
        assert getattr(phone.layout, shared) == getattr(run.layout, shared)
    for own in ("latency_table", "records", "predictors", "evaluator", "generator", "tables", "deployed", "report"):
        assert phone.layout.root in getattr(phone.layout, own).parents
    assert not (phone.layout.root / "supernet").exists()
    assert files.read_json(phone.layout.config)["device"] == "mobile"


def test_records_keep_their_accuracies_and_get_the_devices_latencies(run, phone):
    here, there = measure.read_records(run), measure.read_records(phone)
    np.testing.assert_array_equal(here.choices, there.choices)
    np.testing.assert_array_equal(here.top1, there.top1)
    expected = measure.read_latency_table(phone).latency_ms(here.choices)
    np.testing.assert_allclose(there.latency_ms, expected, rtol=1e-5)
    assert not np.allclose(here.latency_ms, there.latency_ms, rtol=0.1)
    found = learn.read_predictors(phone).latency_ms(here.choices)
    assert stats.spearmanr(found, expected).statistic > 0.9


def test_nothing_of_the_run_itself_changes(run, phone):
    before = {path: path.stat().st_mtime_ns for path in run.layout.root.rglob("*") if path.is_file()}
    assert stages.run(entering.beside(run, Target("mobile", "S1:5555")), "generator") == []
    # The settings are written anew, and are the same.
    assert {path for path, changed in before.items() if path.stat().st_mtime_ns != changed} <= {phone.layout.config}
    assert "supernet" not in {row["stage"] for row in status.look(phone.layout.root) if row["state"] != "done"}


def test_the_report_compares_them(run, phone):
    assert {path.root.name for path in targets.beside(run.layout)} == {"mobile_S1-5555"}
    row = {"budget_ms": "2", "arch": "1,1:3,0,3,0:3,0,3,0", "test_top1": "0.5", "latency_ms": "1.9"}
    files.write_csv(phone.layout.table("pnag"), [row], row)
    own = files.read_csv(run.layout.table("pnag"), ("arch",))
    rows = targets.compared(run.layout)
    assert [each["arch"] for each in rows] == [*(each["arch"] for each in own), row["arch"]]
    assert [each["folder"] for each in rows] == [""] * len(own) + ["mobile_S1-5555"]
    assert rows[-1]["device"] == "mobile" and rows[-1]["latency_ms"] == "1.9" and rows[-1]["page"] == ""
    here, there = (measure.read_records(each).latency_ms for each in (run, phone))
    assert rows[-1]["agreement"] == f"{stats.kendalltau(here, there).statistic:.3f}"
    assert rows[0]["agreement"] == "1.000"


def test_a_run_with_one_device_compares_nothing(tmp_path):
    assert targets.compared(layout_lib.Layout(tmp_path)) == []


def test_a_folder_of_devices_that_is_no_runs_is_its_own_home(tmp_path):
    layout = layout_lib.Layout(tmp_path / "devices/a")
    assert layout.home == layout.root


def test_another_device_of_a_run_with_other_images_is_refused(run):
    config = Target("cpu", kind="int8").of(dataclasses.replace(run.config, seed=7))
    other = context_lib.make(config, run.layout.devices / "cpu_int8")
    with pytest.raises(folder.OtherSettings, match="another device is added to, was made otherwise: seed is 0 there"):
        stages.enter(other)
    assert not other.layout.root.exists()


def test_records_without_networks_have_one_device(run):
    given = dataclasses.replace(run, records_file="records.csv")
    with pytest.raises(errors.SettingError, match="`device`: expected one with given records, found another, cpu_int8"):
        entering.beside(given, Target("cpu", kind="int8"))


@pytest.mark.parametrize(
    ("asked", "kinds", "expected"),
    [
        (["cpu"], ["float32"], ["cpu"]),
        (["cpu", "mobile:A", "mobile:10.0.0.1:5555", "cpu"], ["float32"], ["cpu", "mobile_A", "mobile_10.0.0.1-5555"]),
        (["cpu", "mobile"], ["float32", "int8"], ["cpu", "cpu_int8", "mobile", "mobile_int8"]),
    ],
)
def test_devices_and_kinds_and_what_their_folders_are_called(asked, kinds, expected):
    assert [target.name for target in targets.parse(asked, kinds)] == expected


@pytest.mark.parametrize(
    ("asked", "kinds", "message"),
    [
        (["tpu"], ["float32"], "`device`: expected cpu, gpu, mobile, madds, bytes or mobile:SERIAL, found 'tpu'"),
        (["cpu:1"], ["float32"], "found 'cpu:1'"),
        ([], ["float32"], "expected one device and one kind at least, found none"),
        (["cpu"], ["int4"], "`kind`: expected one of float32, float16, dynamic_int8, int8, found 'int4'"),
    ],
)
def test_unknown_devices_are_refused(asked, kinds, message):
    with pytest.raises(errors.SettingError, match=message):
        targets.parse(asked, kinds)


def test_the_runs_own_device_comes_first_however_they_are_listed(run, tmp_path):
    listed = [Target("mobile", "A"), Target("cpu", kind="int8"), Target("cpu")]
    assert targets.own_first(listed, run.layout) == [listed[2], *listed[:2]]
    assert targets.own_first(listed, layout_lib.Layout(tmp_path)) == listed
