"""Proposals for any budget, and the pseudo-labels that they are learned from."""

import dataclasses

import numpy as np
import pytest

from pnag_tf import config, presets
from pnag_tf.search import baselines, candidates, rounds
from pnag_tf.search import proposals as search
from pnag_tf.util import errors


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


def test_records_of_one_latency_leave_no_budgets(table):
    same = dataclasses.replace(table, latency_ms=np.full(len(table), 3.0))
    with pytest.raises(errors.UserError, match="records: expected different latencies, found 3 ms for all"):
        search.training_budgets(same, config.Generator(budgets=3))


def test_the_best_within_a_budget_keep_it_whatever_their_values():
    values, latency_ms = np.array([[-0.05], [0.5], [-0.04], [0.9]]), np.array([0.02, 0.03, 0.02, 0.027])
    (order,) = search.best_within(values, latency_ms, 0.025, 3)
    assert order.tolist() == [2, 0, 3]  # where too few keep it, the fastest of the others


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


def test_what_was_measured_is_refined_with_the_samples(predictors, generator, table):
    budgets_ms = generator.budgets_ms[1:3]
    fits = [np.flatnonzero(table.latency_ms <= 0.95 * budget_ms) for budget_ms in budgets_ms]
    best = [rows[np.argmax(predictors.top1(table.choices[rows]))] for rows in fits]
    measured = dataclasses.replace(table[best], top1=np.ones(len(best)))
    alone = search.propose(generator, predictors, budgets_ms, 4, 0)
    for generations in (0, 3):
        found = search.propose(generator, predictors, budgets_ms, 4, 0, refinement=generations, measured=measured)
        for each, place, without in zip(found, best, alone, strict=True):
            known = predictors.top1(table.choices[[place]])[0]
            assert each.top1[0] >= max(known, without.top1[0]) - 1e-6 and each.latency_ms[0] <= each.budget_ms
    nothing = search.propose(generator, predictors, budgets_ms, 4, 0, measured=table[:0])
    np.testing.assert_array_equal(nothing[0].choices, alone[0].choices)


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
