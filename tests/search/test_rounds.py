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
    chosen, climbers, _ = choose(table, budgets_ms, 60)
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
    chosen, climbers, _ = choose(known[:10], [20.0], 60)
    assert {row.tobytes() for row in chosen} == {row.tobytes() for row in everything[10:]}
    chosen, climbers, _ = choose(known, [20.0], 60)
    assert len(chosen) == 0 and len(climbers) == 0
    plan, kept = rounds.Plan(5), []
    how = (rounds.latency_of, [20.0], np.random.default_rng, None)
    grown = rounds.grow(plan, known, *how, keep=lambda *now: kept.append(now))
    assert grown is known and kept[-1][1].measured == 5 and tiny.decode(kept[-1][1].climbers) == []


def test_rounds_find_more_than_as_many_random_networks(space, truth):
    budgets_ms, rng = [6.0, 7.5, 9.0], np.random.default_rng(0)

    def measure(choices):
        return records.Records(space, choices, *truth(choices))

    found = rounds.grow(
        rounds.Plan(96), measure(space.sample(rng, 24)), rounds.latency_of, budgets_ms, lambda number: rng, measure
    )
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


def test_rounds_go_on_from_a_state_as_if_they_had_not_stopped(space, truth):
    def measure(choices):
        return records.Records(space, choices, *truth(choices))

    plan, budgets_ms, kept = rounds.Plan(24, 4), [7.0, 9.0], []
    start = measure(space.sample(np.random.default_rng(0), 24))
    how = (rounds.latency_of, budgets_ms, np.random.default_rng, measure)
    whole = rounds.grow(plan, start, *how, keep=lambda *now: kept.append(now))
    assert [state.done for _, state in kept] == [1, 2, 3, 4] and kept[-1][0] is whole
    again = rounds.grow(plan, kept[1][0], *how, kept[1][1])
    np.testing.assert_array_equal(again.choices, whole.choices)


def test_rounds_take_the_time_they_have(space, truth, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(rounds.time, "monotonic", lambda: now[0])

    def measure(choices):
        now[0] += 2.0 * len(choices)  # seconds
        return records.Records(space, choices, *truth(choices))

    start, kept = measure(space.sample(np.random.default_rng(0), 24)), []
    plan = rounds.Plan(10_000, seconds=201.0)
    how = (rounds.latency_of, [7.0, 9.0], np.random.default_rng, measure)
    found = rounds.grow(plan, start, *how, keep=lambda *now: kept.append(now[1]))
    assert len(found) == 24 + 100  # two seconds each
    assert kept[0].measured == 2 and kept[-1].seconds == 200.0 and len(kept) == 26
    assert rounds.left(plan, 2, kept[-1]) == [] and [each.count for each in rounds.left(plan, 2, kept[-2])] == [3]
    (last,) = rounds.left(rounds.Plan(6, seconds=201.0), 2, kept[0])  # whichever is reached first
    assert last.count == 4 and last.spread == rounds.LAST_SPREAD


def test_many_measurements_start_several_times_and_then_go_on_from_everything(space, truth, monkeypatch):
    monkeypatch.setattr(rounds, "LEAST_TO_START_AGAIN", 32)
    chosen, seen = rounds.choose, []

    def choose(known, latency, budgets_ms, count, rng, spread, climbers, measured):
        seen.append((len(known), spread, climbers is None))
        found = chosen(known, latency, budgets_ms, count, rng, spread, climbers, measured)
        assert measured.lacks(found[0]).all()
        return found

    def measure(choices):
        return records.Records(space, choices, *truth(choices))

    monkeypatch.setattr(rounds, "choose", choose)
    start, kept = measure(space.sample_distinct(np.random.default_rng(0), 24, space.smallest()[None])), []
    how = (rounds.latency_of, [7.0, 9.0], np.random.default_rng, measure)
    whole = rounds.grow(rounds.Plan(32), start, *how, keep=lambda *now: kept.append(now))
    assert len(whole) == 24 + 32
    first, last = rounds.FIRST_SPREAD, rounds.LAST_SPREAD
    alone = [(24, first, True), (28, last, False)]
    assert seen == [*alone * rounds.STARTS, (48, first, True), (52, last, False)]
    again = rounds.grow(rounds.Plan(32), kept[2][0], *how, kept[2][1])  # within the second start
    np.testing.assert_array_equal(again.choices, whole.choices)
    assert {(each.starts, each.alone) for each in rounds.left(rounds.Plan(32, 2), 2, rounds.BEGINNING)} == {
        (True, False),  # so many rounds were asked for
        (False, False),
    }


@pytest.mark.parametrize(
    ("count", "budgets", "asked", "expected"),
    [
        (1200, 5, 0, [20] * 60),
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


def test_rounds_end_once_little_is_expected_of_going_on(space, truth):
    def measure(choices):
        return records.Records(space, choices, *truth(choices))

    start, kept = measure(space.sample_distinct(np.random.default_rng(0), 24, space.smallest()[None])), []
    how = (rounds.latency_of, np.array([6.0, 7.5, 9.0]), np.random.default_rng, measure)
    whole = rounds.grow(rounds.Plan(96), start, *how, keep=lambda *now: kept.append(now[1]))
    gains = [state.gain for state in kept]
    assert gains[-1] < 0.2 * gains[0] and all(gain >= 0 for gain in gains)
    least = gains[len(gains) // 2] + 1e-9
    number = next(place for place, gain in enumerate(gains) if gain < least)
    plan = rounds.Plan(96, least_gain=least)
    ended = rounds.grow(plan, start, *how, keep=lambda *now: kept.append(now[1]))
    np.testing.assert_array_equal(ended.choices, whole.choices[: 24 + kept[number].measured])
    assert not rounds.left(plan, 3, kept[-1])
    assert rounds.left(rounds.Plan(96), 3, kept[-1])  # asked for less, it goes on
    again = rounds.grow(rounds.Plan(96), ended, *how, kept[-1])
    np.testing.assert_array_equal(again.choices, whole.choices)


def test_the_expected_gain_is_about_what_there_is_to_gain(space, truth):
    budgets_ms, rng = np.array([6.0, 7.5, 9.0]), np.random.default_rng(1)
    everything = records.Records(space, many := space.sample(rng, 20_000), *truth(many))
    known = everything[:60]
    gain = choose(known, budgets_ms, 6)[2]
    left = [
        rounds.best_measured(everything, each, 1).top1[0] - rounds.best_measured(known, each, 1).top1[0]
        for each in budgets_ms
    ]
    assert 0.3 * np.mean(left) < gain < 3 * np.mean(left)
    assert choose(known, np.array([0.1, 9.0]), 6)[2] == 1.0  # no record keeps one of the budgets


def test_gain_is_counted_for_each_budget_from_its_own_best():
    values = np.array([[1.0, 1.0], [3.0, 3.0], [2.0, 0.0], [9.0, 5.0]])  # two records, two others
    latency_ms, budgets_ms = np.array([1.0, 2.0, 1.0, 2.0]), np.array([1.0, 2.0])
    assert rounds._gain(values, latency_ms, budgets_ms) == np.mean([[1.0, 0.0], [6.0, 2.0]])
