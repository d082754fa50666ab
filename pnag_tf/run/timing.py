"""What a run has cost so far: the wall seconds of each part of it, kept in one file over restarts."""

from __future__ import annotations

import contextlib
import contextvars
import pathlib
import threading
import time
from collections.abc import Iterator, Mapping

from pnag_tf.util import files

# What leads to deployed networks; earlier versions gave parts of `records` and `eval` the names latencies and finetune.
ROAD = (
    "data",
    "supernet",
    "latency_table",
    "latencies",
    "records",
    "predictors",
    "evaluator",
    "generator",
    "rounds",
    "eval",
    "finetune",
)
EVERY_S = 10.0  # the file is written this often, so that a killed process loses no more


class _Block:
    """A timed block: it stands still while a block inside it is timed."""

    def __init__(self):
        self._since: float | None = time.monotonic()
        self._seconds = 0.0

    def stop(self) -> None:
        self._seconds, self._since = self.seconds(), None

    def go_on(self) -> None:
        self._since = time.monotonic()

    def seconds(self) -> float:
        since = self._since
        return self._seconds + (time.monotonic() - since if since is not None else 0.0)


_outer: contextvars.ContextVar[_Block | None] = contextvars.ContextVar("outer", default=None)
_writing = threading.Lock()


def read(path: pathlib.Path) -> dict[str, float]:
    """What was timed -> its seconds, of all processes so far; empty where there is no file."""
    return files.read_json(path) if path.exists() else {}


@contextlib.contextmanager
def timed(path: pathlib.Path, what: str) -> Iterator[None]:
    """Adds the seconds that its block takes to those in a file, whether or not the block ends well.

    The file is written while the block runs, every EVERY_S seconds. The seconds of a timed block inside another one
    are the inner one's alone, so that those of the file may be summed.
    """
    block, over, written_s = _Block(), threading.Event(), 0.0

    def write() -> None:
        nonlocal written_s
        with _writing:
            known, added = read(path), round(block.seconds() - written_s, 3)
            files.write_json(path, known | {what: round(known.get(what, 0.0) + added, 3)})
            written_s += added  # as rounded, so that the errors of many writes do not add up

    def keep_writing() -> None:
        while not over.wait(EVERY_S):
            write()

    outer, writer = _outer.get(), threading.Thread(target=keep_writing, daemon=True)
    if outer is not None:
        outer.stop()
    token = _outer.set(block)
    writer.start()
    try:
        yield
    finally:
        _outer.reset(token)
        over.set()
        writer.join()
        write()
        if outer is not None:
            outer.go_on()


def by_stage(seconds: Mapping[str, float]) -> dict[str, float]:
    """Stage -> its seconds; what was timed is called after its stage, as `eval/pnag` and `eval/pnag/deploy`."""
    found: dict[str, float] = {}
    for what, took in seconds.items():
        stage = what.split("/")[0]
        found[stage] = found.get(stage, 0.0) + took
    return found


def of_run(seconds: Mapping[str, float], method: str) -> float:
    """The seconds that led to the networks of a method; those of `eval` for other methods are left out."""
    own = f"eval/{method}"
    return sum(
        took
        for what, took in seconds.items()
        if what.split("/")[0] in ROAD and (not what.startswith("eval/") or f"{what}/".startswith(f"{own}/"))
    )


def share(part: float, whole: float) -> str:
    """A part of a whole for a person to read, such as '44 %'."""
    return f"{100 * part / whole:.0f} %" if whole else ""


def duration(seconds: float) -> str:
    """Seconds for a person to read, in whole units."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
