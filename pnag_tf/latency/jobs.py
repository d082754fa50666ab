"""Many models measured in one call of a device, resumable: a folder keeps what is converted and measured.

Converting and measuring never overlap, so that one does not disturb the other.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Sequence

import keras

from pnag_tf.latency import device as devices
from pnag_tf.space import network
from pnag_tf.util import files

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how much of it: `progress('convert blocks', 3, 90)`."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One model to measure.

    Attributes:
      identity: its `repr` tells the model from others in the folder.
      build: makes it, freshly initialised: latency does not depend on the weights.
    """

    identity: object
    build: Callable[[], keras.Model]

    @property
    def name(self) -> str:
        return files.digest(self.identity)


def measure(
    folder: pathlib.Path, what: str, jobs: Iterable[Job], device: devices.Device, progress: Progress
) -> list[devices.MeasuredLatency]:
    """Latency of each job; all in one call of the device, so that they compare, and equal ones once.

    Args:
      folder: keeps the files and the result; the same call after a crash goes on from there.
      what: names the call to the user, and the result in the folder.
    """
    jobs = list(jobs)
    distinct = list({job.name: job for job in jobs}.values())
    results = folder / f"{what}-{files.digest([job.name for job in distinct])}.json"
    if not results.exists():
        paths = [folder / f"{job.name}{device.suffix}" for job in distinct]
        _convert(distinct, paths, what, device, progress)
        latencies = device.measure(paths, progress=lambda done, total: progress(f"measure {what}", done, total))
        rows = {job.name: dataclasses.asdict(latency) for job, latency in zip(distinct, latencies, strict=True)}
        files.write_json(results, rows)
    found = files.read_json(results)
    return [devices.MeasuredLatency(**found[job.name]) for job in jobs]


def _convert(
    jobs: Sequence[Job], paths: Sequence[pathlib.Path], what: str, device: devices.Device, progress: Progress
) -> None:
    for done, (job, path) in enumerate(zip(jobs, paths, strict=True), start=1):
        if not path.exists():
            files.write_bytes(path, device.export(network.randomise(job.build())))
        progress(f"convert {what}", done, len(jobs))
