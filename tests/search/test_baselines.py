"""The compared searches: one signature, the budget kept, better than chance."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf import config, presets
from pnag_tf.search import baselines, candidates, reinforce
from pnag_tf.search import proposals as search

CONFIG = config.Config("tiny", generator=presets.preset("tiny").generator, eval=config.Eval(samples=100))


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


class _Watched:
    """Predictors that keep the latencies of every batch whose accuracy is asked for."""

    def __init__(self, predictors):
        self._predictors, self.batches = predictors, []

    def __getattr__(self, name):
        return getattr(self._predictors, name)

    def predict(self, choices):
        answer = self._predictors.predict(choices)
        self.batches.append(answer[2])
        return answer


def test_every_child_of_evo_keeps_the_limit_of_all_candidates(space, predictors, budgets_ms):
    watched = _Watched(predictors)
    limit_ms = candidates.limit_ms(predictors, budgets_ms[0])
    population = baselines.evolve(
        space, watched, limit_ms, np.random.default_rng(0), lambda top1, *_: top1, hard=True, generations=20
    )
    assert len(watched.batches) == 21 and all(len(batch) == baselines.POPULATION for batch in watched.batches)
    assert max(batch.max() for batch in watched.batches) <= limit_ms + 1e-5 and len(population[0]) == 125


def test_evo_evolves_to_the_limit_and_is_not_cut_there(space, predictors, budgets_ms, monkeypatch):
    asked, evolve = [], baselines.evolve
    monkeypatch.setattr(
        baselines, "evolve", lambda *args, **kw: asked.append(args[2]) or evolve(*args, **kw, generations=5)
    )
    baselines.evo(space, predictors, budgets_ms[:1], np.random.default_rng(0), CONFIG)
    assert asked == [candidates.limit_ms(predictors, budgets_ms[0])] and asked[0] < budgets_ms[0]


def test_a_budget_that_one_network_keeps_ends(space, predictors):
    smallest_ms = predictors.latency_ms(space.smallest()[None])[0]
    choices, _, latency_ms = baselines.evolve(
        space, predictors, smallest_ms + 1e-4, np.random.default_rng(0), lambda top1, *_: top1, True, generations=5
    )
    np.testing.assert_array_equal(choices[0], space.smallest())
    assert latency_ms[0] <= smallest_ms + 1e-4


def test_nas_mo_is_trained_for_its_budget_and_refined(space, predictors, budgets_ms, monkeypatch):
    """Rewards are asked for at the budget itself, not at a part of it; the samples are refined as PNAG's are."""
    make, refined, generations = reinforce.reward, search.refine, []

    def at_the_budget(*args):
        rewards = make(*args)

        def checked(choices, mix):
            with tf.control_dependencies([tf.debugging.assert_near(mix, tf.ones_like(mix))]):
                return rewards(choices, mix)

        return checked

    monkeypatch.setattr(reinforce, "reward", at_the_budget)
    monkeypatch.setattr(search, "refine", lambda *args: generations.append(args[2]) or refined(*args))
    settings = dataclasses.replace(CONFIG.generator, iterations=10)
    whole = dataclasses.replace(CONFIG, generator=settings, eval=config.Eval(samples=50, refinement=3))
    found = baselines.nas_mo(space, predictors, budgets_ms[:1], np.random.default_rng(0), whole)
    assert generations == [3] and found[0].latency_ms.max() <= budgets_ms[0]


def test_multi_objective_by_hand():
    assert baselines.multi_objective(0.8, 20.0, 20.0) == 0.8
    assert baselines.multi_objective(0.8, 40.0, 20.0) == pytest.approx(0.8 * 2**-0.07)


def test_evolution_asks_for_whole_populations(space, predictors):
    """One call a generation, not one a child; how long that takes, benchmarks/search.py tells."""
    assert (baselines.POPULATION, baselines.GENERATIONS) == (100, 500)
    asked, latencies = [], []
    counted = types.SimpleNamespace(
        predict=lambda choices: asked.append(len(choices)) or predictors.predict(choices),
        latency_ms=lambda choices: latencies.append(len(choices)) or predictors.latency_ms(choices),
    )
    baselines.evolve(
        space, counted, 7.0, np.random.default_rng(0), lambda top1, *_: top1, hard=True, population=40, generations=15
    )
    assert asked[0] == max(asked) == 40 and len(asked) <= 1 + 15
    assert len(latencies) <= (1 + 15) * (1 + baselines.REDRAWS) and max(latencies) == 40


def test_independent_policies_take_any_reward(space, predictors):
    settings = dataclasses.replace(CONFIG.generator, reward="absolute", iterations=50)
    found = baselines.independent(predictors, [7.0], np.random.default_rng(0), CONFIG, settings)
    assert len(found) == 1 and len(found[0]) > 0
