"""The ablation tables: every variant changes one thing, and the tables hold what the variants found."""

import dataclasses

import numpy as np
import pytest

from pnag_tf import config, recipes
from pnag_tf.search import ablation

EVALUATOR, GENERATOR = recipes.SEARCH["tiny"][1:3]
CONFIG = config.Config(
    "tiny",
    evaluator=dataclasses.replace(EVALUATOR, epochs=2),
    generator=dataclasses.replace(GENERATOR, iterations=50),
    eval=config.Eval(samples=50),
)


def variant(name):
    return next(found for found in ablation.variants(CONFIG.generator) if found.name == name)


def test_every_variant_differs_from_the_full_method_in_one_setting():
    full, *others = ablation.variants(config.Generator())
    assert full.settings == config.Generator() and full.accuracy and full.joint
    for other in others:
        fields = dataclasses.fields(config.Generator)
        changed = [f.name for f in fields if getattr(other.settings, f.name) != getattr(full.settings, f.name)]
        assert len(changed) + (not other.accuracy) + (not other.joint) == 1, other.name
    names = [found.name for found in (full, *others)]
    assert len(set(names)) == len(names)
    assert [found.settings.budgets for found in others if found.name.startswith("budgets")] == [1, 2, 5, 30]


@pytest.mark.parametrize("name", ["budgets_1", "independent", "latency_only"])
def test_variants_propose_for_every_budget(name, table, predictors):
    budgets_ms = np.quantile(table.latency_ms, [0.3, 0.7])
    found = ablation.run(variant(name), table, predictors, CONFIG, budgets_ms)
    assert [proposal.budget_ms for proposal in found] == list(budgets_ms)
    assert all((proposal.latency_ms <= proposal.budget_ms).all() for proposal in found)


def test_tables_by_hand():
    settings = config.Generator()
    results = {
        found.name: [
            {"budget_ms": "20", "predicted_top1": "0.7", "predicted_latency_ms": "20"},
            {"budget_ms": "30", "predicted_top1": "0.8", "predicted_latency_ms": "29.5"},
        ]
        for found in ablation.variants(settings)
    }
    results["absolute"][1] = {"budget_ms": "30", "predicted_top1": "0.6", "predicted_latency_ms": "30.1"}
    budgets, search, reward = ablation.tables(results, settings)
    assert [row["variant"] for row in budgets[1]] == ["K = 1", "K = 2", "K = 5", "K = 10", "K = 30"]
    assert [row["variant"] for row in search[1]] == ["joint", "independent"]
    assert reward[1][-1] == {"variant": "absolute", "20 ms": "70.00", "30 ms": "60.00!", "mean": "65.00!"}
    assert reward[0] == "reward (predicted top1, %; ! over budget)" and reward[1][0]["30 ms"] == "80.00"


def test_tables_show_what_was_measured_where_all_was():
    rows = [{"budget_ms": "20", "predicted_top1": "0.7", "predicted_latency_ms": "21"}]
    rows[0] |= {"measured_top1": "0.5", "measured_latency_ms": "20"}
    results = {found.name: rows for found in ablation.variants(config.Generator())}
    title, lines = ablation.tables(results, config.Generator())[0]
    assert title.endswith("(measured top1, %; ! over budget)") and lines[0]["20 ms"] == "50.00"
