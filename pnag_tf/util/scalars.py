"""Numbers of a training as it goes, for TensorBoard."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping

import tensorflow as tf

Log = Callable[[int, Mapping[str, float]], None]
"""Called with a step and what is known at it: `log(1200, {'loss': 0.31})`."""


def nowhere(step: int, values: Mapping[str, float]) -> None:
    """Keeps nothing."""


def into(folder: str | os.PathLike) -> Log:
    """Appends to an event file in `folder`, of which TensorBoard draws curves. What is no number is left out."""
    writer = tf.summary.create_file_writer(os.fspath(folder))

    def log(step: int, values: Mapping[str, float]) -> None:
        with writer.as_default(step=step):
            for name, value in values.items():
                if isinstance(value, (int, float)) and math.isfinite(value):
                    tf.summary.scalar(name, value)
        writer.flush()  # a curve is looked at while it grows

    return log
