"""Latency on another device, by a few architectures that were measured there."""

import dataclasses

import numpy as np
import pytest

from pnag_tf.search import elsewhere, predictor


@pytest.fixture
def costs(space):
    """What the columns of `layer_one_hot` cost on a device where layers have an overhead and large kernels are slow."""
    slots = np.array(space.layer_slots())
    return 0.2 + 0.1 * slots[:, 3] * np.where(slots[:, 4] == slots[:, 4].max(), 5.0, 1.0)


def test_kinds_of_layers_are_known_from_few_measurements(space, predictors, table, costs):
    def measured(rows):
        found = table[rows]
        return dataclasses.replace(found, latency_ms=1.0 + space.layer_one_hot(found.choices) @ costs)

    few, others = measured(np.arange(40)), measured(np.arange(40, len(table)))

    def errors(model):
        return np.abs(model.by_ridge(space, others.choices) / others.latency_ms - 1)

    there = errors(elsewhere.predictors(predictors, few).latency_model)
    alone, here = errors(predictor.fit_latency(few)), errors(predictors.latency_model)
    assert np.median(there) < 0.5 * np.median(alone) < np.median(here)


def test_costs_of_layers_make_up_the_known_latency(space, predictors):
    slots = np.array(space.layer_slots())
    layers = elsewhere._costs(predictors, slots)
    one, other = space.largest()[None], space.largest()[None].copy()
    kernel = np.flatnonzero(np.array(space.token_kinds) == "kernel")[0]
    other[0, kernel] = 0
    expected = predictors.latency_ms(one) - predictors.latency_ms(other)
    found = (space.layer_one_hot(one) - space.layer_one_hot(other)) @ layers
    np.testing.assert_allclose(found, expected, rtol=1e-6)
