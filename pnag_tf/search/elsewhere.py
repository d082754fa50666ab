"""A search on another device than the one that its records were measured on: a few latencies instead of training.

Accuracy stays what it is. Latency is fitted to architectures that were measured there, as a correction of the known
device's. The generator was trained for budgets of the known device; over all of them it draws what is good for its
latency, whatever the device, and the new latency tells which of these keep a budget.
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
    """The latency there: as many times the known one as fits best, corrected by a ridge regression."""
    ours = known.latency_model
    here_ms = ours.by_ridge(known.space, measured.choices)
    factor = float(np.polyfit(here_ms, measured.latency_ms, 1)[0]) if np.ptp(here_ms) else 0.0
    inputs = predictor_lib.latency_inputs(known.space, measured.choices)
    correction = regression.ridge(inputs, measured.latency_ms - factor * here_ms)
    return predictor_lib.LatencyModel(factor * ours.coefficients + correction)
