"""A search on another device than the one that its records were measured on: a few latencies instead of training.

Accuracy stays what it is. Latency is fitted to architectures that were measured there, with the help of what layers
cost on the known device. The generator was trained for budgets of the known device; over all of them it draws what is
good for its latency, whatever the device, and the new latency tells which of these keep a budget.
"""

from __future__ import annotations

import numpy as np

from pnag_tf.search import candidates, proposals, regression
from pnag_tf.search import generator as generator_lib
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import records as records_lib

BUDGETS = 30  # of the generator, over its range, that samples are drawn for
FOLDS = 5  # by which the error of the new latency is known
LEAST = 20  # architectures to fit it to


def probes(generator: generator_lib.Generator, count: int, seed: int) -> np.ndarray:
    """Architectures to measure on another device: choices int32 ``[<= count, tokens]``, all different.

    Fewer than `count` only where the space has no more. Half of them the generator draws over its range, as those are
    that will be proposed; half are uniform.
    """
    space, rng = generator.space, np.random.default_rng([seed, 6])
    drawn = np.unique(_draw(generator, 4 * count, seed), axis=0)
    drawn = drawn[rng.permutation(len(drawn))[: count // 2]]
    return np.concatenate([drawn, space.sample_distinct(rng, count - len(drawn), beside=drawn)])


def predictors(known: predictor_lib.Predictors, measured: records_lib.Records) -> predictor_lib.Predictors:
    """Predictors of the same accuracy, with the latency of another device.

    Args:
      known: those of the device that was searched for.
      measured: architectures with their latency on the other one; `LEAST` or more. Their top-1 does not count.

    Returns:
      Predictors whose report has the errors of latency in cross-validation, and otherwise what `known` has.
    """
    latency_ms, rows = measured.latency_ms, np.arange(len(measured))
    held_out = np.zeros(len(rows))
    for fold in np.array_split(np.random.default_rng(0).permutation(rows), FOLDS):
        others = _fit(known, measured[np.setdiff1d(rows, fold)])
        held_out[fold] = others.by_ridge(known.space, measured.choices[fold])
    report = known.report | predictor_lib.latency_errors(held_out, latency_ms)
    report |= {"latency_low_ms": float(latency_ms.min()), "latency_high_ms": float(latency_ms.max())}
    return known.with_latency(_fit(known, measured), report)


def propose(
    generator: generator_lib.Generator,
    there: predictor_lib.Predictors,
    budgets_ms: np.ndarray,
    samples: int,
    seed: int,
    pessimism: float = 0.0,
    refinement: int = 0,
) -> list[candidates.Candidates]:
    """`proposals.propose` for budgets of another device, whose latency the predictors have."""
    drawn = [_draw(generator, samples, seed)] * len(budgets_ms)  # any of them may take any
    return proposals.answer(there, budgets_ms, drawn, seed, pessimism, refinement)


def _draw(generator: generator_lib.Generator, count: int, seed: int) -> np.ndarray:
    """About `count` samples for budgets over the generator's whole range: ``[>= count, tokens]``."""
    budgets_ms = np.linspace(*generator.budgets_ms[[0, -1]], BUDGETS)
    return generator.sample(budgets_ms, -(-count // BUDGETS), seed).reshape(-1, generator.space.tokens)


def _fit(known: predictor_lib.Predictors, measured: records_lib.Records) -> predictor_lib.LatencyModel:
    """The latency there, by two ridge regressions on relative errors: what kinds of layers cost, then what each does.

    Devices differ by kinds: on one all large kernels are slow, on another each layer has an overhead. That takes few
    measurements to tell, the costs of single layers many.
    """
    space, latency_ms = known.space, measured.latency_ms
    layers, kinds = space.layer_one_hot(measured.choices), _kinds(known)
    weights = 1 / latency_ms**2
    weights /= weights.mean()
    inputs = layers @ kinds
    scales = inputs.std(0)
    scales[scales == 0] = 1.0
    offset, *slopes = regression.ridge(inputs / scales, latency_ms, weights)
    each = kinds @ (slopes / scales)
    inputs = predictor_lib.latency_inputs(space, measured.choices)
    rest = regression.ridge(inputs, latency_ms - offset - layers @ each, weights)
    singles = np.zeros(inputs.shape[1] - len(each))
    return predictor_lib.LatencyModel(np.concatenate([[offset], singles, each]) + rest)


def _kinds(known: predictor_lib.Predictors) -> np.ndarray:
    """Features of each column of `layer_one_hot`, ``[columns, kinds]``: its cost on the known device, and 1.

    Both once for all columns, and for those of each unit, resolution, ratio and kernel, 0 elsewhere; and the cost for
    those of each unit and kernel.
    """
    slots = np.array(known.space.layer_slots())
    cost, unit, kernel = _costs(known, slots), slots[:, 0], slots[:, 4]
    groups = [np.ones(len(slots), bool)]
    for column in (0, 2, 3, 4):
        values = np.unique(slots[:, column])
        groups += [slots[:, column] == value for value in values if len(values) > 1]
    both = [(unit == one) & (kernel == other) for one in np.unique(unit) for other in np.unique(kernel)]
    return np.stack([*(cost * group for group in groups + both), *groups], 1)


def _costs(known: predictor_lib.Predictors, slots: np.ndarray) -> np.ndarray:
    """Latency in ms of each column of `layer_one_hot` on the known device, ``[columns]``, but for what all have."""
    space, coefficients = known.space, known.latency_model.coefficients[1:]
    token, option = space.one_hot_columns
    kind = np.array(space.token_kinds)[token]
    value = np.array([space.options[name][number] for name, number in zip(kind, option, strict=True)])
    units, layers = space.token_units[token], space.token_layers[token]
    single, costs = coefficients[: len(token)], coefficients[len(token) :].copy()
    for place, (unit, layer, _, ratio, kernel) in enumerate(slots):
        asked = ((kind == "ratio") & (value == ratio)) | ((kind == "kernel") & (value == kernel))
        costs[place] += single[asked & (units == unit) & (layers == layer)].sum()
    return costs
