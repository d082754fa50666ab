"""Devices that latency is measured on; each module answers `measure(models, ...) -> list[Latency]`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Protocol

Model = bytes | str | os.PathLike
"""A .tflite: its content, or the path of the file."""


@dataclasses.dataclass(frozen=True)
class Latency:
    """How long one network takes for one batch.

    Attributes:
      median_ms, p5_ms, p95_ms: over all timed samples, after warm-up.
      runs: inferences that were timed.
      device: what it ran on and how, for a person to read.
    """

    median_ms: float
    p5_ms: float
    p95_ms: float
    runs: int
    device: str


class Measure(Protocol):
    """What a device answers."""

    def __call__(self, models: Sequence[Model], progress: Callable[[int, int], None] | None = None) -> list[Latency]:
        """Latency of each model, in order; `progress(done, total)` is called now and then.

        Models of one call are measured alternately, so that their figures compare.
        """
