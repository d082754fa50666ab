"""Pareto dominance under a budget (Eqn. E), and the measures of a set of architectures that go with it."""

from __future__ import annotations

import numpy as np


def dominance(top1: np.ndarray, latency_ms: np.ndarray, budget_ms: float, accuracy: bool = True) -> np.ndarray:
    """d(β_i, β_j, B) of every ordered pair, Eqn. (E) of the supplement.

    Both within the budget: the more accurate one dominates, and of two that are equally accurate the faster one.
    Otherwise the faster one does. Pairs that nothing tells apart, such as an architecture against itself, are 0: the
    paper leaves them out.

    Args:
      top1: validation accuracy, ``[n]``.
      latency_ms: ``[n]``.
      budget_ms: the budget B.
      accuracy: False drops the accuracy part, the ablation of the main paper's Table 2: the faster one always wins.

    Returns:
      int8 ``[n, n]``, antisymmetric: +1 where row dominates column, -1 where column dominates row.
    """
    feasible = latency_ms <= budget_ms
    by_accuracy = np.sign(top1[:, None] - top1[None, :])
    by_latency = np.sign(latency_ms[None, :] - latency_ms[:, None])
    counts = feasible[:, None] & feasible[None, :] & (by_accuracy != 0) & accuracy
    return np.where(counts, by_accuracy, by_latency).astype(np.int8)


def frontier(latency_ms: np.ndarray, top1: np.ndarray) -> np.ndarray:
    """Indices of the architectures that no other beats in both latency and top-1, by increasing latency."""
    order = np.lexsort((-np.asarray(top1), latency_ms))
    best = np.maximum.accumulate(np.asarray(top1)[order])
    keep = np.concatenate([[True], best[1:] > best[:-1]]) if len(order) else np.zeros(0, bool)
    return order[keep]


def hypervolume(latency_ms: np.ndarray, top1: np.ndarray, worst_latency_ms: float, worst_top1: float = 0.0) -> float:
    """Area dominated by a set of architectures, up to the reference point (worst latency, worst top-1).

    Unit: ms × fraction. Architectures beyond the reference point count for nothing.
    """
    latency_ms, top1 = np.asarray(latency_ms, float), np.asarray(top1, float)
    inside = (latency_ms <= worst_latency_ms) & (top1 >= worst_top1)
    latency_ms, top1 = latency_ms[inside], top1[inside]
    keep = frontier(latency_ms, top1)
    edges = np.append(latency_ms[keep], worst_latency_ms)
    return float(np.sum(np.diff(edges) * (top1[keep] - worst_top1)))
