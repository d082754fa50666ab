"""The noise of measured top-1, held to what repetition shows; and what is made of it."""

import numpy as np
import pytest

from pnag_tf.search import noise

SKILL = np.linspace(-0.2, 0.2, 12)


def _right(rng, images, skill=SKILL, own=0.4):
    """Which images architectures get right: images are of different difficulty, and each network has its own luck."""
    difficulty = rng.normal(0.5, 1.0, images)
    return (skill[:, None] + difficulty + own * rng.normal(size=(len(skill), images))) > 0


def _standard_errors(right):
    packed, images = np.packbits(right, axis=1), right.shape[1]
    return noise.standard_errors(packed, images, noise.image_means(packed, images))


def test_the_standard_error_is_what_repetition_shows():
    rng, images, repeats = np.random.default_rng(0), 203, 1500
    measured = [_right(rng, images) for _ in range(repeats)]
    top1 = np.array([right.mean(1) for right in measured])
    shown = (top1 - top1.mean(1, keepdims=True)).std(0)
    estimated = np.sqrt(np.mean([_standard_errors(right) ** 2 for right in measured[:200]], 0))
    np.testing.assert_allclose(estimated, shown, rtol=0.06)
    binomial = np.sqrt(top1.mean() * (1 - top1.mean()) / images)
    np.testing.assert_allclose(top1.std(0), binomial, rtol=0.1)
    assert (shown < 0.65 * binomial).all()


def test_two_architectures_by_hand():
    """They differ on one image of four: differences to their mean are ½, 0, 0, 0 and the opposite."""
    right = np.array([[1, 1, 0, 0], [0, 1, 0, 0]], bool)
    np.testing.assert_allclose(_standard_errors(right), np.full(2, 0.125))


def test_a_mean_of_other_architectures_can_be_given():
    rng = np.random.default_rng(0)
    right = _right(rng, 100)
    packed = np.packbits(right, axis=1)
    mean = noise.image_means(packed[:6], 100)
    np.testing.assert_allclose(mean, right[:6].mean(0))
    expected = (right[6:] - right[:6].mean(0)).std(1, ddof=1) / 10
    np.testing.assert_allclose(noise.standard_errors(packed[6:], 100, mean), expected)


@pytest.mark.parametrize("spread", [0.0, 0.15, 0.6])
def test_the_share_of_the_signal_is_that_of_the_truth(spread):
    rng, images = np.random.default_rng(1), 400
    skill = rng.normal(0, spread, 60)
    truth = np.mean([_right(rng, images, skill).mean(1) for _ in range(300)], 0)
    shares, variances = [], []
    for _ in range(20):
        right = _right(rng, images, skill)
        found = noise.signal(right.mean(1), _standard_errors(right))
        shares.append(found.share)
        variances.append(right.mean(1).var())
    assert np.mean(shares) == pytest.approx(truth.var() / np.mean(variances), abs=0.07)


def test_no_standard_errors_no_signal_and_equal_weights():
    assert noise.signal(np.array([0.5, 0.6]), np.array([np.nan, 0.1])) is None
    assert noise.weights(np.array([0.5, 0.6]), np.full(2, np.nan)).tolist() == [1, 1]
    assert noise.signal(np.full(2, 0.5), np.full(2, 0.1)).share == 0  # all top-1 are the same
    assert noise.model_error(0.03, np.array([0.5, 0.6]), np.full(2, np.nan)) == 0.03


def test_weights_are_those_of_signal_and_noise_together():
    top1, se = np.array([0.4, 0.5, 0.6, 0.5]), np.array([0.01, 0.05, 0.03, np.nan])
    found = noise.signal(top1, se)
    variance = np.var(top1[:3]) - np.mean(se[:3] ** 2)
    assert found.variance == pytest.approx(variance)
    weights = noise.weights(top1, se)
    assert weights.mean() == pytest.approx(1)
    assert weights[0] / weights[1] == pytest.approx((variance + 0.05**2) / (variance + 0.01**2))
    assert weights[3] / weights[1] == pytest.approx((variance + 0.05**2) / (variance + np.mean(se[:3] ** 2)))


def test_the_models_error_is_less_than_it_looks_on_noisy_records():
    top1, se = np.array([0.4, 0.5, 0.6]), np.full(3, 0.03)
    assert noise.model_error(0.05, top1, se) == pytest.approx(0.04)
    assert noise.model_error(0.02, top1, se) == 0


# ---- what to expect of what was measured and predicted ---------------------------------------------------------------


def test_half_way_where_noise_and_error_are_the_same():
    measured, se, error = np.array([0.70, 0.74]), np.full(2, 0.02), 0.02 * 2**0.5
    found = noise.expected(measured, se, np.array([0.60, 0.60]), error)
    np.testing.assert_allclose(found, [0.71, 0.73])


def test_what_is_exact_stands():
    measured, predicted, zero = np.array([0.70, 0.74, 0.71]), np.array([0.60, 0.59, 0.64]), np.zeros(3)
    np.testing.assert_allclose(noise.expected(measured, zero, predicted, 0.0), measured)
    np.testing.assert_allclose(noise.expected(measured[:1], np.full(1, 0.1), predicted[:1], 0.1), measured[:1])
    noisy = noise.expected(measured, np.full(3, 0.2), predicted, 0.0)  # they differ by less than their noise
    np.testing.assert_allclose(noisy, predicted + np.mean(measured - predicted))


@pytest.mark.parametrize(("se", "error", "bound"), [(0.01, 0.002, 2.5), (0.01, 0.01, 0.7), (0.002, 0.01, 1.0)])
def test_the_expected_are_nearer_to_the_truth(se, error, bound):
    """Than the better of measured and predicted; where these are exact, not much further. Predictions are too high by
    three points, all alike.
    """
    rng, off, picked = np.random.default_rng(0), [], []
    for _ in range(400):
        truth = 0.7 + 0.01 * rng.normal(size=12)
        measured, predicted = truth + se * rng.normal(size=12), truth + error * rng.normal(size=12) + 0.03
        judged = (noise.expected(measured, np.full(12, se), predicted, error), measured, predicted)
        off.append([np.mean((each - each.mean() - truth + truth.mean()) ** 2) for each in judged])
        picked.append([truth[np.argmax(each)] for each in judged])
    found, *others = np.mean(off, 0)
    assert found < bound * min(others) and found < others[0]
    found, *others = np.mean(picked, 0)
    assert found > max(others) - 5e-4


def test_a_predictor_that_errs_more_than_it_says_is_not_believed():
    """A search seeks out where it errs: a finalist predicted far too high is worth what was measured."""
    measured, predicted = np.array([0.70, 0.72, 0.71, 0.70]), np.array([0.90, 0.72, 0.71, 0.70])
    found = noise.expected(measured, np.full(4, 0.01), predicted, 0.001)
    assert np.argmax(found) == 1


def test_weights_of_images_are_those_of_the_weighted_mean():
    """Of images that count n times: as if each were there n times, but for how many independent ones there are."""
    rng = np.random.default_rng(3)
    right = rng.random((200, 400)) < rng.random(400)
    weights = np.where(np.arange(400) < 100, 2.5, 0.5)
    packed = np.packbits(right, axis=1)
    mean = noise.image_means(packed, 400)
    found = noise.standard_errors(packed, 400, mean, weights)
    difference = (right - mean) * weights
    np.testing.assert_allclose(found, difference.std(1, ddof=1) / 20)
    np.testing.assert_allclose(noise.standard_errors(packed, 400, mean, np.ones(400)), _standard_errors(right))
