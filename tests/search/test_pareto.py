"""Dominance and ranking measures, by hand."""

import numpy as np

from pnag_tf.search import pareto


def test_dominance_by_hand():
    top1 = np.array([0.7, 0.8, 0.9, 0.8])
    latency_ms = np.array([10.0, 20.0, 30.0, 20.0])
    # Budget 25: 0, 1, 3 are feasible and rank by accuracy; 2 is not, so it loses to all of them by latency.
    # Nothing tells 1 and 3 apart.
    assert pareto.dominance(top1, latency_ms, 25).tolist() == [
        [0, -1, 1, -1],
        [1, 0, 1, 0],
        [-1, -1, 0, -1],
        [1, 0, 1, 0],
    ]


def test_of_equally_accurate_ones_the_faster_dominates():
    """Eqn. (E): neither accuracy clause holds, so that the third decides, by cost."""
    d = pareto.dominance(np.array([0.8, 0.8]), np.array([20.0, 10.0]), 25)
    assert d.tolist() == [[0, -1], [1, 0]]


def test_dominance_all_infeasible_ranks_by_latency():
    d = pareto.dominance(np.array([0.9, 0.1]), np.array([20.0, 10.0]), 5)
    assert d.tolist() == [[0, -1], [1, 0]]


def test_dominance_without_accuracy_always_prefers_the_faster():
    d = pareto.dominance(np.array([0.9, 0.1]), np.array([20.0, 10.0]), 100, accuracy=False)
    assert d.tolist() == [[0, -1], [1, 0]]


def test_dominance_is_antisymmetric():
    rng = np.random.default_rng(0)
    d = pareto.dominance(rng.random(50), rng.random(50), 0.5)
    assert (d == -d.T).all()


def test_frontier_and_hypervolume():
    latency_ms, top1 = np.array([3.0, 1.0, 2.0, 2.0]), np.array([0.9, 0.5, 0.4, 0.7])
    assert pareto.frontier(latency_ms, top1).tolist() == [1, 3, 0]
    assert np.isclose(pareto.hypervolume(latency_ms, top1, 4.0), 0.5 + 0.7 + 0.9)
    assert np.isclose(pareto.hypervolume(latency_ms, top1, 2.5), 0.5 + 0.7 * 0.5)
