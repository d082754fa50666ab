"""Trains several networks at once, each in a process of its own, into the folders that `train.alone` reads.

The operations of a small network are too small to be parted among cores: on two of them, two processes of one thread
each train the demo's networks 1.2 to 1.7 times as fast as one process does (benchmarks/results.md).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures

import tensorflow as tf

from pnag_tf.run import context as context_lib
from pnag_tf.util import errors

COMMAND = [sys.executable, "-m", "pnag_tf.run.trainee"]


def processes(context: context_lib.Context, networks: int) -> int:
    """How many processes train that many networks: one where a GPU or several machines do it.

    Else one more than there are cores: they share the cores, and none idles while the last network is trained.
    """
    if context.distribution.replicas > 1 or tf.config.list_physical_devices("GPU"):
        return 1
    return min(context.config.finetune.processes or _cores() + 1, networks)


def train(context: context_lib.Context, archs: Sequence[str], count: int, epoch: Callable[[], None]) -> None:
    """Trains networks in `count` processes, in the given order; what a killed call has done is not done again.

    Args:
      epoch: called after each epoch of any of them, from several threads.

    Raises:
      UserError: a process was killed, or could not use what it was given.
      FloatingPointError: a loss became NaN.
    """
    threads = max(1, _cores() // count)
    running = _Running()
    with futures.ThreadPoolExecutor(count) as pool:
        waiting = [pool.submit(_train, context, arch, threads, running, epoch) for arch in archs]
        try:
            for done in futures.as_completed(waiting):
                done.result()
        finally:
            for each in waiting:
                each.cancel()
            running.stop()


class _Running:
    """The processes that run; once stopped, none does."""

    def __init__(self):
        self._processes: set[subprocess.Popen] = set()
        self._stopped = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def start(self, command: list[str]) -> Iterator[subprocess.Popen]:
        with self._lock:
            if self._stopped:
                raise futures.CancelledError
            # In a session of its own, Ctrl-C reaches the parent alone, which ends it.
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            self._processes.add(process)
        try:
            yield process
        finally:
            with self._lock:
                self._processes.discard(process)
            process.kill()
            process.communicate()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()


def _train(context: context_lib.Context, arch: str, threads: int, running: _Running, epoch: Callable[[], None]) -> None:
    asked = {"config": context.config, "root": context.layout.root, "supernet_file": context.supernet_file}
    with running.start(COMMAND) as process:
        with contextlib.suppress(BrokenPipeError):  # its exit code says more
            pickle.dump(asked | {"arch": arch, "threads": threads}, process.stdin)
            process.stdin.flush()  # and stays open: it ends when this process does
        for answer in process.stdout:
            what, _, error = answer.decode().strip().partition(" ")
            if what == "error":
                raise pickle.loads(bytes.fromhex(error))
            epoch()
        if (code := process.wait()) < 0:
            why = "is memory short? `finetune.processes=1` trains one network after the other"
            raise errors.UserError(f"{arch}: expected to be trained, found its process killed by signal {-code}: {why}")
        if code:
            raise RuntimeError(f"the process that trained {arch} ended with {code}; its error stands above")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
