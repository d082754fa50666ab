"""The ablation tables: every variant changes one thing, and the tables hold what the variants found."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf import config, presets
from pnag_tf.search import ablation, reinforce
from pnag_tf.search import proposals as search

EVALUATOR, GENERATOR = presets.preset("tiny").evaluator, presets.preset("tiny").generator
CONFIG = config.Config(
    "tiny",
    evaluator=dataclasses.replace(EVALUATOR, epochs=2),
    generator=dataclasses.replace(GENERATOR, iterations=50),
    eval=config.Eval(samples=50),
)


def variant(name):
    return next(found for found in ablation.variants(CONFIG.generator) if found.name == name)


@pytest.fixture(scope="module")
def budgets_ms(table):
    return np.quantile(table.latency_ms, [0.3, 0.7])


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


@pytest.fixture(scope="module", params=[found.name for found in ablation.variants(CONFIG.generator)])
def played(request, table, predictors, budgets_ms):
    """(variant, proposals, evaluators, policies) of every variant, with what each was trained for.

    Evaluators are (budgets in ms, whether accuracy counts, evaluator), policies (settings, budgets in ms, reward).
    """
    evaluators, policies = [], []
    train_evaluator, train_policy = search.train_evaluator, reinforce.train

    def evaluator(records, predictors, settings, trained_ms, seed, accuracy, progress):
        found = train_evaluator(records, predictors, settings, trained_ms, seed, accuracy, progress)
        evaluators.append((list(trained_ms), accuracy, found[0]))
        return found

    def policy(space, rewards, settings, trained_ms, *args, **kwargs):
        policies.append((settings, list(trained_ms), rewards))
        return train_policy(space, rewards, settings, trained_ms, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "train_evaluator", evaluator)
        patch.setattr(reinforce, "train", policy)
        found = ablation.run(variant(request.param), table, predictors, CONFIG, budgets_ms)
    return variant(request.param), found, evaluators, policies


def test_every_variant_is_trained_as_it_says_and_proposes_for_every_budget(played, table, budgets_ms):
    tried, found, evaluators, policies = played
    assert [proposal.budget_ms for proposal in found] == list(budgets_ms)
    for proposal in found:
        assert len(proposal) and (np.diff(proposal.top1) <= 0).all()
        if tried.settings.reward == "pareto":  # the others may trade the budget
            assert (proposal.latency_ms <= proposal.budget_ms).all()
    if tried.joint:
        expected_ms = [list(search.training_budgets(table, tried.settings))]
        assert len(expected_ms[0]) == tried.settings.budgets
    else:
        expected_ms = [[budget_ms] for budget_ms in budgets_ms]
    assert [trained_ms for _, trained_ms, _ in policies] == expected_ms
    assert [settings.budgets for settings, _, _ in policies] == list(map(len, expected_ms))
    if tried.settings.reward == "pareto":
        assert [trained_ms for trained_ms, _, _ in evaluators] == expected_ms
        assert {accuracy for _, accuracy, _ in evaluators} == {tried.accuracy}
        for (_, _, evaluator), (_, _, rewards) in zip(evaluators, policies, strict=True):
            assert rewards == evaluator.graph
    else:
        assert not evaluators


def test_every_reward_is_that_of_its_row(played, space, predictors):
    """Among what keeps the largest budget: the more accurate, the faster, or MnasNet's and TuNAS's formulas."""
    tried, _, evaluators, policies = played
    _, trained_ms, rewards = policies[-1]
    budget_ms, choices = trained_ms[-1], space.sample(np.random.default_rng(6), 300)
    top1, _, latency_ms = predictors.predict(choices)
    mix = np.eye(len(trained_ms), dtype="float32")[np.full(len(choices), -1)]
    values = rewards(tf.constant(choices), tf.constant(mix)).numpy()
    if tried.settings.reward == "pareto":
        keeps = latency_ms <= 0.98 * budget_ms
        pairs = np.sign(latency_ms[keeps, None] - latency_ms[keeps]), np.sign(top1[keeps, None] - top1[keeps])
        order = np.sign(values[keeps, None] - values[keeps])
        by_latency, by_top1 = (np.mean(order * part) for part in pairs)
        assert by_top1 > 0.4 if tried.accuracy else by_latency < -0.4
    else:
        relative, exponent = latency_ms / budget_ms, tried.settings.reward_exponent
        expected = {"multi_objective": top1 * relative**exponent, "absolute": top1 + exponent * abs(relative - 1)}
        np.testing.assert_allclose(values, expected[tried.settings.reward], rtol=1e-4)


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
