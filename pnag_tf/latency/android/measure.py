"""Latency on a phone: the official benchmark tool over adb.

A phone gets warm, slows down, and gets unplugged. So the models of one call take turns, each is run until three runs
in a row agree, runs while the phone throttles do not count, and what is measured is kept when the cable is pulled.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence

from absl import logging

from pnag_tf.latency import device as devices
from pnag_tf.latency.android import adb, phone, runs
from pnag_tf.latency.android import journal as journal_lib
from pnag_tf.latency.android import settings as settings_lib
from pnag_tf.latency.android import setup as setup_lib
from pnag_tf.util import errors

LOSSES = 3  # in a row without a finished run in between, after which a phone is lost for good


def device(settings: settings_lib.Settings, journal: str | os.PathLike | None = None) -> devices.Device:
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
    settings: settings_lib.Settings | None = None,
    journal: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[devices.MeasuredLatency]:
    """Latency of each .tflite (content or path) on a phone; see `device.Measure` and `records`."""
    return [
        devices.MeasuredLatency(record.median_ms, record.p5_ms, record.p95_ms, record.runs, record.setup.description)
        for record in records(models, settings=settings, journal=journal, progress=progress)
    ]


def describe(settings: settings_lib.Settings | None = None) -> str:
    """The phone, the tool and the cores, for a person to read; figures with different descriptions do not compare.

    Raises:
      UserError: there is no such phone, or no tool.
    """
    return setup_lib.find(settings or settings_lib.Settings())[1].description


def records(
    models: Sequence[devices.Model],
    *,
    settings: settings_lib.Settings | None = None,
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
    settings = settings or settings_lib.Settings()
    settings.check()
    jobs = [runs.Job(model, number) for number, model in enumerate(models)]
    if not jobs:
        return []
    device, setup, tool = setup_lib.find(settings)
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
                    runs.take_turns(session, waiting, settings, kept, report)
        except adb.Lost as lost:
            losses = 0 if sum(len(job.samples) for job in waiting) > before else losses + 1
            if losses == LOSSES:
                raise
            logging.warning("%s; waiting for it", lost)
            device = _back(settings, setup, folder, lost, kept)
    kept.finish(job.sha256 for job in distinct)
    done = {job.sha256: job.record(setup, settings) for job in distinct}
    return [dataclasses.replace(done[job.sha256], model=job.name) for job in jobs]


def _fill(folder: pathlib.Path, tool: bytes, jobs: Sequence[runs.Job]) -> None:
    """Fills a folder with what goes to the phone: plain names, whatever those of the models are."""
    (folder / phone.TOOL).write_bytes(tool)
    for job in jobs:
        job.write(folder / job.file)


def _back(
    settings: settings_lib.Settings, setup: journal_lib.Setup, folder: str, lost: adb.Lost, kept: journal_lib.Journal
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


def _report(jobs: Sequence[runs.Job], settings: settings_lib.Settings, progress: Callable[[int, int], None]) -> None:
    """Tells how far it is: nothing is done before all is, however many more runs it takes."""
    total = settings_lib.IN_A_ROW * len(jobs)
    done = sum(min(len(job.samples), settings_lib.IN_A_ROW) for job in jobs)
    finished = all(job.settled(settings) for job in jobs)
    progress(total if finished else min(done, total - 1), total)
