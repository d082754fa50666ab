"""Latency on another device, by a few architectures that were measured there."""

import dataclasses

import numpy as np
import pytest

from pnag_tf.search import elsewhere, latency_process, predictor, records


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


@pytest.mark.parametrize("power", [1.0, 1.3])
def test_what_is_not_known_of_the_latency_is_a_deviation(power, predictors, measured):
    bent = dataclasses.replace(measured, latency_ms=measured.latency_ms**power)  # and what is no sum
    scores, known = [], []
    for seed, count in enumerate((30, 60, 200)):
        rows = np.random.default_rng(seed).permutation(len(bent))
        few, others = bent[rows[:count]], bent[rows[count:]]
        expected_ms, deviation_ms = latency_process.fit(predictors, few)(others.choices)
        known.append(np.isfinite(deviation_ms).mean())
        scores.append((np.abs(others.latency_ms - expected_ms) <= elsewhere.SURE * deviation_ms).mean())
        assert np.median(deviation_ms[np.isfinite(deviation_ms)] / expected_ms[np.isfinite(deviation_ms)]) < 0.1
    assert min(scores) > 0.9 and known == sorted(known) and known[0] > 0.3 and known[-1] == 1


def test_a_layer_that_was_never_measured_is_not_known(space, predictors, measured):
    column = np.argmax(space.layer_one_hot(space.largest()[None])[0])
    has = space.layer_one_hot(measured.choices)[:, column] > 0
    process = latency_process.fit(predictors, measured[~has])
    assert np.isinf(process(measured.choices[has])[1]).all() and np.isfinite(process(measured.choices[~has])[1]).all()


def test_what_all_measured_networks_share_does_no_harm(predictors, measured, there_ms):
    rng, half = np.random.default_rng(0), measured.space.tokens // 2
    chosen = np.unique(measured.choices[rng.integers(0, len(measured), 60)], axis=0)
    chosen[:, :half] = measured.choices[0, :half]  # the first unit
    chosen = np.unique(measured.space.canonical(chosen), axis=0)
    alike = dataclasses.replace(measured[: len(chosen)], choices=chosen, latency_ms=there_ms(chosen))
    expected_ms, deviation_ms = latency_process.fit(predictors, alike)(chosen)
    np.testing.assert_allclose(expected_ms, alike.latency_ms, rtol=0.05)
    assert (deviation_ms < 0.2 * alike.latency_ms).all()
    equal = dataclasses.replace(alike, latency_ms=np.full(len(chosen), 0.1))
    np.testing.assert_allclose(latency_process.fit(predictors, equal)(chosen)[0], 0.1, rtol=0.01)


def test_a_layer_is_known_at_all_resolutions_once_it_was_measured(table, predictors):
    space = dataclasses.replace(table.space, resolutions=(12, 16))
    choices = space.sample_distinct(np.random.default_rng(0), 300, beside=np.zeros((0, space.tokens), np.int32))
    slots = np.array(space.layer_slots())
    latency_ms = (
        1.0 + 2.0 * choices[:, -1] + space.layer_one_hot(choices) @ (0.2 + 0.1 * slots[:, 3] * (1 + slots[:, 2]))
    )
    everything = records.Records(space, choices, np.zeros(300), latency_ms)
    here = dataclasses.replace(everything, latency_ms=2 * latency_ms, top1=np.linspace(0, 1, 300))
    known = predictor.train(here, predictors.settings, 0)
    expected_ms, deviation_ms = latency_process.fit(known, everything[:60])(choices[60:])
    assert np.isfinite(deviation_ms).mean() > 0.8
    assert np.median(np.abs(expected_ms / latency_ms[60:] - 1)) < 0.03


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
        expected_ms, deviation_ms = there.expected(each.choices)
        np.testing.assert_array_equal(each.latency_ms, expected_ms)
        assert (expected_ms + elsewhere.SURE * deviation_ms <= budget_ms).all()
        assert there_ms(each.choices[:1])[0] <= 1.01 * budget_ms
    (nothing,) = elsewhere.propose(generator, there, [0.1], 60, 0)
    assert np.isfinite(nothing.latency_ms).all()  # of what was measured the fastest, at least
    slow = dataclasses.replace(known[:1], choices=found[1].choices[:1], latency_ms=np.array([9.0]))
    timed = elsewhere.There(predictors, known.append(slow))  # one that was found turns out slow
    assert timed.latency_ms(slow.choices)[0] == 9.0


def test_costs_of_layers_make_up_the_known_latency(space, predictors):
    slots = np.array(space.layer_slots())
    layers = latency_process._costs(predictors, slots)
    one, other = space.largest()[None], space.largest()[None].copy()
    kernel = np.flatnonzero(np.array(space.token_kinds) == "kernel")[0]
    other[0, kernel] = 0
    expected = predictors.latency_ms(one) - predictors.latency_ms(other)
    found = (space.layer_one_hot(one) - space.layer_one_hot(other)) @ layers
    np.testing.assert_allclose(found, expected, rtol=1e-6)
