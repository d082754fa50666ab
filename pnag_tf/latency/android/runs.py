"""The runs of the benchmark tool: models take turns until each agrees with itself; a hot phone has to cool down."""

from __future__ import annotations

import datetime
import hashlib
import os
import pathlib
import shutil
import statistics
import time
from collections.abc import Callable, Sequence

from absl import logging

from pnag_tf.latency import device as devices
from pnag_tf.latency.android import adb, benchmark_tool, phone
from pnag_tf.latency.android import journal as journal_lib
from pnag_tf.latency.android import settings as settings_lib
from pnag_tf.util import errors

CLOCK_MS = 1e-3  # the tool counts whole microseconds: figures that differ by one agree
POLL_S = 5.0  # between two looks at a phone that is too warm
DISCARDED_RUNS = 5  # in a row, after which a phone is one that throttles whenever it works


class Job:
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

    def agreed(self, settings: settings_lib.Settings) -> bool:
        medians = [sample.timing.median_ms for sample in self.samples[-settings_lib.IN_A_ROW :]]
        allowed_ms = max(settings.agreement * statistics.median(medians), CLOCK_MS) if medians else 0
        return len(medians) == settings_lib.IN_A_ROW and max(medians) - min(medians) <= allowed_ms

    def settled(self, settings: settings_lib.Settings) -> bool:
        return self.agreed(settings) or len(self.samples) >= settings.max_repetitions

    def record(self, setup: journal_lib.Setup, settings: settings_lib.Settings) -> journal_lib.Record:
        agreed = self.agreed(settings)
        timings = [sample.timing for sample in (self.samples[-settings_lib.IN_A_ROW :] if agreed else self.samples)]
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


def take_turns(
    session: phone.Session,
    jobs: Sequence[Job],
    settings: settings_lib.Settings,
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


def _run(session: phone.Session, job: Job, settings: settings_lib.Settings) -> benchmark_tool.Timing:
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


def _cool(session: phone.Session, settings: settings_lib.Settings) -> phone.Conditions:
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


def _throttled(conditions: phone.Conditions, settings: settings_lib.Settings) -> bool:
    return conditions.thermal_status is not None and conditions.thermal_status > settings.max_thermal_status


def _status(conditions: phone.Conditions) -> str:
    number = conditions.thermal_status
    name = phone.THERMAL_STATUS[number] if number < len(phone.THERMAL_STATUS) else "unknown"
    return f"thermal status {number}, {name}"
