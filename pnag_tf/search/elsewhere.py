"""A search on another device than the one that its records were measured on: a few latencies instead of training.

Accuracy stays what it is. Latency is fitted to architectures that were measured there, with the help of what layers
cost on the known device; how far it may be off is kept free of a budget. The generator was trained for budgets of the
known device; over all of them it draws what is good for its latency, whatever the device, and the new latency tells
which of these keep a budget.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from pnag_tf.search import candidates, latency_process, proposals
from pnag_tf.search import generator as generator_lib
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import records as records_lib

BUDGETS = 30  # of the generator, over its range, that samples are drawn for
LEAST = 20  # architectures to fit the new latency to
SURE = 2.0  # standard deviations of it that are kept free of a budget


def probes(generator: generator_lib.Generator, count: int, seed: int) -> np.ndarray:
    """Architectures to measure on another device: choices int32 ``[<= count, tokens]``, all different.

    Fewer than `count` only where the space has no more. Half of them the generator draws over its range, as those are
    that will be proposed; half are uniform.
    """
    space, rng = generator.space, np.random.default_rng([seed, 6])
    drawn = np.unique(draw(generator, 4 * count, seed), axis=0)
    drawn = drawn[rng.permutation(len(drawn))[: count // 2]]
    return np.concatenate([drawn, space.sample_distinct(rng, count - len(drawn), beside=drawn)])


def draw(generator: generator_lib.Generator, count: int, seed: int) -> np.ndarray:
    """At least `count` samples for budgets over the generator's whole range: ``[>= count, tokens]``."""
    budgets_ms = np.linspace(*generator.budgets_ms[[0, -1]], BUDGETS)
    return generator.sample(budgets_ms, -(-count // BUDGETS), seed).reshape(-1, generator.space.tokens)


class There:
    """Predictors of the same accuracy, by the latency that another device hardly exceeds.

    Args:
      known: those of the device that was searched for.
      measured: architectures with their latency on the other one; `LEAST` or more. Their top-1 does not count.

    Attributes:
      measured: as given.
      report: that of `known`, with the errors of latency for architectures that were left out.
    """

    margin_ms = 0.0  # the latency has it already

    def __init__(self, known: predictor_lib.Predictors, measured: records_lib.Records):
        self._known, self.space, self.measured = known, known.space, measured
        self._process = latency_process.fit(known, measured)
        self._measured_ms = dict(zip(map(bytes, measured.choices), measured.latency_ms, strict=True))
        self.report = known.report | predictor_lib.latency_errors(self._process.left_out_ms, measured.latency_ms)
        low, high = float(measured.latency_ms.min()), float(measured.latency_ms.max())
        self.report |= {"latency_low_ms": low, "latency_high_ms": high}

    def predict(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Predictors.predict`."""
        top1, disagreement, _ = self._known.predict(choices)
        return top1, disagreement, self.latency_ms(choices)

    def latency_ms(self, choices: np.ndarray) -> np.ndarray:
        """`SURE` standard deviations more than is expected, ``[n]``."""
        expected_ms, deviation_ms = self.expected(choices)
        return expected_ms + SURE * deviation_ms

    def expected(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(latency in ms, its standard deviation), each ``[n]``; as measured, and 0, where it was."""
        expected_ms, deviation_ms = self._process(choices)
        measured_ms = np.array([self._measured_ms.get(bytes(row), np.nan) for row in choices.astype(np.int32)])
        unknown = np.isnan(measured_ms)
        return np.where(unknown, expected_ms, measured_ms), np.where(unknown, deviation_ms, 0.0)


def propose(
    generator: generator_lib.Generator,
    there: There,
    budgets_ms: np.ndarray,
    samples: int,
    seed: int,
    pessimism: float = 0.0,
    refinement: int = 0,
) -> list[candidates.Candidates]:
    """`proposals.propose` for budgets of another device; what was measured there takes part.

    The candidates' latency is what is expected.
    """
    drawn = np.concatenate([draw(generator, samples, seed), there.measured.choices])  # any budget may take any
    found = proposals.answer(there, budgets_ms, [drawn] * len(budgets_ms), seed, pessimism, refinement)
    return [dataclasses.replace(each, latency_ms=there.expected(each.choices)[0]) for each in found]
