"""The command line: what the user gets wrong is one line and exit code 2, and nothing is written."""

import dataclasses
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

from pnag_tf import main, overrides, presets, zoo
from pnag_tf.api import entering
from pnag_tf.latency import host
from pnag_tf.run import compare, context, estimate, evaluate, learn
from pnag_tf.search import ablation, baselines, records
from pnag_tf.space import fitting
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import ofa
from pnag_tf.util import errors, files

ARCH = "2,3,3,3,3:3,3,0,0,3,5,3,0,3,3,5,0,3,3,5,0,5,5,7,0:3,3,0,0,4,3,3,0,4,4,4,0,4,6,6,0,6,6,3,0"


@pytest.fixture(autouse=True)
def _parsed_flags():
    if not main.FLAGS.is_parsed():
        main.FLAGS(["main"])
    with flagsaver.flagsaver():
        yield


def _run(**flags):
    for name, value in flags.items():
        setattr(main.FLAGS, name, value)
    return main.main(["main"])


def _write_png(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    tf.io.write_file(str(path), tf.io.encode_png(tf.fill([8, 8, 3], tf.cast(level, tf.uint8))))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"preset": "huge"}, "--preset=huge; choose from tiny, demo, photos, search, paper"),
        ({"stage": "sing"}, "--stage=sing; choose from supernet"),
        ({"method": "luck"}, "--method=luck; choose from pnag"),
        ({"budgets": ["30", "soon"]}, "expected milliseconds such as 30,35,40, found 'soon'"),
        ({"budgets": ["-3"]}, "found '-3'"),
        ({"records": "nowhere.csv"}, "cannot read records nowhere.csv: No such file"),
        ({"tuned": "nowhere.json", "records": "x.csv"}, "cannot read nowhere.json: No such file"),
        ({"dataset": "folder"}, "--data_dir: --dataset=folder needs it"),
        ({"supernet": "nowhere.keras"}, "nowhere.keras"),
        ({"supernet": "a.keras", "records": "b.csv"}, "expected either --supernet or --records, found both"),
        ({"archs": "a.csv"}, "--archs: expected --stage=finetune, found eval"),
        ({"device": ["tpu"]}, "--device: expected cpu, gpu, mobile, madds, bytes or mobile:SERIAL, found 'tpu'"),
        ({"kind": ["int4"]}, "--kind: expected one of float32, float16, dynamic_int8, int8, found 'int4'"),
        ({"kind": ["int8"], "device": ["gpu"]}, "--kind: expected float32, as device gpu runs no .tflite"),
        ({"kind": ["int8"], "records": "x.csv"}, "--kind=int8 with --records: there is no network to export"),
        ({"device": ["cpu", "gpu"], "stage": "tune"}, "--device: expected one, in one kind, for stage tune, found 2"),
        ({"set": ["kind=int8"]}, "--set kind: cannot be set"),
        ({"resolution": ["0"]}, "--resolution: expected 8 or more, found 0"),
        ({"width": 0.0}, "--width: expected more than 0, found 0.0"),
        ({"architectures": 19}, "--architectures: expected 20 or more, found 19"),
        ({"rounds": "few"}, "--rounds: expected auto or a number, found 'few'"),
        ({"rounds": "-1"}, "--rounds: expected auto or a number, found '-1'"),
        ({"set": ["latency.threads=0"]}, "--threads: expected 1 or more, found 0"),
        ({"preset": "demo", "resolution": ["8"]}, "--resolution: expected pixels that a space fits ('small' from 16"),
        ({"resolution": ["a"]}, "--resolution: expected pixels such as 160 or 96,128,160, found 'a'"),
        ({"resolution": ["4", "16"]}, "--resolution: expected 8 or more, found 4"),
        ({"preset": "demo", "resolution": ["8", "64"]}, "--resolution: expected pixels that leave 2 × 2 or more"),
        ({"preset": "paper", "resolution": ["32"]}, "--resolution: expected 128 or more, which the paper's space fits"),
        ({"seed": -1}, "--seed: expected a number from 0 to 4294967295, found -1"),
        ({"set": ["data.batch_size=0"]}, "--set data.batch_size=...: expected 1 or more, found 0"),
        ({"set": ["data.batchsize=64"]}, "--set data.batchsize: no such setting; near: data.batch_size"),
        ({"set": ["measure.architectures=x"]}, "--set measure.architectures: expected a whole number, found 'x'"),
        ({"set": ["data.batch_size"]}, "--set data.batch_size: expected name=value, found 'data.batch_size'"),
        ({"set": ["device=tpu"]}, "--set device: expected one of cpu, gpu, mobile, madds, bytes, found 'tpu'"),
        ({"set": ["method=luck"]}, "--method=luck; choose from pnag"),
        ({"set": ["preset=paper"]}, "--set preset: cannot be set: it is chosen before"),
        ({"set": ["data.dataset=folder"]}, "--data_dir: --dataset=folder needs it"),
        ({"set": ["eval.quantize=int8"], "records": "x.csv"}, "--quantize=int8 with --records: there is no network"),
        ({"set": ["baselines.minutes=-1"]}, "--baseline_minutes: expected 0 or more, found -1"),
        ({"stage": "baselines", "records": "x.csv"}, "stage baselines: with given records there is no network"),
        ({"set": ["finetune.archs=a.csv"]}, "--archs: expected --stage=finetune, found eval"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(flags, message, tmp_path, capsys):
    assert _run(**({"preset": "tiny", "workdir": str(tmp_path / "run")} | flags)) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not list(tmp_path.glob("run/*/*"))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, (224, 1.2, 40, 0, 256)),
        ({"resolution": ["192"], "width": 0.75, "architectures": 300}, (192, 0.75, 300, 0, 256)),
        ({"measurements": 100, "set": ["data.batch_size=64", "measure.architectures=40"]}, (224, 1.2, 40, 100, 64)),
        ({"resolution": ["160"], "set": ["backbone.resolution=9", "backbone.resolution=8"]}, (8, 1.2, 40, 0, 256)),
    ],
)
def test_flags_change_the_preset_and_named_settings_change_both(flags, expected):
    main.FLAGS.records = "records.csv"  # so that no image is looked at
    for name, value in ({"preset": "search"} | flags).items():
        setattr(main.FLAGS, name, value)
    made = main._config()
    found = (made.backbone.resolution, made.backbone.width_multiplier, made.measure.architectures)
    assert (*found, made.eval.measurements, made.data.batch_size) == expected
    changed = ("backbone", "data", "measure", "eval")
    usual = {name: getattr(presets.preset("search"), name) for name in changed}
    assert dataclasses.replace(made, **usual) == presets.preset("search")


def test_the_space_of_the_demo_fits_the_images():
    def made(**flags):
        main.FLAGS.unparse_flags()
        main.FLAGS(["main", "--preset=demo", *(f"--{name}={value}" for name, value in flags.items())])
        return main._config()

    assert made().backbone.resolution == 28  # Fashion-MNIST's own
    folder = made(dataset="folder", data_dir="photos")
    assert (folder.backbone.resolution, folder.backbone.units) == (32, 3)
    medium = made(resolution=128, width=0.5)
    assert (medium.space, medium.backbone.width_multiplier) == (fitting.MID.space, 0.5)
    phases = made(shrinking="progressive").supernet.phases
    assert [phase.name for phase in phases] == ["full", "depth", "width"]
    assert made(finetune_epochs=0).finetune.epochs == 0 < made().finetune.epochs


def test_named_settings_are_read_from_the_command_line():
    """With any other flag, and as often as one likes."""
    main.FLAGS(["main", "--set", "seed=3", "--set=measure.architectures=500", "--resolution=64", "--width=1.2"])
    assert main.FLAGS.set == ["seed=3", "measure.architectures=500"]
    assert (main.FLAGS.resolution, main.FLAGS.width) == (["64"], 1.2)


def test_every_flag_of_a_setting_exists_and_every_setting_of_a_flag():
    assert set(main.SETTINGS.values()) <= set(main.FLAGS)
    beside = {"kind", "records_file", "strategy", "supernet_file", "workdir"}
    assert set(main.SETTINGS) - beside <= set(overrides.names(presets.preset("tiny")))


def test_a_folder_with_one_class(tmp_path, capsys):
    _write_png(tmp_path / "images/only/1.png", 0)
    assert _run(preset="tiny", dataset="folder", data_dir=str(tmp_path / "images"), workdir=str(tmp_path / "run")) == 2
    assert "class" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_records_of_another_space(tmp_path, capsys):
    (tmp_path / "records.csv").write_text(f'arch,top1,latency_ms\n"{ARCH}",0.8,30\n')
    assert _run(preset="tiny", records=str(tmp_path / "records.csv"), workdir=str(tmp_path / "run")) == 2
    assert "has 5 units; this space has 2" in capsys.readouterr().err


def test_a_folder_with_other_files_is_left_alone(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("keep")
    assert _run(preset="tiny", records="x.csv", workdir=str(tmp_path), force=True) == 2
    assert "expected an empty folder or a run" in capsys.readouterr().err
    assert (tmp_path / "letter.txt").read_text() == "keep"


@pytest.fixture(scope="module")
def records_file(tmp_path_factory):
    """Records of the tiny space: slower networks are more accurate."""
    space = presets.preset("tiny").space
    rng = np.random.default_rng(0)
    choices = space.sample(rng, 120)
    latency_ms = 1 + space.layer_one_hot(choices) @ rng.uniform(0.1, 1, space.layer_one_hot(choices).shape[1])
    path = tmp_path_factory.mktemp("records") / "records.csv"
    records.write(path, records.Records(space, choices, 0.5 + 0.05 * latency_ms, latency_ms))
    return path


def test_search_on_records_repeats_under_a_seed_and_refuses_another(records_file, tmp_path, capsys):
    written = []
    for name in ("first", "second"):
        assert _run(preset="tiny", records=str(records_file), budgets=["2.5", "3"], workdir=str(tmp_path / name)) == 0
        written.append((tmp_path / name / "eval/pnag.csv").read_text())
    assert written[0] == written[1]
    header, *rows = written[0].splitlines()
    assert header == "method,budget_ms,arch,predicted_top1,predicted_latency_ms,found_by" and len(rows) == 2
    assert all(row.endswith(",pnag") for row in rows)
    assert _run(seed=5) == 2
    assert "made with other settings: seed is 0 there and 5 here" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_goes_on(records_file, tmp_path, capsys):
    """What its config.json does not have yet was as it is by default."""
    flags = {"preset": "tiny", "records": str(records_file), "workdir": str(tmp_path / "run"), "stage": "records"}
    assert _run(**flags) == 0
    path = tmp_path / "run/config.json"
    settings = files.read_json(path)
    del settings["supernet_file"], settings["supernet"]["ema"]
    settings["phone"] = {"serial": ""}  # which phone measures was not free to change then
    for phase in settings["supernet"]["phases"]:
        del phase["sandwich"]
    files.write_json(path, settings)
    assert _run() == 0
    files.write_json(path, settings | {"latency": settings["latency"] | {"threads": 7}})
    assert _run() == 2
    assert "latency.threads is 7 there and 1 here" in capsys.readouterr().err


def test_figures_of_no_run_or_of_an_empty_one(records_file, tmp_path, capsys):
    workdir = tmp_path / "run"
    assert _run(preset="tiny", records=str(records_file), workdir=str(workdir), stage="figures") == 2
    assert capsys.readouterr().err == f"error: {workdir}: expected the folder of a run, found no config.json in it\n"
    assert not workdir.exists()
    entering.enter(main._config(), workdir, str(records_file))
    assert _run() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {workdir}: nothing to draw; expected ") and error.count("\n") == 1
    assert sorted(each.name for each in (tmp_path / "run").iterdir()) == ["config.json", "seconds.json"]


def test_a_run_is_reported_where_its_photos_have_moved(facts, tmp_path, capsys):
    """What is written needs no image; what has to read them says which folder is not there."""
    photos, workdir = tmp_path / "photos", tmp_path / "run"
    for number in range(100):
        _write_png(photos / f"{number % 10}/{number}.png", number)
    flags = {"preset": "tiny", "dataset": "folder", "data_dir": str(photos), "workdir": str(workdir)}
    for name, value in flags.items():
        setattr(main.FLAGS, name, value)
    entering.enter(main._config(), workdir)  # now it is a run on these photos
    for made in (each for each in (facts / "run_before").iterdir() if each.name not in ("config.json", "README.md")):
        (shutil.copytree if made.is_dir() else shutil.copy)(made, workdir / made.name)
    table = files.read_json(workdir / "latency_table.json")
    files.write_json(workdir / "latency_table.json", table | {"device": host.device(1).describe()})
    shutil.rmtree(photos)
    assert _run(stage="report") == 0
    page = (workdir / "report/index.html").read_text()
    assert all(row["arch"] in page for row in files.rows_left(workdir / "eval/pnag.csv"))
    assert _run(stage="eval") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and str(photos) in error
    assert _run(stage="report", data_dir=str(tmp_path / "elsewhere")) == 2
    assert f"data.data_dir is {photos} there and {tmp_path}/elsewhere here" in capsys.readouterr().err


def test_eval_reads_the_records_once(records_file, tmp_path, monkeypatch):
    """However many budgets and networks there are."""
    flags = {"preset": "tiny", "records": str(records_file), "workdir": str(tmp_path / "run")}
    assert _run(**flags, stage="generator") == 0
    read, paths = records.read, []
    monkeypatch.setattr(records, "read", lambda path, *others: paths.append(path) or read(path, *others))
    for method in ("best_record", "pnag"):
        paths.clear()
        assert _run(**flags, stage="eval", method=method) == 0
        assert paths == [tmp_path / "run/records.csv"]


def test_other_budgets_and_methods_train_nothing_again(records_file, tmp_path):
    flags = {"preset": "tiny", "records": str(records_file), "workdir": str(tmp_path / "run")}
    assert _run(**flags, budgets=["3"]) == 0
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/*/*.npz")}
    assert len(made) == 3
    assert _run(**flags, budgets=["2.2", "2.7", "99"]) == 0
    for method in evaluate.METHODS[1:]:
        assert _run(**flags, budgets=["3"], method=method) == 0
    (best,) = files.read_csv(tmp_path / "run/eval/best_record.csv", ("predicted_top1",))
    table = records.read(records_file, presets.preset("tiny").space)
    assert best["predicted_top1"] == f"{table.top1[table.latency_ms <= 3].max():.4f}"
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert len((tmp_path / "run/eval/pnag.csv").read_text().splitlines()) == 4
    assert all((tmp_path / f"run/eval/{method}.csv").exists() for method in evaluate.METHODS)
    samples = files.read_csv(tmp_path / "run/eval/samples.csv", ("method", "budget_ms", "latency_ms", "top1"))
    assert {row["budget_ms"] for row in samples if row["method"] == "pnag"} == {"2.2", "2.7", "99"}
    assert len([row for row in samples if row["method"] == "pnag"]) == 3 * evaluate.DRAWN
    assert {row["budget_ms"] for row in samples if row["method"] == "ofa_mo"} == {"3"}
    assert _run(**flags, stage="figures") == 0
    drawn = {path.name for path in (tmp_path / "run/figures").iterdir()}
    assert {"convergence.png", "frontier.svg", "latency_histograms.svg", "architectures_pnag.png"} <= drawn


def _random_proposals(variant, table, predictors, config, budgets_ms, progress):
    seed = len(variant.name)
    return baselines.random(config.space, predictors, budgets_ms, np.random.default_rng(seed), config)


def test_ablation_prints_three_tables_and_goes_on_where_it_was(records_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ablation, "run", _random_proposals)  # the variants have tests of their own
    flags = {"preset": "tiny", "records": str(records_file), "workdir": str(tmp_path / "run"), "budgets": ["2", "3"]}
    assert _run(**flags, stage="ablation") == 0
    first = capsys.readouterr().out
    assert first.count("predicted top1, %") == 3 and "K = 30" in first and "independent" in first
    kept = tmp_path / "run/ablation/absolute.csv"
    before = kept.stat().st_mtime_ns
    (tmp_path / "run/ablation/pnag.csv").unlink()
    assert _run() == 0
    again = capsys.readouterr().out
    assert kept.stat().st_mtime_ns == before
    assert first[first.index("number of") :] == again[again.index("number of") :]


def test_the_comparison_times_all_methods_and_the_literature(records_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(zoo, "names", lambda: ("fbnet-a",))  # all 33 take minutes; each has a test of its own
    flags = {"preset": "tiny", "records": str(records_file), "workdir": str(tmp_path / "run"), "budgets": ["3"]}
    assert _run(**flags, stage="compare") == 0
    shown = capsys.readouterr().out
    rows = {row["network"]: row for row in files.read_csv(tmp_path / "run/compare/cpu.csv", compare.COLUMNS)}
    for name in ("pnag-3", "evo-3", "nas_mo-3", "ofa_mo-3", "random-3", "best_record-3", "fbnet-a"):
        assert float(rows[name]["latency_ms"]) > 0 and name in shown
    assert float(rows["pnag-3"]["search_s"]) > float(rows["random-3"]["search_s"])
    assert rows["PONAS-C"]["published_top1"] == "0.752" and not rows["PONAS-C"]["latency_ms"]
    assert not (tmp_path / "run/compare/cpu.parts").exists()
    assert _run(stage="report") == 0
    page = (tmp_path / "run/report/index.html").read_text()
    assert page.count('class="chooser"') == 6 and "fbnet-a" in page


@pytest.mark.parametrize(
    ("changes", "done", "seconds", "expected"),
    [
        ({}, None, {}, "rounds: up to 1000 networks to measure; --measurements changes that"),
        ({"rounds": "3"}, 1, {}, "rounds: up to 666 networks to measure;"),
        ({}, None, {"records": 30.0}, "up to 1000 networks to measure, about 8.3 minutes;"),  # 60 records
        ({}, 54, {"records": 30.0}, "rounds: up to 96 networks to measure, about 48 seconds;"),
        ({}, None, {"records": 600.0}, "about 2.8 hours;"),
        ({}, 60, {"records": 30.0}, ""),
        ({"rounds": "0"}, None, {"records": 30.0}, ""),
        ({"measurements": 50}, None, {}, ""),
        ({"minutes": 5.0}, None, {}, ""),
        ({"set": ["eval.measurements=50"]}, None, {}, ""),
        ({"stage": "records"}, None, {}, ""),
        ({"measure_command": ""}, None, {}, ""),
    ],
)
def test_rounds_say_beforehand_what_they_cost(changes, done, seconds, expected, records_file, tmp_path, capsys):
    flags = {"preset": "tiny", "stage": "eval", "records": "x.csv", "measure_command": "measure"} | changes
    for name, value in flags.items():
        setattr(main.FLAGS, name, value)
    if done is not None:
        plan = learn.Progress(60, 60, 1000, int(changes.get("rounds", 0)), done=done)
        files.write_json(tmp_path / "rounds.json", dataclasses.asdict(plan))
    if seconds:
        files.write_json(tmp_path / "seconds.json", seconds)
        shutil.copy(records_file, tmp_path / "records.csv")
    main._announce_rounds(context.make(main._config(), tmp_path, "x.csv"))
    out = capsys.readouterr().out
    assert expected in out and bool(expected) == bool(out)


MEASURE = """
import sys
print("arch,top1,latency_ms")
for number, line in enumerate(sys.stdin):
    print(f'"{line.strip()}",{0.9 if number else 0.99},1.5')
"""


def test_active_rounds_grow_the_records_and_a_failing_command_loses_none(records_file, tmp_path, capsys):
    flags = {"preset": "tiny", "records": str(records_file), "workdir": str(tmp_path / "run"), "budgets": ["2", "3"]}
    assert _run(**flags, measurements=50, measure_command="echo no answer") == 2
    assert "expected a CSV with columns arch,top1,latency_ms" in capsys.readouterr().err
    assert len((tmp_path / "run/records.csv").read_text().splitlines()) == 121
    (tmp_path / "measure.py").write_text(MEASURE)
    assert _run(measure_command=f"{sys.executable} {tmp_path / 'measure.py'}", least_gain=0.9) == 0  # after one round
    assert len((tmp_path / "run/records.csv").read_text().splitlines()) == 121 + 5
    assert _run(least_gain=0.0) == 0
    grown = (tmp_path / "run/records.csv").read_text().splitlines()
    assert len(grown) == 121 + 50 and grown[-1].endswith(",0.9,1.5")
    rows = (tmp_path / "run/eval/pnag.csv").read_text().splitlines()
    row = files.read_csv(tmp_path / "run/eval/pnag.csv", ("found_by",))[0]  # the one measured best
    assert (row["predicted_top1"], row["predicted_latency_ms"]) == ("0.9900", "1.5")
    assert row["found_by"] == "rounds"
    assert files.read_json(tmp_path / "run/seconds.json")["rounds"] > 0
    assert _run(measure_command="false") == 0  # the rounds are over: nothing is measured again
    assert _run(rounds="0", measure_command="") == 0  # and what they measured is still known
    assert (tmp_path / "run/eval/pnag.csv").read_text().splitlines() == rows
    assert _run(method="best_record") == 0  # of the records that came before the rounds
    assert all(
        row["predicted_top1"] != "0.9900"
        for row in files.read_csv(tmp_path / "run/eval/best_record.csv", ("predicted_top1",))
    )


def test_a_given_supernet_is_used_where_it_knows_the_images(supernet, tmp_path, capsys):
    path = tmp_path / "given.keras"
    supernet.save(path)
    for label in range(10):
        for number in range(8):
            _write_png(tmp_path / f"ten/{label}/{number}.png", 8 * label + 100 * (number % 2) + number)
    flags = {"preset": "tiny", "dataset": "folder", "stage": "supernet", "supernet": str(path)}
    flags |= {"workdir": str(tmp_path / "run"), "data_dir": str(tmp_path / "ten")}
    assert _run(**flags, set=["space.ratios=3,4"]) == 2
    assert f"--set space.ratios=...: expected (3, 4, 6), which {path} has, found (3, 4)" in capsys.readouterr().err
    assert _run(set=[]) == 0
    assert not (tmp_path / "run/supernet").exists()
    assert files.read_json(tmp_path / "run/config.json")["space"]["units"] == supernet.space.units


def test_a_given_supernet_is_adapted_to_other_images(supernet, tmp_path):
    """To other classes, to another resolution, or where that is asked for."""
    supernet.save(tmp_path / "given.keras")
    for folder, classes in (("two", 2), ("ten", 10)):
        for label in range(classes):
            for number in range(8):
                _write_png(tmp_path / f"{folder}/{label}/{number}.png", 8 * label + 100 * (number % 2) + number)
    given = {"preset": "tiny", "dataset": "folder", "supernet": str(tmp_path / "given.keras"), "shrinking": "sandwich"}
    for name, folder, flags, found in (
        ("classes", "two", {}, (presets.ADAPT_EPOCHS, 2, 16)),
        ("asked", "ten", {"adapt_epochs": 1.0}, (1.0, 10, 16)),
        ("size", "two", {"adapt_epochs": None, "resolution": ["24"]}, (presets.ADAPT_EPOCHS, 2, 24)),
    ):
        images = {"workdir": str(tmp_path / name), "data_dir": str(tmp_path / folder)}
        assert _run(**given, **flags, **images, stage="data") == 0
        written = files.read_json(tmp_path / name / "config.json")
        backbone, (phase,) = written["backbone"], written["supernet"]["phases"]
        assert (written["supernet"]["adapt_epochs"], backbone["classes"], backbone["resolution"]) == found
        assert phase["epochs"] == found[0] and phase["sandwich"]
    assert _run(stage="supernet") == 0
    (adapted,) = (tmp_path / "size/supernet").glob("*.keras")
    space, backbone = ofa.describe(adapted)
    assert space == supernet.space and (backbone.classes, backbone.resolution) == (2, 24)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "archs.csv: No such file"),
        ("arch\n", "expected a column budget_ms, found arch"),
        ("budget_ms,arch\n", "expected at least one architecture, found none"),
        (f'budget_ms,arch\n30,"{ARCH}"\n', "row 1: architecture"),
        (f'budget_ms,arch\n30,"{ARCH}"\n', "has 5 units; this space has 2"),
        ('budget_ms,arch\nsoon,"SMALLEST"\n', "row 1: could not convert string to float"),
        ('budget_ms,arch\n-1,"SMALLEST"\n', "row 1: expected milliseconds in budget_ms, found '-1'"),
        ('budget_ms,arch\n5,"SMALLEST"\n5.0,"SMALLEST"\n', "row 2: expected one architecture for each budget"),
    ],
)
def test_architectures_to_fine_tune_that_cannot_be_used(content, message, supernet, image_folder, tmp_path, capsys):
    """Before anything is measured or trained."""
    _save_with_classes(supernet, tmp_path / "given.keras", 2)
    if content is not None:
        smallest = str(supernet.space.decode(supernet.space.smallest())[0])
        (tmp_path / "archs.csv").write_text(content.replace("SMALLEST", smallest))
    flags = {"preset": "tiny", "dataset": "folder", "data_dir": str(image_folder)}
    flags |= {"stage": "finetune", "finetune_epochs": 1}
    flags |= {"supernet": str(tmp_path / "given.keras"), "archs": str(tmp_path / "archs.csv")}
    assert _run(**flags, workdir=str(tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not list(tmp_path.glob("run/*/*"))


def test_fine_tuning_without_architectures_or_epochs(image_folder, tmp_path, capsys):
    flags = {"preset": "tiny", "dataset": "folder", "data_dir": str(image_folder), "stage": "finetune"}
    for epochs, message in (
        (1, "--archs: expected a file of architectures for stage finetune, found none"),
        (0, "--finetune_epochs: expected 1 or more for stage finetune, found 0"),
    ):
        assert _run(**flags, finetune_epochs=epochs, workdir=str(tmp_path / "run")) == 2
        assert message in capsys.readouterr().err


def _save_with_classes(like, path, classes):
    backbone = dataclasses.replace(like.backbone, classes=classes)
    supernet_lib.Supernet(like.space, backbone).save(path)


def test_an_estimate_stops_before_anything_long(image_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(estimate, "parts", lambda run: [estimate.Part("supernet", 90.0, 1.5, 20.0)])
    flags = {"preset": "tiny", "dataset": "folder", "data_dir": str(image_folder), "workdir": str(tmp_path / "run")}
    assert _run(**flags, estimate=True) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [
        ["stage", "minutes", "memory_gib", "disk_mb"],
        ["supernet", "1.5", "1.5", "20"],
        ["all", "1.5", "1.5", "20"],
    ]
    assert not (tmp_path / "run/supernet").exists()
    assert _run(**flags, estimate=True, records="records.csv") == 2
    assert "--estimate and --hours are of runs on images" in capsys.readouterr().err
    assert _run(**flags, estimate=False, records="", hours=1.0, architectures=30) == 2
    assert "expected either --hours or --architectures" in capsys.readouterr().err
    assert _run(**flags, hours=1.0, architectures=None, minutes=5.0) == 2
    assert "expected either --hours or --minutes" in capsys.readouterr().err


def test_preset_photos_follows_the_number_of_images():
    few, some, many = (presets.preset("photos", images=count) for count in (2000, 8000, 40_000))
    assert few.backbone.resolution == 160 and presets.preset("photos", resolution=96).backbone.resolution == 96
    assert few.data.mixup > some.data.mixup == 0 and few.data.rand_magnitude > some.data.rand_magnitude
    assert some.data.rand_augment and not many.data.rand_augment
    assert few.data.batch_size < many.data.batch_size
    with pytest.raises(errors.SettingError, match="expected 64 to 320 pixels"):
        presets.preset("photos", resolution=32)


@pytest.mark.parametrize("preset", ["demo", "photos"])
@pytest.mark.parametrize("resolution", [64, 96, 160, 224])
def test_phases_draw_from_the_space_that_fits_the_resolution(preset, resolution):
    config = presets.preset(preset, resolution=resolution)
    assert (config.space, config.backbone) == (
        fitting.fit(resolution)[0],
        dataclasses.replace(fitting.fit(resolution)[1], classes=config.backbone.classes),
    )
    last = config.supernet.phases[-1]
    assert (last.depths, last.kernels, last.ratios) == (config.space.depths, config.space.kernels, config.space.ratios)
    for shrinking in presets.SHRINKING:
        last = presets.preset(preset, shrinking, resolution).supernet.phases[-1]
        assert last.ratios == config.space.ratios
