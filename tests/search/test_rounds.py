"""Active rounds: what is chosen is new, keeps the budgets, and is better than what chance finds."""

import numpy as np
import pytest

from pnag_tf.search import process, records, rounds
from pnag_tf.space import space as space_lib


def choose(records_, budgets_ms, count, seed=0, **more):
    latency = rounds.latency_of(records_)
    return rounds.choose(records_, latency, budgets_ms, count, np.random.default_rng(seed), **more)


def test_choose_names_new_architectures_that_fit(table):
    budgets_ms, latency = [7.0, 9.0], rounds.latency_of(table)
    chosen, climbers = choose(table, budgets_ms, 60)
    assert len(chosen) == 60 and len(np.unique(chosen, axis=0)) == 60
    assert table.lacks(chosen).all() and table.lacks(climbers).all()
    assert latency(chosen).max() <= 9.0 and np.mean(latency(chosen) <= 7.0) > 0.4
    np.testing.assert_array_equal(chosen, choose(table, budgets_ms, 60)[0])


def test_choose_spends_no_measurement_twice(truth):
    tiny = space_lib.SearchSpace(units=1, depths=(1, 2), kernels=(3,), ratios=(2, 3, 4))
    everything = np.unique(tiny.sample(np.random.default_rng(0), 500), axis=0)
    assert len(everything) == tiny.size == 12
    top1 = 0.5 + 0.01 * tiny.one_hot(everything).sum(1)
    known = records.Records(tiny, everything, top1, 1 + np.arange(12.0))
    chosen, climbers = choose(known[:10], [20.0], 60)
    assert {row.tobytes() for row in chosen} == {row.tobytes() for row in everything[10:]}
    chosen, climbers = choose(known, [20.0], 60)
    assert len(chosen) == 0 and len(climbers) == 0
    grown, _ = rounds.grow(known, rounds.latency_of(known), [20.0], 5, np.random.default_rng(0), None)
    assert grown is known


def test_rounds_find_more_than_as_many_random_networks(space, truth):
    budgets_ms, rng = [6.0, 7.5, 9.0], np.random.default_rng(0)

    def measure(choices):
        return records.Records(space, choices, *truth(choices))

    found, climbers = measure(space.sample(rng, 24)), None
    parts = rounds.sizes(96, len(budgets_ms))
    for number, count in enumerate(parts):
        latency, spread = rounds.latency_of(found), rounds.spread(number, len(parts))
        found, climbers = rounds.grow(found, latency, budgets_ms, count, rng, measure, spread, climbers)
    assert len(found) == 120
    random = measure(space.sample(rng, 2000))
    for budget_ms in budgets_ms:
        best = rounds.best_measured(found, budget_ms, 1).top1[0]
        assert best > rounds.best_measured(random[:120], budget_ms, 1).top1[0]
        assert best > rounds.best_measured(random, budget_ms, 1).top1[0] - 0.002


def test_of_very_many_records_the_best_are_taken(table, monkeypatch):
    monkeypatch.setattr(process, "MOST", 40)
    near = rounds._near(table, [7.0], np.random.default_rng(0))
    assert len(near) == 40
    best = rounds.best_measured(table, 7.0, 20)
    assert not near.lacks(best.choices).any()
    assert rounds._near(near, [7.0], np.random.default_rng(0)) is near


@pytest.mark.parametrize(
    ("count", "budgets", "asked", "expected"),
    [
        (300, 5, 0, [10] * 30),
        (45, 5, 0, [12, 11, 11, 11]),
        (7, 5, 0, [7]),
        (7, 1, 3, [3, 2, 2]),
        (2, 1, 5, [1, 1]),
        (0, 5, 0, []),
        (-3, 5, 0, []),
    ],
)
def test_rounds_are_small_and_as_large_as_each_other(count, budgets, asked, expected):
    assert rounds.sizes(count, budgets, asked) == expected
