"""Latency on the CPU of this machine: LiteRT with XNNPACK, batch 1.

One thread is timed by its own CPU clock: its latency is the thread's processor time. On an idle
machine that agrees with the clock on the wall; on a busy one it
leaves out the time in which other programs had the core, most of what makes latency scatter there. Several threads wait
for each other, so only the wall clock tells their latency.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.metadata
import os
import pathlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from ai_edge_litert import interpreter as litert

from pnag_tf.latency import device as devices
from pnag_tf.latency import export, turns
from pnag_tf.util import errors, terminal

SLICE_MS = 5.0  # each model is timed for this long before it is the next one's turn
SAMPLE_MS = 0.3  # shorter networks run several times a sample: reading the CPU clock takes about a microsecond


def device(threads: int = 1) -> devices.Device:
    """This machine's CPU, on which LiteRT runs .tflite files with that many threads."""
    return devices.Device(
        ".tflite",
        export.convert,
        functools.partial(measure, threads=threads),
        functools.partial(describe, threads),
    )


def measure(
    models: Sequence[devices.Model], threads: int = 1, progress: Callable[[int, int], None] | None = None
) -> list[devices.MeasuredLatency]:
    """Latency of each .tflite (content or path) in this process; see `device.Measure`.

    Args:
      threads: of the interpreter.
      progress: called with (rounds done, rounds at most).

    Raises:
      UserError: a model cannot be read or run.
    """
    timers = [_timer(model, threads) for model in models]
    with _no_garbage_collection():
        return turns.measure(timers, describe(threads), progress)


def describe(threads: int = 1) -> str:
    """The CPU and the runtime, for a person to read; figures with different descriptions do not compare."""
    version = importlib.metadata.version("ai-edge-litert")
    return f"{_cpu_name()}, LiteRT {version}, {threads} thread{'s' if threads > 1 else ''}"


def _timer(model: devices.Model, threads: int) -> turns.Timer:
    invoke = _load(model, threads).invoke
    clock = time.thread_time_ns if threads == 1 else time.perf_counter_ns

    def sample(repeats: int) -> float:
        """ms of one inference."""
        start = clock()
        for _ in range(repeats):
            invoke()
        return max(clock() - start, 1) / repeats / 1e6

    run_ms = min(sample(1) for _ in range(4))  # roughly; also warms up
    repeats = max(1, int(np.ceil(SAMPLE_MS / run_ms)))
    return turns.Timer(functools.partial(sample, repeats), run_ms, SLICE_MS, repeats)


def _load(model: devices.Model, threads: int) -> litert.Interpreter:
    """An interpreter with random input in place."""
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": os.fspath(model)}
    try:
        with terminal.quiet():
            interpreter = litert.Interpreter(**source, num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        name = "the model" if isinstance(model, bytes) else model
        raise errors.UserError(f"{name}: expected a .tflite that LiteRT can run ({error})") from None
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
