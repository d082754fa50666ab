"""The frontier and the area below it, by hand."""

import numpy as np

from pnag_tf.search import pareto


def test_frontier_and_hypervolume():
    latency_ms, top1 = np.array([3.0, 1.0, 2.0, 2.0]), np.array([0.9, 0.5, 0.4, 0.7])
    assert pareto.frontier(latency_ms, top1).tolist() == [1, 3, 0]
    assert np.isclose(pareto.hypervolume(latency_ms, top1, 4.0), 0.5 + 0.7 + 0.9)
    assert np.isclose(pareto.hypervolume(latency_ms, top1, 2.5), 0.5 + 0.7 * 0.5)
