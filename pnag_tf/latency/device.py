"""Devices that latency is measured on: `host.device`, `gpu.device` and `android.device` each make a `Device`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # takes seconds to import, which tools that only time a .tflite do without
    import keras

Model = bytes | str | os.PathLike
"""A file that a device runs (.tflite or .keras): its content, or its path."""


@dataclasses.dataclass(frozen=True)
class MeasuredLatency:
    """How long one network takes for one batch.

    Attributes:
      median_ms: as measured, over all timed samples, after warm-up. On a CPU with one thread that is the thread's
        processor time, not the clock on the wall; see `latency.host`.
      p5_ms: the 5 % quantile of the same samples.
      p95_ms: the 95 % quantile.
      runs: inferences that were timed.
      device: what it ran on and how, for a person to read.
      slowness: how much longer a reference network took in the same call than when the latency table was made; None
        where no reference was measured, as on a phone.
    """

    median_ms: float
    p5_ms: float
    p95_ms: float
    runs: int
    device: str
    slowness: float | None = None

    @property
    def at_table_ms(self) -> float:
        """The median at the speed that the device had when the latency table was made.

        Records and predictors give latencies at that speed, so that is what a budget is held to. As measured where
        there is no reference.
        """
        return self.median_ms / (self.slowness or 1.0)

    def columns(self) -> dict[str, str]:
        """The three figures as columns of a table; with a reference also the median at the table's speed."""
        figures = {"latency_ms": self.median_ms, "latency_p5_ms": self.p5_ms, "latency_p95_ms": self.p95_ms}
        if self.slowness is not None:
            figures["latency_at_table_ms"] = self.at_table_ms
        columns = {name: f"{value:.4g}" for name, value in figures.items()}
        return columns if self.slowness is None else columns | {"slowness": f"{self.slowness:.3f}"}


def held_ms(row: Mapping[str, str]) -> str:
    """The measured latency that a network's budget is held to, of a row with `columns`; empty where there is none."""
    return row.get("latency_at_table_ms") or row.get("latency_ms") or ""


def missed(row: Mapping[str, str]) -> bool:
    """Whether the network of a row with `budget_ms` was measured to take longer than that."""
    return bool(held_ms(row)) and float(held_ms(row)) > float(row["budget_ms"])


class Measure(Protocol):
    """What a device answers."""

    def __call__(
        self, models: Sequence[Model], progress: Callable[[int, int], None] | None = None
    ) -> list[MeasuredLatency]:
        """Latency of each model, in order; `progress(done, total)` is called now and then.

        Models of one call are measured alternately, so that their figures compare.
        """


@dataclasses.dataclass(frozen=True)
class Device:
    """A device, and how networks get onto it.

    Attributes:
      suffix: of the files that it runs, '.tflite' or '.keras'.
      export: Keras model -> the content of such a file.
      measure: times such files.
      describe: the device and how it runs them, for a person to read; figures with different descriptions do not
        compare. Raises UserError where the device is not there.
    """

    suffix: str
    export: Callable[[keras.Model], bytes]
    measure: Measure
    describe: Callable[[], str]
