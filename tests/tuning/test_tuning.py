"""KerasTuner: the space as hyperparameters, its two searches, and the search for settings."""

import csv
import dataclasses
import json
import types

import keras
import keras_tuner
import numpy as np
import pytest

from pnag_tf import config as config_lib
from pnag_tf import presets, tuning
from pnag_tf.run import context, stages
from pnag_tf.search import candidates, reinforce
from pnag_tf.search import proposals as search
from pnag_tf.space import network
from pnag_tf.tuning import settings as settings_lib
from pnag_tf.tuning import trials
from pnag_tf.util import errors

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")
TINY = {name: getattr(presets.preset("tiny"), name) for name in ("predictors", "evaluator", "generator", "eval")}
CONFIG = config_lib.Config(
    "tiny",
    **TINY
    | {
        "evaluator": dataclasses.replace(TINY["evaluator"], epochs=2, pseudo_labels=0),
        "generator": dataclasses.replace(TINY["generator"], iterations=50),
    },
    tune=config_lib.Tune(evaluator_trials=2, generator_trials=2, random_trials=60, bayesian_trials=1),
)


# ---- the search space ----------------------------------------------------------------------------------------------


def names(space):
    """The name of each token."""
    found = []
    for unit in range(1, space.units + 1):
        found.append(f"unit{unit}/depth")
        for layer in range(1, space.max_depth + 1):
            found += [f"unit{unit}/layer{layer}/ratio", f"unit{unit}/layer{layer}/kernel"]
    return found


def test_any_values_are_canonical_choices(space):
    hp = keras_tuner.HyperParameters()
    tuning.choices(space, hp)
    assert [entry.name for entry in hp.space] == names(space)
    options = {"depth": space.depths, "ratio": space.ratios, "kernel": space.kernels}
    rng = np.random.default_rng(0)
    for drawn in rng.integers(0, space.token_sizes, (200, space.tokens)):  # values beyond the depth as well
        for name, kind, index in zip(names(space), space.token_kinds, drawn, strict=True):
            hp.values[name] = options[kind][index]
        found = tuning.choices(space, hp)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, space.canonical(drawn))
        active = [hp.is_active(name) for name in names(space)]
        np.testing.assert_array_equal(active, space.active(drawn))
    assert len(hp.space) == space.tokens


def test_a_stock_tuner_trains_networks_of_the_space(space, backbone, predictors, tmp_path):
    built = []

    def build(choices):
        built.append(choices)
        model = network.build(backbone, space.decode(choices)[0])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
        return model

    tuner = keras_tuner.RandomSearch(
        tuning.SearchSpaceHyperModel(space, build), "val_loss", 2, seed=1, directory=tmp_path, project_name="stock"
    )
    assert len(built) == 1  # all conditional layers are found by one model
    images = np.random.default_rng(0).normal(size=(16, backbone.resolution, backbone.resolution, 3)).astype("float32")
    labels = np.arange(16) % backbone.classes
    tuner.search(images, labels, validation_data=(images, labels), batch_size=16, epochs=1, verbose=0)
    trials = tuner.oracle.get_best_trials(2)
    assert [trial.status for trial in trials] == ["COMPLETED"] * 2 and trials[0].score <= trials[1].score
    found = np.stack([tuner.hypermodel.choices(trial.hyperparameters) for trial in trials])
    assert {row.tobytes() for row in found} == {row.tobytes() for row in built[1:]} and (found[0] != found[1]).any()
    assert len(predictors.top1(found)) == 2  # what was traced before the search still works


# ---- searches on the predictors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["kt_random", "kt_bayesian"])
def test_peers_keep_the_budget_and_repeat(space, predictors, table, method, capsys):
    budgets_ms = np.quantile(table.latency_ms, [0.3, 0.8] if method == "kt_random" else [0.5])
    first, again = (
        getattr(tuning, method)(space, predictors, budgets_ms, np.random.default_rng(1), CONFIG) for _ in range(2)
    )
    for found, same, budget_ms in zip(first, again, budgets_ms, strict=True):
        assert found.budget_ms == budget_ms and 1 < len(found) <= 60
        np.testing.assert_array_equal(found.choices, same.choices)
        np.testing.assert_array_equal(space.canonical(found.choices), found.choices)
        top1, _, latency_ms = predictors.predict(found.choices)
        np.testing.assert_allclose(found.top1, top1, rtol=1e-5)
        assert (latency_ms <= budget_ms).all() and found.top1[0] == found.top1.max()
    assert capsys.readouterr().out == ""


def test_guided_trials_are_better_than_random_ones(space, predictors, table, monkeypatch):
    budget_ms, seen = float(np.quantile(table.latency_ms, 0.5)), []
    monkeypatch.setattr(predictors, "predict", lambda row, ask=predictors.predict: seen.append(row) or ask(row))
    config = dataclasses.replace(CONFIG, tune=config_lib.Tune(bayesian_trials=2))
    tuning.kt_bayesian(space, predictors, [budget_ms], np.random.default_rng(0), config)
    tried = np.stack(seen[:-1])  # the last call ranks them all
    monkeypatch.undo()
    assert len(tried) == 3 * space.tokens + 2
    top1, _, latency_ms = predictors.predict(tried)
    value = top1 - np.maximum(latency_ms / budget_ms - 1, 0)
    assert value[-2:].mean() > value[:-2].mean()


def test_the_gaussian_process_predicts_as_scikit_learns():
    from sklearn import gaussian_process

    rng = np.random.default_rng(0)
    x, points = rng.random((40, 6)), rng.random((5, 6))
    y = 3 + x @ rng.random(6) + np.sin(5 * x[:, 0])
    kernel = gaussian_process.kernels.Matern(nu=2.5)
    slow = gaussian_process.GaussianProcessRegressor(
        kernel, alpha=1e-4, n_restarts_optimizer=20, normalize_y=True, random_state=3
    ).fit(x, y)
    fast = trials.Process(1e-4, 3).fit(x, y)
    for point in points:
        expected, found = slow.predict(point[None], return_std=True), fast.predict(point[None], return_std=True)
        np.testing.assert_allclose(np.ravel(found), np.ravel(expected), rtol=1e-6)


# ---- settings of the search ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(table, predictors, tmp_path_factory):
    path = tmp_path_factory.mktemp("tune")
    tuning.tune(table, predictors, CONFIG, path)
    return path


def rows_of(folder):
    with open(folder / "trials.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_tune_writes_all_trials_and_the_best(folder):
    rows = rows_of(folder)
    best = json.loads((folder / "best.json").read_text())
    assert [row["part"] for row in rows] == ["evaluator"] * 2 + ["generator"] * 2
    for part, settings, varied in (
        ("evaluator", CONFIG.evaluator, tuning.EVALUATOR),
        ("generator", CONFIG.generator, tuning.GENERATOR),
    ):
        assert best[part].keys() == {*varied, "final_learning_rate"}
        mine = [row for row in rows if row["part"] == part]
        first, top = mine[0], max(mine, key=lambda row: float(row["objective"]))
        for name, value in best[part].items():
            assert float(first[name]) == getattr(settings, name)  # the recipe comes first
            assert float(top[name]) == value
        assert all(float(row["seconds"]) >= 0 for row in mine)
        assert len({row["learning_rate"] for row in mine}) == len(mine)
    assert all(-1 <= float(row["objective"]) <= 1 for row in rows[:2])
    assert all(float(row["objective"]) > 0 for row in rows[2:])


def test_tune_called_again_runs_no_new_trial(folder, table, predictors, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("a trial was run again")

    before = {name: (folder / name).read_text() for name in ("best.json", "trials.csv")}
    (folder / "best.json").unlink()
    monkeypatch.setattr(search, "train_evaluator", never)
    found = tuning.tune(table, predictors, CONFIG, folder)
    assert before == {name: (folder / name).read_text() for name in before}
    assert found == json.loads(before["best.json"])


def test_the_generators_objective_counts_what_keeps_its_budget(table, predictors, tmp_path, monkeypatch):
    kept, exceeded = (
        candidates.Candidates(budget_ms, table.choices[:1], np.array([0.6]), np.array([7.0]))
        for budget_ms in (8.0, 6.0)
    )
    judge = types.SimpleNamespace(graph=None)
    monkeypatch.setattr(search, "train_evaluator", lambda *args: (judge, [{"tau": 0.5}]))
    monkeypatch.setattr(reinforce, "train", lambda *args: (None, []))
    monkeypatch.setattr(search, "propose", lambda *args: [kept, exceeded])
    monkeypatch.setattr(search, "volume", lambda found, *worst: 1.0 + len(found))
    tuning.tune(table, predictors, CONFIG, tmp_path)
    assert [row["objective"] for row in rows_of(tmp_path)] == ["0.5", "0.5", "2", "2"]


def parabola(settings):
    return -abs(np.log(settings.learning_rate / 2e-3)) - abs(settings.hidden - 64) / 64


def vary(path, score, trials):
    return settings_lib._vary(path, CONFIG.evaluator, tuning.EVALUATOR, score, -9.0, trials, seed=1, progress=False)


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path):
    calls = []

    def interrupted(settings):
        calls.append(settings)
        if len(calls) in (1, 4):
            raise KeyboardInterrupt
        return parabola(settings)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            vary(tmp_path / "broken", interrupted, 6)
    best, rows = vary(tmp_path / "broken", interrupted, 6)
    expected_best, expected = vary(tmp_path / "whole", parabola, 6)
    assert len(calls) == 6 + 2
    assert best == expected_best
    for row, same in zip(rows, expected, strict=True):
        assert row | {"part": "", "seconds": ""} == same | {"part": "", "seconds": ""}


def test_a_diverging_training_ranks_last_and_an_error_ends_the_search(tmp_path):
    def diverging(settings):
        if settings != CONFIG.evaluator:
            raise FloatingPointError("loss nan")
        return parabola(settings)

    best, rows = vary(tmp_path / "diverging", diverging, 3)
    assert best == CONFIG.evaluator
    assert [row["objective"] for row in rows[1:]] == ["-9", "-9"]

    def broken(settings):
        raise errors.UserError("no room on the disk")

    with pytest.raises(errors.UserError, match="no room on the disk"):
        vary(tmp_path / "broken", broken, 3)


def test_among_equal_trials_the_recipe_is_kept(tmp_path):
    for _ in range(2):
        best, rows = vary(tmp_path / "equal", lambda settings: 0.5, 5)
        assert best == CONFIG.evaluator
        assert [row["trial"] for row in rows] == list(range(5))


def test_broken_trials_are_one_line(tmp_path):
    vary(tmp_path / "run", parabola, 2)
    (tmp_path / "run/oracle.json").write_text('{"seed":')
    with pytest.raises(errors.UserError, match="expected KerasTuner's trials, found .*; remove it") as error:
        vary(tmp_path / "run", parabola, 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("preset", presets.NAMES)
def test_ranges_lie_around_the_recipe_and_what_is_off_stays_off(preset):
    config = presets.preset(preset)
    for settings, varied in ((config.evaluator, tuning.EVALUATOR), (config.generator, tuning.GENERATOR)):
        hp = keras_tuner.HyperParameters()
        assert settings_lib._suggest(settings, varied, hp) == settings
        assert {entry.name for entry in hp.space} == {name for name in varied if getattr(settings, name)}
        for seed in range(30):
            hp.values = {entry.name: entry.random_sample(seed) for entry in hp.space}
            found = settings_lib._suggest(settings, varied, hp)
            ratio = found.final_learning_rate / found.learning_rate
            assert ratio == pytest.approx(settings.final_learning_rate / settings.learning_rate)
            if settings is config.generator and settings.advantage == "normalised":
                assert found.samples >= 2


# ---- --tuned -------------------------------------------------------------------------------------------------------


def test_tuned_settings_are_those_of_the_best_trials(folder):
    best = json.loads((folder / "best.json").read_text())
    found = tuning.tuned(CONFIG, folder / "best.json")
    assert dataclasses.asdict(found.evaluator) == dataclasses.asdict(CONFIG.evaluator) | best["evaluator"]
    assert dataclasses.asdict(found.generator) == dataclasses.asdict(CONFIG.generator) | best["generator"]
    unchanged = dataclasses.replace(found, evaluator=CONFIG.evaluator, generator=CONFIG.generator)
    assert unchanged == CONFIG


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[1]", "expected settings of evaluator and generator, found \\[1\\]"),
        ('{"predictors": {}}', "expected settings of evaluator and generator, found predictors"),
        ('{"evaluator": 3}', "expected the settings of the evaluator, found 3"),
        ('{"evaluator": {"depth": 3}}', "evaluator has no setting 'depth'; choose from learning_rate, weight_decay"),
        ('{"generator": {"budgets": 3}}', "generator has no setting 'budgets'"),
        ('{"evaluator": {"hidden": "many"}}', "evaluator.hidden: expected a whole number from 1, found 'many'"),
        ('{"evaluator": {"hidden": 2.5}}', "evaluator.hidden: expected a whole number from 1, found 2.5"),
        ('{"evaluator": {"hidden": true}}', "evaluator.hidden: expected a whole number from 1, found True"),
        ('{"generator": {"samples": 1}}', "generator.samples: expected a whole number from 2, found 1"),
        ('{"generator": {"learning_rate": 0}}', "generator.learning_rate: expected a number above 0, found 0"),
        ('{"generator": {"aim": -0.1}}', "generator.aim: expected a number from 0, found -0.1"),
        ('{"generator": {"aim": NaN}}', "generator.aim: expected a number from 0, found nan"),
        ('{"generator": {"aim": null}}', "generator.aim: expected a number from 0, found None"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, text, message):
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(errors.UserError, match=message) as error:
        tuning.tuned(CONFIG, tmp_path / "best.json")
    assert str(tmp_path / "best.json") in str(error.value) and "\n" not in str(error.value)


def test_a_run_takes_tuned_settings_until_something_depends_on_the_old_ones(tmp_path):
    stages.enter(context.make(CONFIG, tmp_path, "records.csv"))
    found = dataclasses.replace(CONFIG, evaluator=dataclasses.replace(CONFIG.evaluator, hidden=48))
    stages.enter(context.make(found, tmp_path, "records.csv"))
    (tmp_path / "evaluator").mkdir()
    stages.enter(context.make(found, tmp_path, "records.csv"))
    with pytest.raises(errors.UserError, match="evaluator.hidden is 48 there and 32 here"):
        stages.enter(context.make(CONFIG, tmp_path, "records.csv"))
    with pytest.raises(errors.UserError, match="seed is 0 there and 5 here"):
        stages.enter(context.make(dataclasses.replace(found, seed=5), tmp_path, "records.csv"))
