"""Dominance and the pairwise ranking loss by hand, and the evaluator's ranking."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf import config
from pnag_tf.search import budgets as interpolation
from pnag_tf.search import evaluator
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors


def loss(scores, preference):
    return float(evaluator.pairwise_hinge(tf.constant([scores]), tf.constant([preference], tf.float32)))


def dominance(top1, latency_ms, budget_ms, accuracy=True):
    """Under a single budget, ``[m, m]``."""
    return evaluator.dominance(*map(np.float32, (top1, latency_ms, [budget_ms])), accuracy)[0].numpy()


def test_dominance_by_hand():
    top1 = np.array([0.7, 0.8, 0.9, 0.8])
    latency_ms = np.array([10.0, 20.0, 30.0, 20.0])
    # Budget 25: 0, 1, 3 are feasible and rank by accuracy; 2 is not, so it loses to all of them by latency.
    # Nothing tells 1 and 3 apart.
    assert dominance(top1, latency_ms, 25).tolist() == [
        [0, -1, 1, -1],
        [1, 0, 1, 0],
        [-1, -1, 0, -1],
        [1, 0, 1, 0],
    ]


def test_of_equally_accurate_ones_the_faster_dominates():
    """Eqn. (E): neither accuracy clause holds, so that the third decides, by cost."""
    d = dominance(np.array([0.8, 0.8]), np.array([20.0, 10.0]), 25)
    assert d.tolist() == [[0, -1], [1, 0]]


def test_dominance_all_infeasible_ranks_by_latency():
    d = dominance(np.array([0.9, 0.1]), np.array([20.0, 10.0]), 5)
    assert d.tolist() == [[0, -1], [1, 0]]


def test_dominance_without_accuracy_always_prefers_the_faster():
    d = dominance(np.array([0.9, 0.1]), np.array([20.0, 10.0]), 100, accuracy=False)
    assert d.tolist() == [[0, -1], [1, 0]]


def test_dominance_is_antisymmetric():
    rng = np.random.default_rng(0)
    d = dominance(rng.random(50), rng.random(50), 0.5)
    assert (d == -d.T).all()


def test_dominance_is_eqn_e_for_every_pair_and_budget():
    rng = np.random.default_rng(0)
    top1 = np.float32(rng.integers(0, 5, 30) / 10)  # with ties
    latency_ms, budgets_ms = np.float32(rng.integers(1, 9, 30)), np.float32([0.5, 3.0, 5.5, 20.0])
    found = evaluator.dominance(top1, latency_ms, budgets_ms).numpy()
    for k, i, j in np.ndindex(found.shape):
        feasible = max(latency_ms[i], latency_ms[j]) <= budgets_ms[k]
        if feasible and top1[i] != top1[j]:
            expected = 1 if top1[i] > top1[j] else -1
        else:
            expected = int(latency_ms[i] < latency_ms[j]) - int(latency_ms[i] > latency_ms[j])
        assert found[k, i, j] == expected


def test_hinge_by_hand():
    better = [[0.0, 1.0], [-1.0, 0.0]]  # the first dominates
    assert loss([3.0, 1.0], better) == 0  # by more than the margin
    assert loss([0.5, 0.0], better) == pytest.approx(0.5)  # both ordered pairs miss half of it
    assert loss([0.0, 2.0], better) == pytest.approx(3)


def test_pairs_that_nothing_tells_apart_carry_no_loss():
    assert loss([5.0, -5.0], [[0.0, 0.0], [0.0, 0.0]]) == 0
    top1, latency_ms = np.float32([0.5, 0.5, 0.6]), np.float32([1, 1, 3])
    preference = evaluator.dominance(top1, latency_ms, np.float32([10]))[0].numpy()
    assert preference[0, 1] == 0 and preference[2, 0] == 1
    # Four pairs count; the first two score equal, the third is one half above them.
    assert loss([0.0, 0.0, 0.5], preference) == pytest.approx(0.5)


def test_all_infeasible_rank_by_latency():
    preference = evaluator.dominance(np.float32([0.9, 0.1]), np.float32([20, 10]), np.float32([5]))[0].numpy()
    assert loss([0.0, 1.0], preference) == 0
    assert loss([1.0, 0.0], preference) == pytest.approx(2)


def test_margins_grow_with_the_difference():
    top1, latency_ms = np.float32([0.50, 0.51, 0.9, 0.99]), np.float32([1, 2, 3, 9])
    found = evaluator.margins(top1, latency_ms, np.float32([5]), top1_unit=0.1, latency_unit_ms=1.0)[0].numpy()
    np.testing.assert_allclose(found[0], [0, -0.1, -1, 1], atol=1e-5)  # feasible beats infeasible by the full margin
    np.testing.assert_array_equal(found, -found.T)
    np.testing.assert_array_equal(np.sign(found), dominance(top1, latency_ms, 5))
    equal = evaluator.margins(np.float32([0.5, 0.5]), np.float32([1, 2]), np.float32([5]), 0.1, 1.0)[0].numpy()
    assert (equal == 0).all()  # unlike in Eqn. (E)


def test_interpolated_budgets():
    np.testing.assert_allclose(
        interpolation.weights([5, 10, 12.5, 20, 40], [10, 20, 30]),
        [[1, 0, 0], [1, 0, 0], [0.75, 0.25, 0], [0, 1, 0], [0, 0, 1]],
    )
    rows = interpolation.between(4, tf.constant([0, 1])).numpy()
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)
    budgets_ms = rows @ np.array([1.0, 2, 3, 4])
    assert all(low <= b <= low + 1 for low, b in zip((1, 2, 3, 3), budgets_ms, strict=True))


def test_a_budget_a_little_inside():
    mix = interpolation.weights([10, 15, 30], [10, 20, 30])
    lower = interpolation.inside(tf.constant(mix), 0.2).numpy()
    np.testing.assert_allclose(lower @ [10, 20, 30], [10, 14, 28], rtol=1e-6)  # the first budget has none below
    np.testing.assert_allclose(lower.sum(1), 1, rtol=1e-6)


def test_a_lone_budget_is_aimed_at_itself():
    """It has no gap that a part could be taken of."""
    np.testing.assert_array_equal(interpolation.inside(tf.ones([4, 1]), 0.1), np.ones([4, 1]))


def test_slack_of_a_lone_budget_is_seen_on_the_scale_of_several(space):
    settings = config.Evaluator(hidden=8, encoding="slack")
    several = evaluator.Evaluator(space, settings, np.linspace(3.0, 30.0, 10))
    lone = evaluator.Evaluator(space, settings, [30.0])
    np.testing.assert_allclose(lone.slack(29.0, 30.0), several.slack(29.0, 30.0), rtol=1e-6)


def test_learns_to_rank_held_out_architectures(trained):
    evaluator_, history = trained
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["tau"] > 0.7


def test_a_feasible_architecture_outscores_an_infeasible_one(space, predictors, trained):
    evaluator_, _ = trained
    choices = space.sample(np.random.default_rng(5), 400)
    latency_ms = predictors.latency_ms(choices)
    for budget_ms in (evaluator_.budgets_ms[1], evaluator_.budgets_ms[:2].mean()):
        scores = evaluator_.score(choices, budget_ms)
        inside, outside = scores[latency_ms <= 0.98 * budget_ms], scores[latency_ms > 1.02 * budget_ms]
        assert np.mean(inside[:, None] > outside[None, :]) > 0.92


class _Order:
    """Answers given scores, where `ranking` asks an evaluator."""

    budgets_ms = np.array([1.0, 5000.0])

    def __init__(self, order):
        self._order = order

    def score(self, choices, budget_ms):
        return self._order[: len(choices)]


def test_ranking_counts_every_held_out_architecture(table):
    many = table[np.arange(1600) % len(table)]
    many = dataclasses.replace(many, top1=np.linspace(0.1, 0.9, 1600), latency_ms=np.arange(2, 1602))
    order = np.where(np.arange(1600) < 1200, np.arange(1600), -np.arange(1600))  # the last quarter is turned round
    none, whole = evaluator.ranking(_Order(order), many)
    assert none["feasible"] == 0 and np.isnan(none["tau"])
    turned, pairs = 400 * 399 // 2 + 1200 * 400, 1600 * 1599 // 2
    assert whole["feasible"] == 1600 and whole["tau"] == pytest.approx(1 - 2 * turned / pairs)
    constant = evaluator.ranking(_Order(np.zeros(1600)), many)[1]
    assert constant["feasible"] == 1600 and np.isnan(constant["tau"])


def test_papers_form_trains_too(space, table, predictors):
    settings = config.Evaluator(hidden=64, epochs=15, batch_size=64)
    found, history = evaluator.train(table, predictors, settings, [6.0, 8.0, 10.0])
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["tau"] > 0.4
    assert np.isfinite(found.score(table.choices[:5], 7.0)).all()


def test_save_and_load(space, predictors, trained, tmp_path):
    evaluator_, _ = trained
    evaluator_.save(tmp_path)
    again = evaluator.load(tmp_path, space, predictors)
    choices = space.sample(np.random.default_rng(1), 20)
    np.testing.assert_array_equal(again.score(choices, 7.3), evaluator_.score(choices, 7.3))
    with pytest.raises(errors.UserError, match="another space"):
        evaluator.load(tmp_path, space_lib.SearchSpace(), predictors)


def test_unknown_settings_name_the_choices(table, predictors):
    for name in ("loss", "encoding", "optimizer"):
        with pytest.raises(ValueError, match=f"evaluator {name} 'x'; choose from"):
            evaluator.train(table, predictors, config.Evaluator(**{name: "x"}), [7.0, 8.0])
