"""The Python API: its examples run, and it gives what the command line gives."""

import dataclasses
import doctest
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import pnag_tf as pnag
from pnag_tf.api import classifier, entering, networks, running, searching
from pnag_tf.latency import export, metadata
from pnag_tf.search import records as records_lib
from pnag_tf.space import network


@pytest.fixture
def example(table, supernet, tmp_path, monkeypatch):
    """A folder with the files that the examples read."""
    monkeypatch.chdir(tmp_path)
    records_lib.write("records.csv", table)
    supernet.save("supernet.keras")
    net = network.build(supernet.backbone, supernet.space.decode(supernet.space.smallest())[0])
    tflite = export.convert(network.classifier(network.randomise(net)))
    (tmp_path / "net.tflite").write_bytes(metadata.with_metadata(tflite, [*"abcdefghij"], "an example"))
    return tmp_path


@pytest.fixture(scope="module")
def fitted(table):
    """A search that has learnt from `table`, and what its callback was told."""
    told = []
    search = pnag.Search(preset="tiny", seed=1, progress=False)
    assert search.fit(table, callbacks=[lambda *what: told.append(what)]) is search
    return search, told


@pytest.mark.parametrize(
    "module", [classifier, networks, running, searching, pnag.errors], ids=lambda module: module.__name__
)
def test_examples_run(module, example):
    failed, tried = doctest.testmod(module)
    assert tried and not failed


def test_importing_the_package_leaves_tensorflow_alone():
    code = """if True:
        import sys
        import pnag_tf as pnag
        assert {"Search", "Run", "errors"} <= set(dir(pnag)) and set(pnag.__all__) <= set(dir(pnag))
        assert not {"tensorflow", "keras", "numpy"} & set(sys.modules)
        assert pnag.errors.UserError and pnag.SearchSpace().units == 5
        assert "tensorflow" not in sys.modules
        from pnag_tf import *
        assert load_supernet is pnag.load_supernet and Search is pnag.Search
        try:
            pnag.Serach
        except AttributeError as error:
            print(error)
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout == "module 'pnag_tf' has no attribute 'Serach'\n"


def test_every_public_name_is_there():
    for name in pnag.__all__:
        assert getattr(pnag, name).__doc__


def test_a_search_finds_what_the_truth_confirms(fitted, table, truth):
    search, told = fitted
    budgets_ms = [float(np.quantile(table.latency_ms, share)) for share in (0.3, 0.8)]
    found = search.propose(budgets_ms)
    assert [each.budget_ms for each in found] == budgets_ms
    assert found[0].top1 < found[1].top1
    for each in found:
        assert isinstance(each.architecture, pnag.Architecture)
        top1, latency_ms = truth(table.space.encode([each.architecture]))
        assert latency_ms[0] <= each.budget_ms * 1.01
        assert top1[0] > np.median(table.top1[table.latency_ms <= each.budget_ms])
    assert {what for what, _, _ in told} == {"predictors", "evaluator", "generator"}
    assert [step for what, step, _ in told if what == "evaluator"] == list(range(1, 11))
    assert search.history["generator"][-1]["iteration"] == search.config.generator.iterations
    assert np.all(np.diff(search.budgets_ms) > 0) and search.report["records"] == len(table)


def test_the_settings_of_a_search_are_its_own():
    assert pnag.Search("tiny", settings=["generator.iterations=7"]).config.generator.iterations == 7
    for settings, message in (
        (["data.batch_size=3"], "`data.batch_size`: no setting of a search"),
        (["device=gpu"], "`device`: no setting of a search"),
        (["generator.iteration=3"], "no such setting; near: generator.iterations"),
        (["generator.iterations=0"], "expected 1 or more, found 0"),
    ):
        with pytest.raises(pnag.errors.SettingError, match=message):
            pnag.Search("tiny", settings=settings)
    with pytest.raises(
        pnag.errors.SettingError, match="expected one of tiny, demo, photos, search, paper, found 'huge'"
    ):
        pnag.Search("huge")


def test_budgets_that_cannot_be_asked_for(fitted, table):
    search, _ = fitted
    assert search.propose([]) == []
    for budget_ms in (-3, 0, float("nan")):
        with pytest.raises(pnag.errors.SettingError, match=f"found {float(budget_ms)}"):
            search.propose([budget_ms])
    with pytest.raises(pnag.errors.UserError, match="call fit first"):
        pnag.Search("tiny").propose([9])
    with pytest.raises(pnag.errors.UserError, match="expected 20 records or more, found 5"):
        pnag.Search("tiny", progress=False).fit(table[:5])


def test_a_saved_search_proposes_the_same(fitted, table, tmp_path):
    search, _ = fitted
    again = pnag.Search.load(search.save(tmp_path / "search"), progress=False)
    assert again.config == search.config and again.history == search.history and again.report == search.report
    assert again.propose([8, 10]) == search.propose([8, 10])
    np.testing.assert_array_equal(again.records.choices, table.choices)
    with pytest.raises(pnag.errors.UserError, match="save: .*call fit first"):
        pnag.Search("tiny").save(tmp_path / "other")
    with pytest.raises(pnag.errors.UserError, match="cannot read .*search.json: No such file"):
        pnag.Search.load(tmp_path / "other")
    (tmp_path / "search/search.json").write_text('{"preset": "tiny"}')
    with pytest.raises(pnag.errors.UserError, match="search.json: expected a saved search, found something else"):
        pnag.Search.load(tmp_path / "search")


def test_rounds_measure_with_a_function_and_know_what_it_said(fitted, table, truth, tmp_path):
    search, asked = pnag.Search.load(fitted[0].save(tmp_path / "search"), progress=False), []

    def measure(architectures):
        asked.append(architectures)
        return zip(*truth(table.space.encode(architectures)), strict=True)

    budgets_ms = [float(np.quantile(table.latency_ms, share)) for share in (0.3, 0.8)]
    assert search.rounds(measure, budgets_ms, measurements=21, rounds=2) is search
    assert [len(each) for each in asked] == [11, 10] and len(search.records) == len(table) + 21
    assert table.lacks(search.records.choices[len(table) :]).all()
    for each in search.propose(budgets_ms):
        best = search.records.top1[search.records.latency_ms <= each.budget_ms].max()
        assert each.top1 >= best and each.latency_ms <= each.budget_ms
    again = pnag.Search.load(search.save(tmp_path / "again"), progress=False)
    exact_ms = [float(search.records.latency_ms[-1])]  # what was measured is known with all its digits
    assert again.propose(budgets_ms + exact_ms) == search.propose(budgets_ms + exact_ms)


def test_what_was_measured_before_an_error_stays(fitted, table, truth, tmp_path):
    search, asked = pnag.Search.load(fitted[0].save(tmp_path / "search"), progress=False), []

    def measure(architectures):
        asked.append(architectures)
        if len(asked) == 3:
            raise ConnectionError("the phone is gone")
        return zip(*truth(table.space.encode(architectures)), strict=True)

    budget_ms = float(np.quantile(table.latency_ms, 0.5))
    with pytest.raises(ConnectionError):
        search.rounds(measure, [budget_ms], measurements=21, rounds=4)
    assert len(search.records) == len(table) + 6 + 5
    (found,) = search.propose([budget_ms])
    assert found.top1 >= search.records.top1[search.records.latency_ms <= budget_ms].max()


def test_another_device_gets_networks_by_a_few_latencies(fitted, table, truth, space):
    search = fitted[0]
    slow = np.random.default_rng(0).uniform(0.5, 2.0, table.space.layer_one_hot(table.choices[:1]).shape[1])

    def latency_ms(choices):  # some blocks are four times as slow as others
        return 1.0 + truth(choices)[1] + space.layer_one_hot(choices) @ slow

    probes = search.probes(60)
    assert len({str(each) for each in probes}) == 60
    there = search.elsewhere(dict(zip(map(str, probes), latency_ms(space.encode(probes)), strict=True)))
    assert there.report["latency_rmse_ms"] < 0.05 * there.report["latency_high_ms"]
    assert there.report["top1_rmse"] == search.report["top1_rmse"] and "latency_rmse_ms" in search.report
    everything_ms, top1 = latency_ms(table.choices), truth(table.choices)[0]
    budgets_ms = np.quantile(everything_ms, [0.3, 0.8])
    found = there.propose(budgets_ms)
    assert [each.budget_ms for each in found] == list(budgets_ms) and there.propose([]) == []
    for each in found:
        choices = space.encode([each.architecture])
        assert latency_ms(choices)[0] <= 1.03 * each.budget_ms
        assert truth(choices)[0][0] > np.quantile(top1[everything_ms <= each.budget_ms], 0.9)
    with pytest.raises(pnag.errors.UserError, match="elsewhere: expected 20 latencies or more, found 1"):
        search.elsewhere({probes[0]: 3.0})
    with pytest.raises(pnag.errors.UserError, match="elsewhere, record 1: .*found 0, -3.0"):
        search.elsewhere(dict.fromkeys(probes, -3.0))
    with pytest.raises(pnag.errors.UserError, match="probes: .*call fit first"):
        pnag.Search("tiny").probes()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], r"measure: expected \d+ pairs \(top1, latency_ms\), found 0"),
        (None, r"measure: expected pairs \(top1, latency_ms\), found None"),
        ([0.5] * 4, r"measure: expected pairs \(top1, latency_ms\), found \[0.5"),
        ([(70.0, 8.0)] * 4, "measure, record 1: expected top1 as a fraction"),
    ],
)
def test_measurements_that_cannot_be_used(answer, message, fitted, table):
    records = fitted[0].records
    with pytest.raises(pnag.errors.UserError, match=message):
        fitted[0].rounds(lambda architectures: answer, [8, 10], measurements=4)
    assert fitted[0].records is records
    with pytest.raises(pnag.errors.SettingError, match="`eval.measurements`: expected 0 or more"):
        fitted[0].rounds(lambda architectures: answer, [8], measurements=-1)
    with pytest.raises(pnag.errors.UserError, match="rounds: expected budgets, found none"):
        fitted[0].rounds(lambda architectures: answer, [])
    with pytest.raises(pnag.errors.UserError, match="probes: expected a count of 20 or more, found 3"):
        fitted[0].probes(3)
    with pytest.raises(pnag.errors.UserError, match="rounds: .*call fit first"):
        pnag.Search("tiny").rounds(lambda architectures: answer, [8])


def test_an_extracted_network_answers_as_the_supernet_does(supernet, example):
    net = pnag.load_supernet("supernet.keras")
    assert net.space == supernet.space and net.classes == 10
    choices = net.space.sample(np.random.default_rng(0), 1)[0]
    architecture = net.space.decode(choices)[0]
    images = np.random.default_rng(1).normal(size=(300, *net.image_shape)).astype("float32")
    model = net.extract(architecture, calibration=images)
    by_batches = net.extract(str(architecture), calibration=[images[:250], images[250:]])
    answers = model.predict(images[:8], verbose=0)
    np.testing.assert_allclose(answers, by_batches.predict(images[:8], verbose=0), rtol=1e-4, atol=1e-4)
    other = net.extract(architecture, calibration=3 * images[:100] + 1)  # the images count
    assert np.abs(answers - other.predict(images[:8], verbose=0)).max() > 1e-2
    path = pnag.export(model, example / "new" / "net.tflite")
    np.testing.assert_allclose(export.run(path.read_bytes(), images[:8]), answers, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(4, 8, 8, 3), (0, 16, 16, 3), (16, 16, 3)])
def test_calibration_images_of_another_shape(shape, example):
    net = pnag.load_supernet("supernet.keras")
    with pytest.raises(pnag.errors.UserError, match=r"expected calibration images of shape \('n', 16, 16, 3\), found"):
        net.extract(net.space.decode(net.space.smallest())[0], calibration=np.zeros(shape, "float32"))


def test_an_architecture_of_another_space(example):
    net = pnag.load_supernet("supernet.keras")
    with pytest.raises(pnag.errors.UserError, match="has 1 units; this space has 2"):
        net.extract("1:3:3", calibration=np.zeros((1, *net.image_shape), "float32"))


def test_kinds_of_export(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64)])
    whole = pnag.export(model, tmp_path / "whole.tflite").stat().st_size
    assert pnag.export(model, tmp_path / "half.tflite", quantize="float16").stat().st_size < 0.7 * whole
    with pytest.raises(export.ExportError, match="quantization 'int4'; choose from float32"):
        pnag.export(model, tmp_path / "none.tflite", quantize="int4")
    assert not (tmp_path / "none.tflite").exists()


def test_a_run_is_made_of_settings_without_looking_at_anything(tmp_path):
    run = pnag.Run("tiny", tmp_path / "run", images="nowhere", budgets_ms=[3, 4.5], settings=["device=mobile"])
    assert (run.config.data.dataset, run.config.data.data_dir) == ("folder", "nowhere")
    assert run.config.eval.budgets == (3.0, 4.5) and run.config.device == "mobile"
    assert not run.layout.root.exists()
    with pytest.raises(pnag.errors.UserError, match="expected the folder of a run"):
        run.status()
    with pytest.raises(pnag.errors.UserError, match="expected a stage, one of supernet, .*, found 'sing'"):
        run.make("sing")
    with pytest.raises(pnag.errors.UserError, match="expected the folder of a run"):
        run.make("figures")
    with pytest.raises(pnag.errors.UserError, match="nowhere"):
        run.make("supernet")
    assert not run.layout.root.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "huge"}, "expected one of tiny, demo, photos, search, paper, found 'huge'"),
        ({"records": "a.csv", "supernet": "b.keras"}, "expected either records or a supernet, found both"),
        ({"supernet": "nowhere.keras"}, "cannot read nowhere.keras"),
        ({"budgets_ms": [3, 3]}, "`eval.budgets`: expected different ones"),
        ({"settings": ["method=luck"]}, "`method`: expected one of pnag, .*, found 'luck'"),
        ({"settings": ["measure.architecture=500"]}, "no such setting; near: measure.architectures"),
    ],
)
def test_runs_that_cannot_be(arguments, message):
    with pytest.raises(pnag.errors.UserError, match=message):
        pnag.Run(**{"preset": "tiny"} | arguments)


def test_a_run_and_a_search_on_the_same_records_find_the_same(tmp_path):
    space = pnag.Run("tiny").config.space
    choices = np.unique(space.sample(np.random.default_rng(0), 150), axis=0)
    steps = choices.sum(1)
    given = records_lib.Records(space, choices, 0.5 + 0.01 * steps, 2.0 + 0.3 * steps)
    records_lib.write(tmp_path / "records.csv", given)
    records = pnag.read_records(tmp_path / "records.csv", space)
    run = pnag.Run("tiny", tmp_path / "run", records=tmp_path / "records.csv", budgets_ms=[4, 5], seed=2)
    with pytest.raises(pnag.errors.UserError, match="nothing to draw"):
        run.plot_frontier()
    ((title, rows),) = run.make("eval")
    assert title.startswith("pnag")
    found = pnag.Search("tiny", seed=2, progress=False).fit(records).propose([4, 5])
    assert [row["arch"] for row in rows] == [str(each.architecture) for each in found]
    assert {row["stage"]: row["state"] for row in run.status()}["eval"] == "done"
    assert run.plot_frontier()._repr_png_().startswith(b"\x89PNG")  # what a notebook shows
    again = pnag.Run("tiny", tmp_path / "run", records=tmp_path / "records.csv", seed=3)
    with pytest.raises(pnag.errors.UserError, match="seed is 2 there and 3 here"):
        again.make("eval")
    again = pnag.Run("tiny", tmp_path / "run", records=tmp_path / "records.csv", seed=3, force=True)
    assert run.layout.table("pnag").exists()  # until a stage is made
    again.make("records")
    assert not run.layout.table("pnag").exists() and run.layout.records.exists()


def test_a_given_supernet_is_the_one_of_the_run(example, image_folder, supernet, monkeypatch):
    smaller = type(supernet)(supernet.space, dataclasses.replace(supernet.backbone, classes=2))
    smaller.save("two.keras")
    load, loaded = keras.models.load_model, []
    monkeypatch.setattr(keras.models, "load_model", lambda path, **how: loaded.append(path) or load(path, **how))
    run = pnag.Run("tiny", "run", images=image_folder, supernet="two.keras")
    net = run.supernet()
    assert net.space == run.config.space == supernet.space and net.classes == 2
    model = net.extract(net.space.decode(net.space.smallest())[0], calibration=run.calibration)
    assert model.output_shape == (None, 2)
    assert len(loaded) == 1  # the calibration images come with the same weights
    assert not run.layout.supernet.exists()


def test_a_found_network_cannot_be_changed(fitted):
    (found,) = fitted[0].propose([9])
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.top1 = 1.0


@pytest.mark.heavy
def test_the_quickstart_runs(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    path = pathlib.Path(__file__).parents[1] / "docs" / "quickstart.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    said = "".join(output.get("text", "") for output in outputs)
    assert "60 records" in said and said.count("predicted") == 3 and "ms measured" in said
    assert any("image/png" in output.get("data", {}) for output in outputs)
    whole, half = ((tmp_path / "runs" / f"quickstart{kind}.tflite").stat().st_size for kind in ("", "_half"))
    assert half < whole


def test_a_run_in_int8_has_a_backbone_of_one_piece():
    minimal = pnag.Run("tiny", kind="int8").config
    assert minimal.kind == "int8" and set(minimal.backbone.activations) == {"relu"}
    assert not any(minimal.backbone.squeeze_excite) and minimal.backbone.edge_activation == "relu"
    assert pnag.Run("tiny").config.backbone != minimal.backbone
    assert pnag.Run("tiny", kind="float16").config.backbone == pnag.Run("tiny").config.backbone


def test_a_run_on_another_device_is_in_the_same_folder(facts, tmp_path, monkeypatch):
    shutil.copytree(facts / "run_before", tmp_path / "run")
    (tmp_path / "run/README.md").unlink()
    monkeypatch.setattr(entering, "_with_classes", lambda config, layout, force: _with_ten_classes(config))
    run = pnag.Run("tiny", tmp_path / "run")
    other = run.on("mobile:A", kind="int8")
    assert other.layout.root == tmp_path / "run/devices/mobile_A_int8" and run.layout.root == tmp_path / "run"
    assert (other.config.device, other.config.kind, other.config.phone.serial) == ("mobile", "int8", "A")
    assert other.config.backbone.activations == run.config.backbone.activations
    assert {row["stage"] for row in other.status() if row["state"] == "done"} == {"supernet"}
    with pytest.raises(pnag.errors.UserError, match="`device`: expected cpu, .* or mobile:SERIAL, found 'tv'"):
        run.on("tv")


def _with_ten_classes(config):
    return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, classes=10))
