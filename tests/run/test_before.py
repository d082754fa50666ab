"""A run that an earlier version finished, `tests/facts/run_before`: it opens, and its numbers are the same."""

import dataclasses
import shutil

import numpy as np
import pytest

from pnag_tf import presets
from pnag_tf.run import context as context_lib
from pnag_tf.run import evaluate, learn, measure, stages, status
from pnag_tf.search import evaluator, proposals, rounds
from pnag_tf.supernet import ofa, subnet
from pnag_tf.util import errors, files

TINY = presets.preset("tiny")
CONFIG = dataclasses.replace(TINY, backbone=dataclasses.replace(TINY.backbone, classes=10))  # as Fashion-MNIST has


@pytest.fixture(scope="module")
def run(facts, tmp_path_factory):
    """The run, opened with the settings that it was made with."""
    root = tmp_path_factory.mktemp("before") / "run"
    shutil.copytree(facts / "run_before", root)
    (root / "README.md").unlink()
    assert "made_by" not in files.read_json(root / "config.json")
    context = context_lib.make(CONFIG, root)
    # Tables belong to a device, and this need not be the machine that made it.
    table = files.read_json(context.layout.latency_table)
    files.write_json(context.layout.latency_table, table | {"device": context.resources.device.describe()})
    stages.enter(context)
    return context


@pytest.fixture(scope="module")
def networks(run):
    """The rows of eval/pnag.csv, and their choices ``[n, tokens]``."""
    rows = evaluate.found_by(run)
    return rows, CONFIG.space.encode([row["arch"] for row in rows])


def test_the_folder_is_taken_over_and_every_stage_is_done(run):
    found = files.read_json(run.layout.config)
    assert found["made_by"].startswith("pnag_tf ") and found["predictors"]["model"] == CONFIG.predictors.model
    states = {row["stage"]: row["state"] for row in status.look(run.layout.root)}
    road = ("supernet", "latency_table", "records", "predictors", "evaluator", "generator", "eval")
    assert states == dict.fromkeys(road, "done")


@pytest.mark.parametrize(("factor", "found"), [(1, True), (1 + 1e-9, False)])
def test_budgets_are_compared_as_numbers(factor, found, run, networks):
    budgets = tuple(factor * float(row["budget_ms"]) for row in networks[0])
    config = dataclasses.replace(run.config, eval=dataclasses.replace(run.config.eval, budgets=budgets))
    assert evaluate.found_by(dataclasses.replace(run, config=config)) == (networks[0] if found else None)


@pytest.mark.parametrize("stage", [stage.name for stage in stages.ROAD if stage.once and stage.name != "rounds"])
def test_nothing_is_made_again(stage, run):
    before = {path: path.stat().st_mtime_ns for path in run.layout.root.rglob("*") if path.is_file()}
    assert stages.run(run, stage) == []
    assert before == {path: path.stat().st_mtime_ns for path in run.layout.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 5}, "seed is 0 there and 5 here"),
        ({"data": dataclasses.replace(CONFIG.data, batch_size=32)}, "data.batch_size is 64 there and 32 here"),
        (  # a setting that the earlier version did not have
            {"predictors": dataclasses.replace(CONFIG.predictors, model="mlp")},
            f"predictors.model is {CONFIG.predictors.model} there and mlp here",
        ),
    ],
)
def test_other_settings_are_refused_with_one_line(change, difference, run):
    with pytest.raises(errors.UserError) as refused:
        stages.enter(context_lib.make(dataclasses.replace(CONFIG, **change), run.layout.root))
    assert str(refused.value) == f"{run.layout.root} was made with other settings: {difference}"


def test_records_and_latency_table_read(run):
    records = measure.read_records(run)
    report = files.read_json(run.layout.predictors_report)
    assert len(records) == CONFIG.measure.architectures == report["records"]
    assert (records.top1.min(), records.top1.max()) == (report["top1_low"], report["top1_high"])
    assert (records.latency_ms.min(), records.latency_ms.max()) == (report["latency_low_ms"], report["latency_high_ms"])
    table = measure.read_latency_table(run)  # the records' latencies are its sums
    np.testing.assert_allclose(table.latency_ms(records.choices), records.latency_ms, rtol=1e-5)


def test_the_networks_are_found_again_with_the_numbers_that_were_written(run, networks):
    """Predicted, or known from the records, as today's `eval` has it before anything is deployed."""
    rows, choices = networks
    how, predictors = CONFIG.eval, learn.read_predictors(run)
    assert predictors.report == files.read_json(run.layout.predictors_report)
    found = proposals.propose(
        learn.read_generator(run),
        predictors,
        [float(row["budget_ms"]) for row in rows],
        how.samples,
        CONFIG.seed,
        how.pessimism,
        how.refinement,
    )
    found = rounds.confirm(found, measure.read_records(run))
    assert [evaluate.row(run, each.budget_ms, each, 0)["budget_ms"] for each in found] == [
        row["budget_ms"] for row in rows
    ]
    for candidates, before, wanted in zip(found, rows, choices, strict=True):
        places = np.flatnonzero((candidates.choices == wanted).all(1))
        known = [evaluate.row(run, candidates.budget_ms, candidates, place) for place in places]
        assert {name: before[name] for name in evaluate.ROW} in known


def test_the_evaluator_ranks_as_it_did(run):
    made = evaluator.load(run.layout.evaluator, CONFIG.space, learn.read_predictors(run))
    held_out = measure.read_records(run).split(np.random.default_rng(CONFIG.seed), CONFIG.evaluator.held_out)[1]
    written = files.rows_left(run.layout.ranking)
    found = evaluator.ranking(made, held_out)
    assert [list(row) for row in found] == [list(row) for row in written]
    for row, before in zip(found, written, strict=True):
        assert row == pytest.approx({name: float(value) for name, value in before.items()}, abs=1e-4)


def test_the_generator_draws_the_samples_that_were_written(run):
    made, predictors = learn.read_generator(run), learn.read_predictors(run)
    written = files.rows_left(run.layout.samples)
    for budget_ms in {float(row["budget_ms"]): None for row in written}:
        before = [row for row in written if float(row["budget_ms"]) == budget_ms]
        choices = made.sample([budget_ms], len(before), CONFIG.seed + 1)[0]
        top1, _, latency_ms = predictors.predict(choices)
        assert [f"{value:.4f}" for value in top1] == [row["top1"] for row in before]
        assert [f"{value:.6g}" for value in latency_ms] == [row["latency_ms"] for row in before]


def test_the_supernet_runs(run, networks):
    assert ofa.describe(run.resources.supernet_path) == (CONFIG.space, CONFIG.backbone)
    net = ofa.load(run.resources.supernet_path)
    images = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
    logits = np.array(subnet.Subnets(net, [images]).extract(networks[1][0])(images))
    assert logits.shape == (8, 10) and np.isfinite(logits).all() and np.std(logits) > 0


def test_networks_for_other_limits_are_not_those_asked_for(run, networks):
    """What an earlier version found had none; what was found for some stays theirs."""
    small = dataclasses.replace(run.config, limits=dataclasses.replace(run.config.limits, params=10_000))
    limited = dataclasses.replace(run, config=small)
    assert evaluate.found_by(run) == networks[0] and evaluate.found_by(limited) is None
    files.write_json(run.layout.limits("pnag"), {"params": 10_000})
    try:
        assert evaluate.found_by(limited) == networks[0] and evaluate.found_by(run) is None
    finally:
        run.layout.limits("pnag").unlink()
