"""Which finalist a budget gets, by hand-made latencies."""

import numpy as np

from pnag_tf.latency.device import Latency
from pnag_tf.run import deploy
from pnag_tf.search import candidates


def _finalist(predicted_ms):
    found = candidates.Candidates(9.0, np.zeros((1, 1), np.int32), np.array([0.5]), np.array([predicted_ms]))
    return deploy.Finalist(found, 0)


def _measure(real_ms, asked):
    """A device on which finalists take `real_ms`, in order of their prediction."""

    def measure(finalists):
        for finalist in finalists:
            asked.append(finalist.predicted_ms)
            ms = real_ms[finalist.predicted_ms]
            finalist.latency = Latency(ms, ms, ms, 1, "test")

    return measure


def test_the_best_that_measures_within_the_budget_is_taken_and_few_are_measured():
    finalists, asked = [_finalist(ms) for ms in (4.0, 3.0, 2.0, 1.0)], []
    real_ms = {4.0: 4.0, 3.0: 3.3, 2.0: 1.9, 1.0: 1.0}
    chosen = deploy.measured_within(finalists, [3.0, 5.0], _measure(real_ms, asked))
    assert [each.predicted_ms for each in chosen] == [2.0, 4.0]
    assert sorted(asked) == [2.0, 3.0, 4.0]


def test_the_fastest_is_taken_where_none_fits():
    finalists, asked = [_finalist(ms) for ms in (3.0, 2.0)], []
    chosen = deploy.measured_within(finalists, [1.0, 2.5], _measure({3.0: 3.0, 2.0: 2.6}, asked))
    assert [each.predicted_ms for each in chosen] == [2.0, 2.0]
