"""Latency on a phone: the official benchmark tool over adb.

A phone gets warm, slows down, and gets unplugged. So the models of one call take turns, each is run until three runs
in a row agree, runs while the phone throttles do not count, and what is measured is kept when the cable is pulled.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import importlib.resources
import json
import os
import pathlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence

from absl import logging

from pnag_tf.latency import device as devices
from pnag_tf.latency.android import adb, benchmark_tool, phone
from pnag_tf.latency.android import journal as journal_lib
from pnag_tf.util import errors

IN_A_ROW = 3  # runs of the tool that have to agree
CLOCK_MS = 1e-3  # the tool counts whole microseconds: figures that differ by one agree
POLL_S = 5.0  # between two looks at a phone that is too warm
DISCARDED_RUNS = 5  # in a row, after which a phone is one that throttles whenever it works
LOSSES = 3  # in a row without a finished run in between, after which a phone is lost for good

_PLATFORMS = {"arm64-v8a": ("android_aarch64", 183), "armeabi-v7a": ("android_arm", 40)}  # ABI -> its name, ELF machine


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a phone measures."""

    serial: str = ""  # of `adb devices`, or HOST:PORT; empty = $ANDROID_SERIAL, or the only phone
    tool: str = ""  # benchmark_model for the phone; empty = the one that android_benchmark/fetch.sh fetched
    threads: int = 1
    runs: int = 50  # timed inferences of one run of the tool, at least, ...
    run_secs: float = 0.5  # ... and for at least this long
    warm_up_runs: int = 5
    warm_up_secs: float = 0.5  # the clock of an idle core takes a while to rise
    cpu_mask: str = ""  # affinity in hexadecimal; empty = the fastest cores, at least one a thread; 'none' = no taskset
    delegate: str = ""  # '' (the CPU), 'gpu' or 'nnapi'
    tool_flags: tuple[str, ...] = ()  # more flags of the tool
    remote_dir: str = "/data/local/tmp"  # files in few other folders of a phone may be run
    timeout_s: float = 300.0  # one run of the tool
    agreement: float = 0.05  # (largest - smallest) / median of the medians of three runs
    max_repetitions: int = 9  # runs of one model, after which the spread is reported
    max_thermal_status: int = 0  # Android's throttling level, from which on the phone has to cool down
    cool_down_s: float = 600.0  # for how long to wait for that
    reconnect_s: float = 120.0  # for how long to wait for a phone that went away

    def check(self) -> None:
        """Raises UserError when a value cannot be used."""
        for name in ("threads", "runs", "timeout_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise self._error(name, "more than 0")
        if self.max_repetitions < IN_A_ROW:
            raise self._error("max_repetitions", f"{IN_A_ROW} or more")
        for name in ("run_secs", "warm_up_runs", "warm_up_secs", "agreement", "cool_down_s", "reconnect_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise self._error(name, "0 or more")
        if self.delegate not in ("", "gpu", "nnapi"):
            raise self._error("delegate", "gpu, nnapi or nothing")
        if not self.remote_dir.startswith("/"):
            raise self._error("remote_dir", "a path from /")

    def _error(self, name: str, expected: str) -> errors.SettingError:
        setting = "latency.threads" if name == "threads" else f"phone.{name}"
        return errors.SettingError(setting, f"expected {expected}, found {getattr(self, name)!r}")


def device(settings: Settings, journal: str | os.PathLike | None = None) -> devices.Device:
    """A phone, on which the benchmark tool runs .tflite files; see `measure`."""
    from pnag_tf.latency import export  # not above: it imports TensorFlow, which timing a .tflite does without

    return devices.Device(
        ".tflite",
        export.convert,
        functools.partial(measure, settings=settings, journal=journal),
        functools.partial(describe, settings),
    )


def measure(
    models: Sequence[devices.Model],
    *,
    settings: Settings | None = None,
    journal: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[devices.MeasuredLatency]:
    """Latency of each .tflite (content or path) on a phone; see `device.Measure` and `records`."""
    return [
        devices.MeasuredLatency(record.median_ms, record.p5_ms, record.p95_ms, record.runs, record.setup.description)
        for record in records(models, settings=settings, journal=journal, progress=progress)
    ]


def describe(settings: Settings | None = None) -> str:
    """The phone, the tool and the cores, for a person to read; figures with different descriptions do not compare.

    Raises:
      UserError: there is no such phone, or no tool.
    """
    return _open(settings or Settings())[1].description


def records(
    models: Sequence[devices.Model],
    *,
    settings: Settings | None = None,
    journal: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[journal_lib.Record]:
    """Measures each .tflite (content or path), with everything that is known of the figure.

    All models are pushed in one call of adb and run in another, in turns. A phone that goes away is waited for.

    Args:
      journal: a file that every run of the tool is appended to as a line of JSON. The same call after a failure takes
        the runs in it that it would repeat.
      progress: called with (runs of the tool that are done, runs when all agree at once).

    Raises:
      UserError: there is no such phone, it is too warm, it stays away, or a model cannot be read or run.
    """
    settings = settings or Settings()
    settings.check()
    jobs = [_Job(model, number) for number, model in enumerate(models)]
    if not jobs:
        return []
    device, setup, tool = _open(settings)
    kept = journal_lib.Journal(journal, setup)
    distinct = list({job.sha256: job for job in jobs}.values())
    for job in distinct:
        job.samples = kept.samples(job.sha256)
    report = functools.partial(_report, distinct, settings, progress or (lambda done, total: None))
    report()
    folder, losses = phone.new_folder(settings.remote_dir), 0
    while waiting := [job for job in distinct if not job.settled(settings)]:
        before = sum(len(job.samples) for job in waiting)
        try:
            with tempfile.TemporaryDirectory() as content:
                _fill(pathlib.Path(content), tool, waiting)
                with phone.session(device, folder, pathlib.Path(content), setup.cpu_mask, setup.flags) as session:
                    _rounds(session, waiting, settings, kept, report)
        except adb.Lost as lost:
            losses = 0 if sum(len(job.samples) for job in waiting) > before else losses + 1
            if losses == LOSSES:
                raise
            logging.warning("%s; waiting for it", lost)
            device = _back(settings, setup, folder, lost, kept)
    kept.finish(job.sha256 for job in distinct)
    done = {job.sha256: job.record(setup, settings) for job in distinct}
    return [dataclasses.replace(done[job.sha256], model=job.name) for job in jobs]


# ---- what is measured with -------------------------------------------------------------------------------------------


def _open(settings: Settings) -> tuple[adb.Adb, journal_lib.Setup, bytes]:
    """The phone, what figures of it hold for, and the tool. Raises UserError."""
    device = adb.find(settings.serial)
    facts = phone.probe(device, settings.remote_dir)
    tool = _tool(settings.tool, facts)
    sha256 = hashlib.sha256(tool).hexdigest()
    mask = _mask(settings, facts)
    flags = benchmark_tool.flags(
        settings.threads,
        settings.runs,
        settings.run_secs,
        settings.warm_up_runs,
        settings.warm_up_secs,
        settings.delegate,
        settings.tool_flags,
    )
    parts = [
        facts.name,
        f"benchmark_model {sha256[:12]}",
        settings.delegate.upper() or "CPU",
        f"mask {mask}",
        f"{settings.threads} thread{'s' if settings.threads > 1 else ''}",
        *settings.tool_flags,
    ]
    return (
        device,
        journal_lib.Setup(", ".join(parts), device.serial, facts, sha256, mask, settings.threads, flags),
        tool,
    )


def tools() -> pathlib.Path:
    """The user's folder, where android_benchmark/fetch.sh puts benchmark_model: one folder a platform."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pnag_tf"


def _tool(path: str, facts: phone.Facts) -> bytes:
    """The content of benchmark_model. Raises UserError when it is missing or made for other processors."""
    platform, machine = _PLATFORMS.get(facts.abi, (None, None))
    if not path and platform is None:
        raise errors.DeviceError(
            f"no benchmark_model is published for {facts.abi}: build one and name it with `phone.tool`"
        )
    path = path or tools() / platform / phone.TOOL
    try:
        tool = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise errors.UserError(
            f"{path}: cannot read benchmark_model ({error.strerror}); "
            "android_benchmark/fetch.sh in the sources of this package fetches it"
        ) from None
    if tool[:4] == b"\x7fELF" and machine not in (None, found := int.from_bytes(tool[18:20], "little")):
        raise errors.UserError(f"{path}: expected a program for {facts.abi} (ELF machine {machine}), found {found}")
    return tool


def _mask(settings: Settings, facts: phone.Facts) -> str:
    """The affinity in hexadecimal, or 'none'. Raises UserError."""
    if settings.cpu_mask == "none":
        return "none"
    if settings.cpu_mask:
        try:
            mask = int(settings.cpu_mask, 16)
        except ValueError:
            mask = 0
        if mask <= 0:
            raise errors.SettingError(
                "phone.cpu_mask", f"expected hexadecimal such as f0, or none, found '{settings.cpu_mask}'"
            )
        return f"{mask:x}"
    for profile in profiles():
        if not facts.max_khz and facts.model in profile["models"] and settings.threads <= profile["threads"]:
            return profile["cpu_mask"]
    if not facts.max_khz:
        raise errors.DeviceError(f"{facts.name} does not tell how fast its cores are: name them with `phone.cpu_mask`")
    return f"{phone.big_cores(dict(facts.max_khz), settings.threads):x}"


def profiles() -> list[dict]:
    """Known phones: name, models (ro.product.model), cpu_mask and the threads it has room for."""
    return json.loads(importlib.resources.files(__package__).joinpath("profiles.json").read_text(encoding="utf-8"))


def _fill(folder: pathlib.Path, tool: bytes, jobs: Sequence[_Job]) -> None:
    """Fills a folder with what goes to the phone: plain names, whatever those of the models are."""
    (folder / phone.TOOL).write_bytes(tool)
    for job in jobs:
        job.write(folder / job.file)


def _back(
    settings: Settings, setup: journal_lib.Setup, folder: str, lost: adb.Lost, kept: journal_lib.Journal
) -> adb.Adb:
    """The phone, when it is there again, without the lost session. Raises UserError when it stays away."""
    try:
        device = adb.wait(setup.serial, settings.reconnect_s)
        phone.clear(device, folder)
        facts = phone.probe(device, settings.remote_dir)
    except errors.UserError as error:
        go_on = "the same call goes on from there" if kept.path else "without a journal the next call starts anew"
        raise errors.DeviceError(f"{lost}, and it did not come back: {error}; {go_on}") from None
    if facts.identity() != setup.facts.identity():
        raise errors.DeviceError(f"expected {setup.facts.name} back, found {facts.name}")
    return device


# ---- the runs --------------------------------------------------------------------------------------------------------


class _Job:
    """One model and its samples."""

    def __init__(self, model: devices.Model, number: int):
        self.source = model if isinstance(model, bytes) else pathlib.Path(model)
        self.name = f"model {number}" if isinstance(model, bytes) else os.fspath(model)
        self.file = f"{number:04}.tflite"
        if not isinstance(model, bytes) and self.source.exists() and not self.source.is_file():
            raise errors.UserError(f"{self.name}: expected a .tflite, found something that is no file")
        try:
            content = model if isinstance(model, bytes) else self.source.read_bytes()
        except OSError as error:
            raise errors.UserError(f"{self.name}: expected a .tflite ({error.strerror})") from None
        if content[4:8] != b"TFL3":
            raise errors.UserError(f"{self.name}: expected a .tflite, found {len(content)} other bytes")
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.samples: list[journal_lib.Sample] = []

    def write(self, path: pathlib.Path) -> None:
        path.write_bytes(self.source) if isinstance(self.source, bytes) else shutil.copyfile(self.source, path)

    def agreed(self, settings: Settings) -> bool:
        medians = [sample.timing.median_ms for sample in self.samples[-IN_A_ROW:]]
        allowed_ms = max(settings.agreement * statistics.median(medians), CLOCK_MS) if medians else 0
        return len(medians) == IN_A_ROW and max(medians) - min(medians) <= allowed_ms

    def settled(self, settings: Settings) -> bool:
        return self.agreed(settings) or len(self.samples) >= settings.max_repetitions

    def record(self, setup: journal_lib.Setup, settings: Settings) -> journal_lib.Record:
        agreed = self.agreed(settings)
        timings = [sample.timing for sample in (self.samples[-IN_A_ROW:] if agreed else self.samples)]
        medians = [timing.median_ms for timing in timings]
        spread = (max(medians) - min(medians)) / max(statistics.median(medians), CLOCK_MS)
        if not agreed:
            logging.warning("%s: %d runs differ by %.0f %%", self.name, len(medians), 100 * spread)
        if any(timing.delegate == "partially" for timing in timings):
            logging.warning("%s: only part of it runs on the %s", self.name, settings.delegate.upper())
        return journal_lib.Record(
            model=self.name,
            model_sha256=self.sha256,
            median_ms=statistics.median(medians),
            p5_ms=statistics.median(timing.p5_ms for timing in timings),
            p95_ms=statistics.median(timing.p95_ms for timing in timings),
            runs=sum(timing.runs for timing in timings),
            spread=spread,
            agreed=agreed,
            samples=tuple(self.samples),
            setup=setup,
        )


def _rounds(
    session: phone.Session,
    jobs: Sequence[_Job],
    settings: Settings,
    kept: journal_lib.Journal,
    report: Callable[[], None],
) -> None:
    """Runs the models in turns until each is settled. Raises UserError."""
    before, discarded = _cool(session, settings), 0
    if before.thermal_status is None:
        logging.warning("this phone does not tell whether it throttles, as phones before Android 10")
    while waiting := [job for job in jobs if not job.settled(settings)]:
        for job in waiting:
            timing = _run(session, job, settings)
            after = session.look()
            if _throttled(after, settings):
                discarded += 1
                if discarded == DISCARDED_RUNS:
                    raise errors.DeviceError(
                        f"the phone throttles in {discarded} runs in a row ({_status(after)}): cool it, or accept that "
                        f"with `phone.max_thermal_status={after.thermal_status}`"
                    )
                logging.warning("%s: a run does not count, the phone throttles (%s)", job.name, _status(after))
                before = _cool(session, settings)
                continue
            discarded = 0
            now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            job.samples.append(journal_lib.Sample(timing, before, after, now))
            kept.add(job.name, job.sha256, job.samples[-1])
            report()
            before = after


def _run(session: phone.Session, job: _Job, settings: Settings) -> benchmark_tool.Timing:
    try:
        output, code = session.run(job.file, settings.timeout_s)
        return benchmark_tool.parse(output, code, settings.delegate)
    except TimeoutError:
        raise errors.UserError(
            f"{job.name}: the run on the phone has not ended after {settings.timeout_s:g} s and was stopped; "
            "`phone.timeout_s` gives it longer"
        ) from None
    except adb.Lost:
        raise
    except errors.UserError as error:
        raise errors.UserError(f"{job.name}: {error}".replace(job.file, job.name)) from None


def _cool(session: phone.Session, settings: Settings) -> phone.Conditions:
    """Waits until the phone does not throttle; returns how it is then. Raises UserError when it goes on to."""
    deadline = time.monotonic() + settings.cool_down_s
    while _throttled(found := session.look(), settings):
        if time.monotonic() >= deadline:
            raise errors.DeviceError(
                f"the phone throttles ({_status(found)}) after {settings.cool_down_s:g} s of waiting: cool it, or "
                f"accept that with `phone.max_thermal_status={found.thermal_status}`"
            )
        logging.warning("the phone throttles (%s): waiting", _status(found))
        time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
    return found


def _throttled(conditions: phone.Conditions, settings: Settings) -> bool:
    return conditions.thermal_status is not None and conditions.thermal_status > settings.max_thermal_status


def _status(conditions: phone.Conditions) -> str:
    number = conditions.thermal_status
    name = phone.THERMAL_STATUS[number] if number < len(phone.THERMAL_STATUS) else "unknown"
    return f"thermal status {number}, {name}"


def _report(jobs: Sequence[_Job], settings: Settings, progress: Callable[[int, int], None]) -> None:
    """Tells how far it is: nothing is done before all is, however many more runs it takes."""
    total = IN_A_ROW * len(jobs)
    done = sum(min(len(job.samples), IN_A_ROW) for job in jobs)
    finished = all(job.settled(settings) for job in jobs)
    progress(total if finished else min(done, total - 1), total)
