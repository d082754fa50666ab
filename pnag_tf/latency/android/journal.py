"""What is known of a phone's figures, and the file that keeps every run of the benchmark tool while it is made."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable

from pnag_tf.latency.android import benchmark_tool, phone
from pnag_tf.util import errors

_BEGINNINGS = ('{"model": ', '{"finished": ')  # of the lines of a journal


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a figure was measured on and how.

    Attributes:
      description: what figures must share to compare, for a person to read.
      serial: of adb; the same phone may be reached under several.
      tool_sha256: of benchmark_model.
      cpu_mask: affinity in hexadecimal, or 'none'.
      flags: of benchmark_model.
    """

    description: str
    serial: str
    facts: phone.Facts
    tool_sha256: str
    cpu_mask: str
    threads: int
    flags: tuple[str, ...]

    def identity(self) -> dict:
        """What a figure depends on, as JSON gives it back."""
        same = dataclasses.replace(self, serial="", facts=self.facts.identity())
        return json.loads(json.dumps(dataclasses.asdict(same)))


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run of the tool, and the phone before and after it."""

    timing: benchmark_tool.Timing
    before: phone.Conditions
    after: phone.Conditions
    time: str  # when it ended, UTC, ISO 8601


@dataclasses.dataclass(frozen=True)
class Record:
    """All that is known of one model's latency.

    Attributes:
      model: its file, or what stands for one.
      model_sha256: of its content.
      median_ms, p5_ms, p95_ms: medians of the samples' figures: of the last three where those agree, else of all.
      runs: timed inferences of these samples.
      spread: (largest - smallest) / median of these samples' medians.
      agreed: whether the last three agree as well as was asked for.
      samples: every run of the tool that counts, in order.
      setup: phone, build, tool and mask.
    """

    model: str
    model_sha256: str
    median_ms: float
    p5_ms: float
    p95_ms: float
    runs: int
    spread: float
    agreed: bool
    samples: tuple[Sample, ...]
    setup: Setup


class Journal:
    """A file of JSON lines: a line for each run of the tool, and one that names the models that are finished.

    Runs of a model that no later line calls finished, in the same setup, are what an interrupted call left.

    Args:
      path: the file, which need not exist; None keeps nothing.

    Raises:
      UserError: the file is something else.
    """

    def __init__(self, path: str | os.PathLike | None, setup: Setup):
        self.path, self._setup = path, setup
        self._left: dict[str, list[Sample]] = {}
        self._torn = False  # the file ends in the middle of a line
        if path is not None and pathlib.Path(path).exists():
            self._read(pathlib.Path(path))

    def samples(self, model_sha256: str) -> list[Sample]:
        """The runs of this model that an interrupted call left, in order."""
        return list(self._left.get(model_sha256, ()))

    def add(self, model: str, model_sha256: str, sample: Sample) -> None:
        """Keeps one run."""
        self._write({"model": model, "model_sha256": model_sha256, "sample": dataclasses.asdict(sample)})

    def finish(self, model_sha256s: Iterable[str]) -> None:
        """Keeps that the figures of these models are with the caller."""
        self._write({"finished": list(model_sha256s)})

    def _write(self, line: dict) -> None:
        if self.path is None:
            return
        path = pathlib.Path(self.path)
        text = json.dumps(line | {"setup": self._setup.identity(), "serial": self._setup.serial}) + "\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a") as stream:
                stream.write("\n" + text if self._torn else text)
        except OSError as error:
            raise errors.UserError(f"cannot write {path}: {error.strerror}") from None
        self._torn = False

    def _read(self, path: pathlib.Path) -> None:
        identity = self._setup.identity()
        try:
            content = path.read_text(errors="replace")
        except OSError as error:
            raise errors.UserError(f"cannot read {path}: {error.strerror}") from None
        self._torn = content != "" and not content.endswith("\n")
        for number, text in enumerate(content.splitlines(), start=1):
            try:
                line = json.loads(text)
                if line["setup"] != identity:
                    continue
                for finished in line.get("finished", ()):
                    self._left.pop(finished, None)
                if "sample" in line:
                    self._left.setdefault(line["model_sha256"], []).append(_sample(line["sample"]))
            except (ValueError, TypeError, KeyError):
                # A line may be torn where the process died; anything else is somebody else's file.
                if not any(text.startswith(begin) or begin.startswith(text) for begin in _BEGINNINGS):
                    raise errors.UserError(f"{path}:{number}: expected a journal, found '{text[:40]}'") from None


def _sample(value: dict) -> Sample:
    return Sample(
        timing=benchmark_tool.Timing(**value["timing"]),
        before=phone.Conditions(**value["before"]),
        after=phone.Conditions(**value["after"]),
        time=value["time"],
    )
