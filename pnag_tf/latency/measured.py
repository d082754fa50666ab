"""Latencies of any number of whole networks: exported and measured a few at a time, each kept as soon as it is known.

A device times the models of one call alternately, so it holds all of them; thousands would not fit. Calls are made
comparable by one network that takes part in each of them.
"""

from __future__ import annotations

import os
import pathlib
import shutil

import numpy as np

from pnag_tf import config as config_lib
from pnag_tf.latency import device as devices
from pnag_tf.latency import jobs
from pnag_tf.space import network
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files

TOGETHER = 16  # networks of one call, without the one that all calls share
COLUMNS = ("arch", "latency_ms", "measured_ms", "slowness", "device")


def latency_ms(
    path: str | os.PathLike,
    config: config_lib.Config,
    choices: np.ndarray,
    device: devices.Device,
    scaled: bool,
    progress: jobs.Progress,
) -> np.ndarray:
    """Latency of each architecture in ms, float64 [n].

    Args:
      path: a CSV that keeps every network measured so far; the same call after a crash, or one that asks for the same
        networks again, measures only what is not in it. A folder beside it holds the models of the call in progress.
      choices: int32 [n, tokens].
      scaled: answer latencies at the speed that the machine had in the first call, told by the network that all calls
        share; else as measured.

    Raises:
      UserError: the file holds measurements of another device.
    """
    path, folder, described = pathlib.Path(path), pathlib.Path(f"{path}.parts"), device.describe()
    rows = files.rows_left(path, COLUMNS)
    for other in {row["device"] for row in rows} - {described}:
        raise errors.UserError(f"{path}: expected latencies of {described}, found those of {other}")
    archs = config.space.decode(choices)
    shared = config.space.decode(config.space.largest())[0]  # the slowest: what disturbs counts least in it
    asked = list(dict.fromkeys([shared, *archs]))
    known = {row["arch"] for row in rows}
    waiting = [arch for arch in asked if str(arch) not in known]
    for start in range(0, len(waiting), TOGETHER):
        done = len(asked) - len(waiting) + start
        part = list(dict.fromkeys([shared, *waiting[start : start + TOGETHER]]))
        progress("measure networks", done, len(asked))
        latencies = jobs.measure(folder, "networks", [_job(config, arch) for arch in part], device, _quietly)
        reference_ms = float(rows[0]["measured_ms"]) if rows else latencies[0].median_ms
        slowness = latencies[0].median_ms / reference_ms if scaled else 1.0
        rows += [
            {
                "arch": str(arch),
                "latency_ms": repr(latency.median_ms / slowness),
                "measured_ms": repr(latency.median_ms),
                "slowness": f"{slowness:.4f}",
                "device": described,
            }
            for arch, latency in zip(part, latencies, strict=True)
            if str(arch) not in known
        ]
        known |= {str(arch) for arch in part}
        files.write_csv(path, rows, COLUMNS)
        shutil.rmtree(folder)
    if waiting:
        progress("measure networks", len(asked), len(asked))
    found = {row["arch"]: float(row["latency_ms"]) for row in rows}
    return np.array([found[str(arch)] for arch in archs])


def _quietly(what: str, done: int, total: int) -> None:
    """A part takes a minute: the bar of the whole tells enough."""


def _job(config: config_lib.Config, arch: space_lib.Architecture) -> jobs.Job:
    return jobs.Job((config.backbone, arch), lambda: network.classifier(network.build(config.backbone, arch)))
