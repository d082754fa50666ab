"""Measures of a set of architectures in latency and top-1: its frontier and the area that it dominates."""

from __future__ import annotations

import numpy as np


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
