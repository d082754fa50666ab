"""Latency on another device, by a few architectures that were measured there."""

import dataclasses

import numpy as np
import pytest

from pnag_tf.search import elsewhere, latency_process, predictor


@pytest.fixture
def costs(space):
    """What the columns of `layer_one_hot` cost on a device where layers have an overhead and large kernels are slow."""
    slots = np.array(space.layer_slots())
    return 0.2 + 0.1 * slots[:, 3] * np.where(slots[:, 4] == slots[:, 4].max(), 5.0, 1.0)


@pytest.fixture
def there_ms(space, costs):
    """Choices -> their latency on that device."""
    return lambda choices: 1.0 + space.layer_one_hot(choices) @ costs


@pytest.fixture
def measured(table, there_ms):
    """The records as measured there."""
    return dataclasses.replace(table, latency_ms=there_ms(table.choices))


def test_kinds_of_layers_are_known_from_few_measurements(predictors, measured):
    few, others = measured[:40], measured[40:]

    def errors(latency_ms):
        return np.abs(latency_ms / others.latency_ms - 1)

    there = errors(latency_process.fit(predictors, few)(others.choices)[0])
    alone = errors(predictor.fit_latency(few).by_ridge(measured.space, others.choices))
    assert np.median(there) < 0.5 * np.median(alone) < np.median(errors(predictors.latency_ms(others.choices)))


def test_what_is_not_known_of_the_latency_is_a_deviation(predictors, measured):
    errors, deviations = [], []
    for seed in range(4):
        known = np.random.default_rng(seed).permutation(len(measured))[:30]
        others = measured[np.setdiff1d(np.arange(len(measured)), known)]
        expected_ms, deviation_ms = latency_process.fit(predictors, measured[known])(others.choices)
        assert (deviation_ms >= 0).all()
        errors.append(expected_ms - others.latency_ms)
        deviations.append(deviation_ms)
    errors, deviations = np.concatenate(errors), np.concatenate(deviations)
    sure = np.isfinite(deviations)
    assert sure.mean() > 0.5 and np.mean(np.abs(errors[sure]) <= elsewhere.SURE * deviations[sure]) > 0.9
    assert np.std(errors[sure] / deviations[sure]) > 0.1  # nor are they beyond all measure


def test_a_layer_that_was_never_measured_is_not_known(space, predictors, measured):
    column = np.argmax(space.layer_one_hot(space.largest()[None])[0])
    has = space.layer_one_hot(measured.choices)[:, column] > 0
    process = latency_process.fit(predictors, measured[~has])
    assert np.isinf(process(measured.choices[has])[1]).all() and np.isfinite(process(measured.choices[~has])[1]).all()


def test_left_out_is_what_the_others_expect(predictors, measured):
    few = measured[:30]
    process = latency_process.fit(predictors, few)
    errors = process.left_out_ms - few.latency_ms
    assert np.abs(errors).max() > 10 * np.abs(process(few.choices)[0] - few.latency_ms).max()
    worst = int(np.argmax(np.abs(errors)))
    without = latency_process.fit(predictors, few[np.delete(np.arange(30), worst)])
    found = without(few.choices[[worst]])[0][0]  # other variances, that are fitted to one less
    np.testing.assert_allclose(found, process.left_out_ms[worst], rtol=0.05)


def test_networks_keep_the_budgets_of_another_device(predictors, generator, measured, there_ms):
    chosen = elsewhere.probes(generator, 30, 0)
    known = dataclasses.replace(measured[: len(chosen)], choices=chosen, latency_ms=there_ms(chosen))
    there = elsewhere.There(predictors, known)
    budgets_ms = np.quantile(measured.latency_ms, [0.2, 0.5, 0.9])
    found = elsewhere.propose(generator, there, budgets_ms, 60, 0, refinement=3)
    for each, budget_ms in zip(found, budgets_ms, strict=True):
        expected_ms, deviation_ms = there.latency(each.choices)
        np.testing.assert_array_equal(each.latency_ms, expected_ms)
        assert (expected_ms + elsewhere.SURE * deviation_ms <= budget_ms).all()
        assert there_ms(each.choices[:1])[0] <= 1.01 * budget_ms
    (nothing,) = elsewhere.propose(generator, there, [0.1], 60, 0)
    assert np.isfinite(nothing.latency_ms).all()  # of what was measured the fastest, at least


def test_costs_of_layers_make_up_the_known_latency(space, predictors):
    slots = np.array(space.layer_slots())
    layers = latency_process._costs(predictors, slots)
    one, other = space.largest()[None], space.largest()[None].copy()
    kernel = np.flatnonzero(np.array(space.token_kinds) == "kernel")[0]
    other[0, kernel] = 0
    expected = predictors.latency_ms(one) - predictors.latency_ms(other)
    found = (space.layer_one_hot(one) - space.layer_one_hot(other)) @ layers
    np.testing.assert_allclose(found, expected, rtol=1e-6)
