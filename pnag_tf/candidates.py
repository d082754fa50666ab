"""What a search proposes for a budget: architectures predicted within it, the best first."""

from __future__ import annotations

import dataclasses

import numpy as np
from absl import logging

from pnag_tf import predictor as predictor_lib


@dataclasses.dataclass(frozen=True)
class Candidates:
    """What a search proposes for one budget, the best first; never empty.

    Attributes:
      budget_ms: the budget asked for.
      choices: int32 ``[n, tokens]``.
      top1: predicted, ``[n]``.
      latency_ms: predicted, ``[n]``.
    """

    budget_ms: float
    choices: np.ndarray
    top1: np.ndarray
    latency_ms: np.ndarray

    def __len__(self) -> int:
        return len(self.choices)


def ranked(
    predictors: predictor_lib.Predictors, budget_ms: float, choices: np.ndarray, pessimism: float = 0.0
) -> Candidates:
    """The distinct architectures predicted within the budget, by predicted top-1 less `pessimism` × disagreement.

    The latency predictor's own error, as its held-out records tell it, is kept free, 2 % of the budget at most.
    When none keeps the budget, the fastest one alone, with a warning.
    """
    choices = np.unique(choices, axis=0)
    top1, disagreement, latency_ms = predictors.predict(choices)
    limit_ms = budget_ms - min(predictors.report["latency_rmse_ms"], 0.02 * budget_ms)
    rows = np.flatnonzero(latency_ms <= limit_ms)
    rows = rows[np.argsort(-(top1 - pessimism * disagreement)[rows], kind="stable")]
    if not len(rows):
        rows = [int(np.argmin(latency_ms))]
        fastest = latency_ms[rows[0]]
        logging.warning("budget %g ms: no proposal keeps it; the fastest is predicted at %.3g ms", budget_ms, fastest)
    return Candidates(float(budget_ms), choices[rows], top1[rows], latency_ms[rows])
