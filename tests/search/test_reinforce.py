"""The policy gradient against exact expectations, and runs that are interrupted."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf import config, presets
from pnag_tf.search import generator, reinforce
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors

TINY = presets.preset("tiny").generator
BUDGETS_MS = [6.0, 8.0, 10.0]


@pytest.fixture(scope="module")
def enumerated():
    """(generator, every architecture of its space, a reward for each)."""
    space = space_lib.SearchSpace(units=1, depths=(1, 2), kernels=(3, 5), ratios=(3, 4))
    found = generator.Generator(space, config.Generator(hidden=6, budget_embedding=6, heads="token"), (1.0, 2.0))
    rng = np.random.default_rng(0)
    found.theta.assign(rng.normal(size=found.theta.shape) * 0.5)
    options = itertools.product(*map(range, space.token_sizes))
    choices = np.unique(space.canonical(np.array(list(options))), axis=0)
    return found, choices, rng.normal(size=len(choices)).astype(np.float32)


@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_gradient_is_that_of_the_exact_expectation(enumerated, baseline):
    """Eqn. (B): the mean of the surrogate's gradient over the policy equals the gradient of E[R] + λ H."""
    found, choices, rewards = enumerated
    mix = tf.constant([[0.3, 0.7]] * len(choices))
    weight = 0.1
    with tf.GradientTape() as tape:
        log_prob, _ = found.log_prob(mix, choices)
        probability = tf.exp(log_prob)
        objective = tf.reduce_sum(probability * rewards) - weight * tf.reduce_sum(probability * log_prob)
    exact = tape.gradient(objective, found.theta)
    with tf.GradientTape() as tape:
        log_prob, entropy = found.log_prob(mix, choices)
        advantage = rewards + weight * entropy - baseline
        value = reinforce.surrogate(log_prob, entropy, advantage, weight)
        expectation = tf.reduce_sum(tf.stop_gradient(tf.exp(log_prob)) * value)
    estimate = tape.gradient(expectation, found.theta)
    assert np.abs(exact).max() > 0.01
    np.testing.assert_allclose(estimate, exact, atol=2e-5)


def test_sampled_gradient_approaches_it(enumerated):
    found, choices, rewards = enumerated
    mix = tf.constant([[1.0, 0.0]] * 20_000)
    drawn = found.draw(mix, tf.constant([0, 0]))
    place = {row.tobytes(): i for i, row in enumerate(choices)}
    earned = rewards[[place[row.tobytes()] for row in drawn.numpy()]]
    with tf.GradientTape() as tape:
        log_prob, entropy = found.log_prob(mix, drawn)
        loss = tf.reduce_mean(reinforce.surrogate(log_prob, entropy, earned, 0.0))
    sampled = tape.gradient(loss, found.theta).numpy()
    with tf.GradientTape() as tape:
        objective = tf.reduce_sum(tf.exp(found.log_prob(mix[: len(choices)], choices)[0]) * rewards)
    exact = tape.gradient(objective, found.theta).numpy()
    assert np.linalg.norm(sampled - exact) < 0.1 * np.linalg.norm(exact)


def test_advantages_by_hand():
    rewards, entropy = tf.constant([[1.0, 3.0], [10.0, 30.0]]), tf.zeros([2, 2])
    normalised, _ = reinforce.advantages("normalised", rewards, entropy, 0.1, tf.zeros([2]))
    np.testing.assert_allclose(normalised, [[-1, 1], [-1, 1]], atol=1e-5)
    first, baseline = reinforce.advantages("moving_average", rewards, entropy, 0.1, tf.fill([2], np.nan))
    np.testing.assert_allclose(first, [[-1, 1], [-10, 10]])
    second, baseline = reinforce.advantages("moving_average", rewards + 1, entropy, 0.1, baseline)
    np.testing.assert_allclose(second, [[0, 2], [-9, 11]])
    np.testing.assert_allclose(baseline, [2.05, 20.05])


def test_rewards_by_hand(space, predictors, table):
    choices = table.choices[:4]
    top1, _, latency_ms = predictors.predict(choices)
    mix = np.repeat([[0.5, 0.5]], 4, 0).astype(np.float32)
    for kind, expected in (
        ("multi_objective", top1 * (latency_ms / 7) ** -0.07),
        ("absolute", top1 - 0.07 * np.abs(latency_ms / 7 - 1)),
    ):
        found = reinforce.reward(dataclasses.replace(TINY, reward=kind), [6.0, 8.0], None, predictors)
        np.testing.assert_allclose(found(tf.constant(choices), mix), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="choose from pareto, multi_objective, absolute"):
        reinforce.reward(dataclasses.replace(TINY, reward="x"), [6.0, 8.0])


def test_learns_what_is_rewarded(space, predictors, trained):
    evaluator, _ = trained
    settings = dataclasses.replace(TINY, iterations=300)
    found, history = reinforce.train(space, evaluator.graph, settings, evaluator.budgets_ms, 0, None, predictors)
    assert history[-1]["reward"] > history[0]["reward"] + 0.5
    assert history[-1]["entropy"] < history[0]["entropy"] - 1
    assert history[-1]["iteration"] == 300 and 0 <= history[-1]["within_budget"] <= 1
    choices = found.sample(evaluator.budgets_ms, 200, 0)
    latency_ms = [predictors.latency_ms(drawn).mean() for drawn in choices]
    assert latency_ms[0] + 0.5 < latency_ms[-1] and (latency_ms <= evaluator.budgets_ms).all()


@pytest.mark.parametrize("advantage", ["normalised", "moving_average"])
def test_resumed_equals_uninterrupted(space, trained, tmp_path, monkeypatch, advantage):
    evaluator, _ = trained
    settings = dataclasses.replace(TINY, iterations=150, advantage=advantage)
    whole, history = reinforce.train(space, evaluator.graph, settings, evaluator.budgets_ms, seed=5)

    real = reinforce.PolicyGradient.advance

    def advance(self):
        if self.iteration >= 100:
            raise KeyboardInterrupt
        return real(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(reinforce.PolicyGradient, "advance", advance)
        reinforce.train(space, evaluator.graph, settings, evaluator.budgets_ms, 5, tmp_path)
    assert (tmp_path / reinforce.CHECKPOINT).exists()
    resumed, again = reinforce.train(space, evaluator.graph, settings, evaluator.budgets_ms, 5, tmp_path)
    np.testing.assert_array_equal(resumed.theta.numpy(), whole.theta.numpy())
    assert [row["reward"] for row in again] == [row["reward"] for row in history]
    with pytest.raises(errors.UserError, match="checkpoint of another run"):
        reinforce.train(space, evaluator.graph, settings, evaluator.budgets_ms, 6, tmp_path)


def test_nan_stops_the_run_and_names_the_iteration(space):
    def broken(choices, mix):
        return tf.where(tf.reduce_sum(mix) > 0, np.float32("nan"), 0.0) * tf.ones([tf.shape(choices)[0]])

    with pytest.raises(FloatingPointError, match="at iteration 0"):
        reinforce.train(space, broken, TINY, BUDGETS_MS)


def test_settings_that_cannot_work(space):
    for change, message in (
        ({"advantage": "x"}, "choose from moving_average, normalised"),
        ({"samples": 1}, "needs 2 samples"),
    ):
        with pytest.raises(ValueError, match=message):
            reinforce.train(space, lambda c, m: m[:, 0], dataclasses.replace(TINY, **change), BUDGETS_MS)


def test_a_lone_budget_is_rewarded_as_itself(space):
    """With an aim below the budget, as in the recipes: a tenth of no gap is nothing."""
    asked = []

    def rewards(choices, mix):
        asked.append(mix)
        return tf.linalg.matvec(mix, [10.0]) + 0.0 * tf.cast(choices[:, 0], tf.float32)

    settings = dataclasses.replace(TINY, budgets=1, iterations=50)
    assert settings.aim
    _, history = reinforce.train(space, rewards, settings, [10.0], seed=0)
    assert asked and history[-1]["reward"] == pytest.approx(10.0)
