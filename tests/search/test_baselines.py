"""The compared searches: one signature, the budget kept, better than chance."""

import dataclasses
import time

import numpy as np
import pytest

from pnag_tf import config, recipes
from pnag_tf.search import baselines

CONFIG = config.Config("tiny", generator=recipes.SEARCH["tiny"][2], eval=config.Eval(samples=100))


@pytest.fixture(scope="module")
def budgets_ms(table):
    return np.quantile(table.latency_ms, [0.2, 0.6])


@pytest.mark.parametrize("method", ["evo", "random", "nas_mo", "ofa_mo"])
def test_every_method_answers_in_one_form(space, predictors, budgets_ms, method, monkeypatch):
    monkeypatch.setattr(baselines, "GENERATIONS", 30)
    first, again = (
        getattr(baselines, method)(space, predictors, budgets_ms, np.random.default_rng(1), CONFIG) for _ in range(2)
    )
    for found, same, budget_ms in zip(first, again, budgets_ms, strict=True):
        assert found.budget_ms == budget_ms and len(found) > 0
        np.testing.assert_array_equal(found.choices, same.choices)
        np.testing.assert_array_equal(space.canonical(found.choices), found.choices)
        top1, _, latency_ms = predictors.predict(found.choices)
        np.testing.assert_allclose(found.top1, top1, rtol=1e-5)
        np.testing.assert_allclose(found.latency_ms, latency_ms, rtol=1e-5)
        if method in ("evo", "random"):
            assert (found.latency_ms <= budget_ms).all()
            assert found.top1[0] == found.top1.max()


def test_evolution_beats_random_choice(space, predictors, budgets_ms, table):
    evo = baselines.evo(space, predictors, budgets_ms, np.random.default_rng(0), CONFIG)
    for found in evo:
        inside = table.latency_ms <= found.budget_ms
        assert found.top1[0] >= predictors.top1(table.choices[inside]).max()


def test_evolution_finds_the_fastest_when_nothing_fits(space, predictors, table):
    choices, _, latency_ms = baselines.evolve(
        space, predictors, 0.01, np.random.default_rng(0), lambda top1, *_: top1, hard=True, generations=20
    )
    assert latency_ms[0] <= table.latency_ms.min() + 1e-3


def test_multi_objective_by_hand():
    assert baselines.multi_objective(0.8, 20.0, 20.0) == 0.8
    assert baselines.multi_objective(0.8, 40.0, 20.0) == pytest.approx(0.8 * 2**-0.07)


def test_one_budget_of_the_papers_space_takes_seconds(space, predictors):
    """OFA's population and generations, vectorised: the target is 2 s on two idle cores."""
    assert (baselines.POPULATION, baselines.GENERATIONS) == (100, 500)
    start = time.perf_counter()
    baselines.evolve(space, predictors, 7.0, np.random.default_rng(0), lambda top1, *_: top1, hard=True)
    assert time.perf_counter() - start < 10


def test_independent_policies_take_any_reward(space, predictors):
    settings = dataclasses.replace(CONFIG.generator, reward="absolute", iterations=50)
    found = baselines.independent(space, predictors, [7.0], np.random.default_rng(0), CONFIG, settings)
    assert len(found) == 1 and len(found[0]) > 0
