"""The generator's distribution, against a space that can be enumerated."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from pnag_tf import config
from pnag_tf.search import generator
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors

SETTINGS = config.Generator(hidden=8, budget_embedding=8)


def random_generator(space, heads, budgets_ms=(1.0, 2.0), seed=0):
    found = generator.Generator(space, config.Generator(hidden=8, budget_embedding=8, heads=heads), budgets_ms)
    found.theta.assign(np.random.default_rng(seed).normal(size=found.theta.shape) * 0.5)
    return found


def every(space):
    return np.unique(space.canonical(np.array(list(itertools.product(*map(range, space.token_sizes))))), axis=0)


@pytest.fixture(scope="module")
def small():
    return space_lib.SearchSpace(units=1, depths=(1, 2), kernels=(3, 5), ratios=(3, 4, 6))


@pytest.mark.parametrize("heads", ["kind", "token"])
def test_probabilities_sum_to_one_over_all_architectures(small, heads):
    """Only so if tokens beyond the depth neither count nor carry chance into later ones."""
    choices = every(small)
    assert len(choices) == small.size == 6 + 36
    log_prob, entropy = random_generator(small, heads).score(1.3, choices)
    probability = np.exp(log_prob)
    assert probability.std() > 0.005  # not the uniform policy
    assert probability.sum() == pytest.approx(1, abs=1e-5)
    # The mean of the entropies along the paths is the entropy of the policy.
    assert np.sum(probability * entropy) == pytest.approx(-np.sum(probability * log_prob), abs=1e-4)


def test_two_units_sum_to_one():
    space = space_lib.SearchSpace(units=2, depths=(1, 2), kernels=(3,), ratios=(3, 4))
    log_prob, _ = random_generator(space, "token").score(1.0, every(space))
    assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-5)


def test_samples_follow_the_probabilities(small):
    found = random_generator(small, "token")
    choices = found.sample([1.5], 20_000, seed=0)
    unique, counts = np.unique(choices[0], axis=0, return_counts=True)
    np.testing.assert_allclose(counts / 20_000, np.exp(found.score(1.5, unique)[0]), atol=0.01)
    assert (small.canonical(unique) == unique).all()


@pytest.mark.parametrize("heads", ["kind", "token"])
def test_sampling_pass_scores_and_differentiates_as_log_prob_does(space, heads):
    found = random_generator(space, heads)
    mix = tf.constant(np.random.default_rng(0).dirichlet([1, 1], 40), tf.float32)
    with tf.GradientTape() as tape:
        choices, log_prob, entropy = found.draw_and_score(mix, tf.constant([0, 1]))
        value = tf.reduce_sum(log_prob * np.linspace(-1, 2, 40, dtype=np.float32) + 0.3 * entropy)
    gradient = tape.gradient(value, found.theta)
    with tf.GradientTape() as tape:
        expected_log_prob, expected_entropy = found.log_prob(mix, choices)
        value = tf.reduce_sum(expected_log_prob * np.linspace(-1, 2, 40, dtype=np.float32) + 0.3 * expected_entropy)
    np.testing.assert_allclose(log_prob, expected_log_prob, atol=1e-4)
    np.testing.assert_allclose(entropy, expected_entropy, atol=1e-4)
    expected = tape.gradient(value, found.theta).numpy()
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())
    assert np.count_nonzero(expected) == len(expected)


def test_interpolated_budget_takes_the_mixed_embedding(small):
    found = random_generator(small, "kind", (10.0, 20.0, 40.0))
    mixed = generator.Generator(small, found.settings, (10.0, 25.0, 40.0), found.theta.numpy())
    theta = found.theta.numpy()
    embeddings = theta[: 3 * 8].reshape(3, 8)
    embeddings[1] = 0.75 * embeddings[1] + 0.25 * embeddings[2]  # 25 lies a quarter of the way from 20 to 40
    mixed.theta.assign(np.concatenate([embeddings.ravel(), theta[3 * 8 :]]))
    choices = every(small)
    np.testing.assert_allclose(found.score(25.0, choices)[0], mixed.score(25.0, choices)[0], rtol=1e-5)
    np.testing.assert_array_equal(found.score(5.0, choices)[0], found.score(10.0, choices)[0])


def test_seed_decides(space):
    found = generator.Generator(space, SETTINGS, (1.0, 2.0))
    first, again, other = (found.sample([1.2, 1.8], 50, seed) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()
    assert first.shape == (2, 50, space.tokens)


def test_any_number_of_architectures_and_budgets_is_drawn_by_one_graph(space):
    """No budget waits for a trace; how long a thousand take, benchmarks/generator_step.py tells."""
    found = generator.Generator(space, SETTINGS, (1.0, 2.0))
    for budgets_ms, count in (([1.2], 10), ([1.7], 1000), ([1.1, 1.3, 5.0], 2)):
        assert found.sample(budgets_ms, count, 0).shape == (len(budgets_ms), count, space.tokens)
    assert found._sample.experimental_get_tracing_count() == 1


def test_save_and_load(space, small, tmp_path):
    found = random_generator(space, "token")
    found.save(tmp_path)
    again = generator.load(tmp_path, space)
    assert (again.sample([1.4], 30, 0) == found.sample([1.4], 30, 0)).all()
    with pytest.raises(errors.UserError, match="another space"):
        generator.load(tmp_path, space_lib.SearchSpace())
    with pytest.raises(ValueError, match="choose from kind, token"):
        generator.Generator(space, config.Generator(heads="x"), (1.0,))
