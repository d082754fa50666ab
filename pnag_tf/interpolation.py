"""Budgets between the trained ones: g(B) = ξ g(B1) + (1 − ξ) g(B2), shared by generator and evaluator."""

from __future__ import annotations

import numpy as np


def weights(budgets_ms: np.ndarray, trained_ms: np.ndarray) -> np.ndarray:
    """Weights of the learned budget embeddings: float32 ``[n, K]``.

    Between two trained budgets B1 < B < B2 the embedding is ξ g(B1) + (1 − ξ) g(B2), ξ = (B2 − B) / (B2 − B1);
    outside their range it is that of the nearest one.
    """
    trained_ms, budgets_ms = np.asarray(trained_ms, float), np.atleast_1d(np.asarray(budgets_ms, float))
    columns = [np.interp(budgets_ms, trained_ms, unit) for unit in np.eye(len(trained_ms))]
    return np.stack(columns, 1).astype(np.float32)
