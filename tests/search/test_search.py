"""Proposals for any budget, pseudo-labels, and active rounds with good and broken measuring commands."""

import dataclasses
import shlex
import sys
import time

import numpy as np
import pytest

from pnag_tf import config, presets
from pnag_tf.search import baselines, candidates, records, reinforce, rounds
from pnag_tf.search import proposals as search
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors


@pytest.fixture(scope="module")
def generator(space, predictors, trained):
    evaluator, _ = trained
    found, _ = reinforce.train(space, evaluator.graph, presets.preset("tiny").generator, evaluator.budgets_ms, 0)
    return found


def test_training_budgets_span_the_records_range(table):
    settings = config.Generator(budgets=10)
    found = search.training_budgets(table, settings)
    assert len(found) == 10 and (np.diff(found) > 0).all()
    assert table.latency_ms.min() < found[0] < np.quantile(table.latency_ms, 0.2)
    np.testing.assert_allclose(np.diff(found), np.diff(found)[0])
    assert len(search.training_budgets(table, config.Generator(budgets=1))) == 1
    whole = search.training_budgets(table, dataclasses.replace(settings, first_budget=0.0))  # as in section E
    np.testing.assert_allclose(whole, np.linspace(table.latency_ms.min(), table.latency_ms.max(), 10))
    ratios = search.training_budgets(table, dataclasses.replace(settings, spacing="geometric"))
    assert whole[0] < ratios[0] < found[0] and ratios[-1] == pytest.approx(found[-1])
    np.testing.assert_allclose(ratios[1:] / ratios[:-1], ratios[1] / ratios[0])


def test_pseudo_labels_reach_beyond_the_records(table, predictors):
    budgets_ms = search.training_budgets(table, config.Generator(budgets=4))
    rng = np.random.default_rng(0)
    pseudo = search.near_frontier(predictors, table.choices[:100], budgets_ms, 1000, rng)
    assert 300 < len(pseudo) <= 1000
    known = {row.tobytes() for row in table.choices[:100]}
    assert not known & {row.tobytes() for row in pseudo.choices}
    np.testing.assert_allclose(pseudo.top1, predictors.top1(pseudo.choices), rtol=1e-5)
    start = predictors.predict(table.choices[:100])
    for budget_ms in budgets_ms[1:]:
        best = start[0][start[2] <= budget_ms].max()
        assert pseudo.top1[pseudo.latency_ms <= budget_ms].max() > best


def test_proposals_keep_their_budgets_and_are_ranked(space, predictors, generator):
    budgets_ms = generator.budgets_ms[:-1] + 0.3 * np.diff(generator.budgets_ms)  # between the trained ones
    found = search.propose(generator, predictors, budgets_ms, 300, seed=0)
    for proposal, budget_ms in zip(found, budgets_ms, strict=True):
        assert proposal.budget_ms == budget_ms
        assert (proposal.latency_ms <= budget_ms).all()
        assert (np.diff(proposal.top1) <= 0).all()
        assert len(np.unique(proposal.choices, axis=0)) == len(proposal)
    assert found[0].top1[0] <= found[1].top1[0] + 1e-3


def test_a_budget_outside_warns_and_names_the_range(predictors, generator, caplog):
    with caplog.at_level("WARNING"):
        (high,) = search.propose(generator, predictors, [1000.0], 50, 0)
        (low,) = search.propose(generator, predictors, [0.1], 50, 0)
    assert "outside the trained range" in caplog.text and f"{generator.budgets_ms[-1]:.4g} ms" in caplog.text
    assert "no proposal keeps it" in caplog.text
    assert len(high) > 1 and len(low) == 1


def test_pessimism_prefers_what_the_ensemble_agrees_on(predictors, table):
    bold = candidates.rank(predictors, 100.0, table.choices)
    careful = candidates.rank(predictors, 100.0, table.choices, pessimism=1e3)
    top1, disagreement, _ = predictors.predict(careful.choices)
    assert (np.diff(top1 - 1e3 * disagreement) <= 1e-9).all()
    assert (careful.choices != bold.choices).any()
    assert set(map(bytes, bold.choices)) == set(map(bytes, careful.choices))


def test_samples_keep_their_budget(predictors, generator):
    found = search.satisfaction(generator, predictors, generator.budgets_ms, 200, 0)
    assert found.shape == (3,) and (found[1:] > 0.7).all()


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
    monkeypatch.setattr(rounds, "HELD", 40)
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


def test_measured_comes_before_predicted_unless_that_promises_more(predictors, generator, table):
    (proposal,) = search.propose(generator, predictors, [7.0], 50, 0)
    best = table.top1[table.latency_ms <= 7.0].max()
    for shift, place in ((-1, 0), (1, 1)):
        promised = dataclasses.replace(proposal, top1=proposal.top1 + shift)
        (found,) = rounds.confirm([promised], table)
        assert len(found) == len(proposal) + 1
        assert found.top1[place] == best and found.latency_ms[place] <= 7.0
        assert found.top1[1 - place] == promised.top1[0]
        np.testing.assert_array_equal(found.choices[1 - place], proposal.choices[0])
        np.testing.assert_array_equal(found.choices[2:], proposal.choices[1:])
    over = dataclasses.replace(proposal, top1=proposal.top1 + 1, latency_ms=proposal.latency_ms + 10)
    assert rounds.confirm([over], table)[0].top1[0] == best
    (nothing,) = rounds.confirm([dataclasses.replace(proposal, budget_ms=0.1)], table)
    np.testing.assert_array_equal(nothing.choices, proposal.choices)


@pytest.mark.parametrize(("shift", "place"), [(-1, 0), (1, 1)])
def test_no_architecture_is_confirmed_twice(shift, place, predictors, generator, table):
    (proposal,) = search.propose(generator, predictors, [7.0], 50, 0)
    best = rounds.best_measured(table, 7.0, 1)
    promised = dataclasses.replace(proposal, top1=proposal.top1 + shift)
    for row in (0, len(proposal) - 1):
        promised.choices[row] = best.choices[0]
        (found,) = rounds.confirm([promised], table)
        assert len(np.unique(found.choices, axis=0)) == len(found)
        np.testing.assert_array_equal(found.choices[place], best.choices[0])
        assert found.top1[place] == best.top1[0] and found.latency_ms[place] == best.latency_ms[0]
    (alone,) = rounds.confirm([promised[[0]]], table)
    np.testing.assert_array_equal(alone.choices, best.choices)
    assert alone.top1 == best.top1


def test_pnag_and_evo_end_near_the_best_of_a_table_whose_truth_is_known(space, predictors, generator, truth):
    """Regret in true top-1 to an evolution on the truth itself: PNAG's is small, and no larger than EVO's by much."""
    budgets_ms, rng = generator.budgets_ms, np.random.default_rng(0)
    pool = space.sample(rng, 20_000)
    for _ in range(20):
        top1, latency_ms = truth(pool)
        best = [np.where(latency_ms <= b, top1, -latency_ms).argsort()[-200:] for b in budgets_ms]
        parents = pool[np.concatenate(best)]
        pool = np.unique(np.concatenate([parents, space.mutate(rng, np.repeat(parents, 5, 0), 0.1)]), axis=0)
    top1, latency_ms = truth(pool)
    known = np.array([top1[latency_ms <= b].max() for b in budgets_ms])
    whole = config.Config("tiny", generator=presets.preset("tiny").generator, eval=presets.preset("tiny").eval)
    searches = {
        "pnag": search.propose(generator, predictors, budgets_ms, 300, 0, refinement=30),
        "evo": baselines.evo(space, predictors, budgets_ms, np.random.default_rng(0), whole),
    }
    regret = {}
    for method, found in searches.items():
        top1, latency_ms = truth(np.stack([proposal.choices[0] for proposal in found]))
        assert (latency_ms <= 1.005 * budgets_ms).all()
        regret[method] = np.mean(known - top1)
    assert regret["pnag"] < 0.005 and regret["pnag"] < regret["evo"] + 0.002


def test_recorded_are_the_best_within_each_budget_or_the_fastest(table):
    found, nothing = rounds.from_records(table, [7.0, 0.1], 3)
    inside = table.latency_ms <= 7.0
    np.testing.assert_allclose(found.top1, np.sort(table.top1[inside])[::-1][:3])
    assert (found.latency_ms <= 7.0).all() and found.budget_ms == 7.0
    assert len(nothing) == 1 and nothing.latency_ms[0] == table.latency_ms.min()


# ---- the measuring command -----------------------------------------------------------------------------------------

ECHO = (
    "import sys; print('arch,top1,latency_ms');"
    "[print('\"%s\",%.2f,%d' % (a.strip(), 0.5 + i / 100, i + 1)) for i, a in reversed(list(enumerate(sys.stdin)))]"
)


def measured(space, code, count=3, timeout_s=30.0):
    choices = np.unique(space.sample(np.random.default_rng(0), count), axis=0)
    return choices, rounds.command(f"{sys.executable} -c {shlex.quote(code)}", space, timeout_s)(choices)


def test_command_answers_in_any_order(space):
    choices, found = measured(space, ECHO)
    np.testing.assert_array_equal(found.choices, choices)
    np.testing.assert_allclose(found.top1, [0.5, 0.51, 0.52])
    np.testing.assert_allclose(found.latency_ms, [1, 2, 3])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no device')", "exit code 1, no device"),
        ("print('hello')", "expected a CSV with columns arch,top1,latency_ms, found hello"),
        ("pass", "found nothing"),
        ("print('arch,top1,latency_ms')", "expected 3 architectures; .* is not among 0"),
        (ECHO.replace("0.5 +", "80 +"), "expected top1 as a fraction"),
        (ECHO.replace("i + 1)", "-1)"), "latency_ms > 0"),
        (ECHO.replace("a.strip()", "'1:1:1'"), "record 1"),
        ("import sys; sys.stdout.buffer.write(bytes([255, 254, 0]))", "expected text"),
    ],
)
def test_broken_commands_are_one_line_errors(space, code, message):
    with pytest.raises(errors.UserError, match=message) as error:
        measured(space, code)
    assert "\n" not in str(error.value)


def test_a_hanging_command_is_stopped_with_all_it_started(space, tmp_path):
    mark = tmp_path / "alive"
    code = f"import time; time.sleep(2); open({str(mark)!r}, 'w')"
    with pytest.raises(errors.UserError, match="no answer within 0.5 s"):
        measured(space, code, timeout_s=0.5)
    time.sleep(2.5)
    assert not mark.exists()


def test_refinement_climbs_and_keeps_the_budgets(predictors, generator):
    budgets_ms = generator.budgets_ms
    plain = search.propose(generator, predictors, budgets_ms, 50, 0)
    refined = search.propose(generator, predictors, budgets_ms, 50, 0, refinement=5)
    again = search.propose(generator, predictors, budgets_ms, 50, 0, refinement=5)
    for before, after, same in zip(plain, refined, again, strict=True):
        np.testing.assert_array_equal(after.choices, same.choices)
        assert (after.latency_ms <= after.budget_ms).all() and after.budget_ms == before.budget_ms
        assert after.top1[0] >= before.top1[0] - 1e-6
    assert sum(after.top1[0] for after in refined) > sum(before.top1[0] for before in plain)
