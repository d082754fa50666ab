"""Models that are timed in one process take turns in short slices.

A machine drifts, and its speed changes for seconds at a time. What slows it slows all models of a call then, and their
medians compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pnag_tf.latency import device as devices

MIN_SAMPLES_PER_SLICE = 3
WARM_UP_SAMPLES = 2  # at the start of each slice: the caches hold other models' weights, the clock of an idle GPU fell
MIN_ROUNDS, MAX_ROUNDS = 12, 30
STABLE = 0.01  # rounds end early when every median is known this well (standard error, as a fraction)


class Timer:
    """One model, and the samples taken so far.

    Args:
      sample: runs the model `repeats` times and answers the ms of one run.
      run_ms: of one run, roughly.
      slice_ms: the model is timed for this long before it is the next one's turn.
    """

    def __init__(self, sample: Callable[[], float], run_ms: float, slice_ms: float, repeats: int = 1):
        self._sample, self._repeats = sample, repeats
        self._count = max(MIN_SAMPLES_PER_SLICE, int(slice_ms / (run_ms * repeats)))
        self._samples: list[float] = []  # ms of a run
        self._slices: list[float] = []  # median of each slice

    def slice(self) -> None:
        """Warms up, then times until the slice is over."""
        for _ in range(WARM_UP_SAMPLES):
            self._sample()
        samples = [self._sample() for _ in range(self._count)]
        self._samples += samples
        self._slices.append(float(np.median(samples)))

    def error(self) -> float:
        """Standard error of the median as a fraction of it, judged by how the slices' medians scatter."""
        median = np.median(self._slices)
        deviation = 1.4826 * np.median(np.abs(np.array(self._slices) - median))
        return float(1.2533 * deviation / np.sqrt(len(self._slices)) / median)

    def latency(self, device: str) -> devices.MeasuredLatency:
        p5, median, p95 = np.percentile(self._samples, (5, 50, 95)).tolist()
        return devices.MeasuredLatency(median, p5, p95, len(self._samples) * self._repeats, device)


def measure(
    timers: Sequence[Timer], device: str, progress: Callable[[int, int], None] | None = None
) -> list[devices.MeasuredLatency]:
    """Latency of each model; `progress` is called with (rounds done, rounds at most)."""
    for done in range(1, MAX_ROUNDS + 1 if timers else 1):
        for timer in timers:
            timer.slice()
        if progress is not None:
            progress(done, MAX_ROUNDS)
        if done >= MIN_ROUNDS and max(timer.error() for timer in timers) <= STABLE:
            break
    return [timer.latency(device) for timer in timers]
