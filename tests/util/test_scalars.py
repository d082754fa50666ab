"""Curves that TensorBoard can read."""

import tensorflow as tf

from pnag_tf import config as config_lib
from pnag_tf.search import reinforce
from pnag_tf.util import scalars


def _read(folder):
    """(step, name, value) of all event files."""
    found = []
    for path in sorted(folder.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.append((event.step, value.tag, round(float(tf.make_ndarray(value.tensor)), 4)))
    return found


def test_numbers_are_kept_and_what_is_none_is_left_out(tmp_path):
    log = scalars.into(tmp_path)
    log(5, {"loss": 0.25, "tau": float("nan"), "phase": "full"})
    log(10, {"loss": 0.125, "tau": 0.5})
    assert _read(tmp_path) == [(5, "loss", 0.25), (10, "loss", 0.125), (10, "tau", 0.5)]


def test_a_training_logs_what_its_history_tells(trained, predictors, tmp_path):
    evaluator, _ = trained
    settings = config_lib.Generator(budgets=3, samples=2, iterations=120)
    _, history = reinforce.train_generator(
        settings, predictors, evaluator, evaluator.budgets_ms, log=scalars.into(tmp_path)
    )
    logged = [(step, value) for step, name, value in _read(tmp_path) if name == "entropy"]
    assert logged == [(row["iteration"], round(row["entropy"], 4)) for row in history]
