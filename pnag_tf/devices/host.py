"""Latency on the CPU of this machine: LiteRT with XNNPACK, batch 1.

A shared machine drifts, and its speed changes for seconds at a time. So the models of one call take turns in short
slices: what slows the machine slows all of them, and their medians compare.

One thread is timed by its own CPU clock. On an idle machine that agrees with the clock on the wall; on a busy one it
leaves out the time in which other programs had the core, most of what makes latency scatter there. Several threads wait
for each other, so only the wall clock tells their latency.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import os
import pathlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from ai_edge_litert import interpreter as litert

from pnag_tf import devices, files, terminal

SLICE_MS = 5.0  # each model is timed for this long before it is the next one's turn
MIN_SAMPLES_PER_SLICE = 3
WARM_UP_SAMPLES = 2  # at the start of each slice: the caches hold other models' weights
SAMPLE_MS = 0.3  # shorter networks run several times a sample: reading the CPU clock takes about a microsecond
MIN_ROUNDS, MAX_ROUNDS = 12, 30
STABLE = 0.01  # rounds end early when every median is known this well (standard error, as a fraction)


def measure(
    models: Sequence[devices.Model], threads: int = 1, progress: Callable[[int, int], None] | None = None
) -> list[devices.Latency]:
    """Latency of each .tflite (content or path) in this process; see `devices.Measure`.

    Args:
      threads: of the interpreter.
      progress: called with (rounds done, rounds at most).

    Raises:
      UserError: a model cannot be read or run.
    """
    timers = [_Timer(model, threads) for model in models]
    device = describe(threads)
    rounds = MAX_ROUNDS if timers else 0
    with _no_garbage_collection():
        for done in range(1, rounds + 1):
            for timer in timers:
                timer.slice()
            if progress is not None:
                progress(done, rounds)
            if done >= MIN_ROUNDS and max(timer.error() for timer in timers) <= STABLE:
                break
    return [timer.latency(device) for timer in timers]


def describe(threads: int = 1) -> str:
    """The CPU and the runtime, for a person to read; figures with different descriptions do not compare."""
    version = importlib.metadata.version("ai-edge-litert")
    return f"{_cpu_name()}, LiteRT {version}, {threads} thread{'s' if threads > 1 else ''}"


class _Timer:
    """One model: its interpreter, and the samples taken so far."""

    def __init__(self, model: devices.Model, threads: int):
        self._interpreter = _load(model, threads)
        self._clock = time.thread_time_ns if threads == 1 else time.perf_counter_ns
        self.samples: list[float] = []  # ms per inference
        self.slices: list[float] = []  # median of each slice
        self._run_ms = self._first_guess()
        self.repeats = max(1, int(np.ceil(SAMPLE_MS / self._run_ms)))

    def _first_guess(self) -> float:
        """ms of one inference, roughly; also warms up."""
        return min(self._sample(1) for _ in range(4))

    def _sample(self, repeats: int) -> float:
        invoke, clock = self._interpreter.invoke, self._clock
        start = clock()
        for _ in range(repeats):
            invoke()
        return max(clock() - start, 1) / repeats / 1e6

    def slice(self) -> None:
        """Warms up, then times until the slice is over."""
        for _ in range(WARM_UP_SAMPLES):
            self._sample(self.repeats)
        count = max(MIN_SAMPLES_PER_SLICE, int(SLICE_MS / (self._run_ms * self.repeats)))
        samples = [self._sample(self.repeats) for _ in range(count)]
        self.samples += samples
        self.slices.append(float(np.median(samples)))

    def error(self) -> float:
        """Standard error of the median as a fraction of it, judged by how the slices' medians scatter."""
        median = np.median(self.slices)
        deviation = 1.4826 * np.median(np.abs(np.array(self.slices) - median))
        return float(1.2533 * deviation / np.sqrt(len(self.slices)) / median)

    def latency(self, device: str) -> devices.Latency:
        p5, median, p95 = np.percentile(self.samples, (5, 50, 95)).tolist()
        return devices.Latency(median, p5, p95, len(self.samples) * self.repeats, device)


def _load(model: devices.Model, threads: int) -> litert.Interpreter:
    """An interpreter with random input in place."""
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": os.fspath(model)}
    try:
        with terminal.quiet():
            interpreter = litert.Interpreter(**source, num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        name = "the model" if isinstance(model, bytes) else model
        raise files.UserError(f"{name}: expected a .tflite that LiteRT can run ({error})") from None
    rng = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], rng.normal(size=detail["shape"]).astype(detail["dtype"]))
    return interpreter


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
