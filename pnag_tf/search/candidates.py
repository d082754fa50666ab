"""What a search proposes for a budget: architectures predicted within it, the best first."""

from __future__ import annotations

import dataclasses

import numpy as np
from absl import logging

from pnag_tf.search import predictor as predictor_lib
from pnag_tf.util import digits


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

    def __getitem__(self, rows) -> Candidates:
        return Candidates(self.budget_ms, self.choices[rows], self.top1[rows], self.latency_ms[rows])


def rank(
    predictors: predictor_lib.Predictors, budget_ms: float, choices: np.ndarray, pessimism: float = 0.0
) -> Candidates:
    """The distinct architectures predicted within the budget, by predicted top-1 less `pessimism` × disagreement.

    The latency predictor's own error, as its held-out records tell it, is kept free, 2 % of the budget at most.
    When none keeps the budget, the fastest one alone, with a warning.
    """
    found = within(predictors, [budget_ms], choices, pessimism)[0]
    if found.latency_ms[0] > limit_ms(predictors, budget_ms):
        fastest = found.latency_ms[0]
        budget = digits.shortest(budget_ms)
        logging.warning("budget %s ms: no proposal keeps it; the fastest is predicted at %.3g ms", budget, fastest)
    return found


def within(
    predictors: predictor_lib.Predictors, budgets_ms: np.ndarray, choices: np.ndarray, pessimism: float = 0.0
) -> list[Candidates]:
    """`rank` for several budgets at once, all of which may take any of the architectures, without the warning."""
    choices = np.unique(choices, axis=0)
    top1, disagreement, latency_ms = predictors.predict(choices)
    order = np.argsort(-(top1 - pessimism * disagreement), kind="stable")
    found = []
    for budget_ms in budgets_ms:
        rows = order[latency_ms[order] <= limit_ms(predictors, budget_ms)]
        if not len(rows):
            rows = np.array([np.argmin(latency_ms)])
        proposed = Candidates(float(budget_ms), choices, top1, latency_ms)[rows]
        found.append(proposed if np.isfinite(proposed.latency_ms[0]) else _smallest(predictors, budget_ms))
    return found


def _smallest(predictors: predictor_lib.Predictors, budget_ms: float) -> Candidates:
    """The smallest network of the space, which keeps every limit that can be kept."""
    choices = predictors.space.smallest()[None]
    top1, _, latency_ms = predictors.predict(choices)
    return Candidates(float(budget_ms), choices, top1, latency_ms)


def limit_ms(predictors: predictor_lib.Predictors, budget_ms: float) -> float:
    """What a predicted latency may be at most."""
    return budget_ms - min(predictors.margin_ms, 0.02 * budget_ms)
