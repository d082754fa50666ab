"""Devices that count instead of timing: budgets in multiply-adds, or in bytes, are budgets in their milliseconds.

On device 'madds' a million multiply-adds take a millisecond, on device 'bytes' a thousand bytes of the file do.
Everything that is made for latency budgets is then made for the other resource.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from pnag_tf.latency import anatomy, export
from pnag_tf.latency import device as devices
from pnag_tf.util import files

UNITS = {
    "madds": (anatomy.madds, 1e6, "counted: a million multiply-adds are 1 ms"),
    "bytes": (len, 1e3, "counted: a thousand bytes of the file are 1 ms"),
}


def device(resource: str) -> devices.Device:
    """The device that counts a resource, 'madds' or 'bytes', in .tflite files."""
    return devices.Device(
        ".tflite", export.convert, functools.partial(_measure, resource=resource), lambda: UNITS[resource][2]
    )


def _measure(
    models: Sequence[devices.Model], progress: Callable[[int, int], None] | None = None, *, resource: str
) -> list[devices.MeasuredLatency]:
    count, unit, description = UNITS[resource]
    found = []
    for done, model in enumerate(models, start=1):
        value = count(model if isinstance(model, bytes) else files.read_bytes(model)) / unit
        found.append(devices.MeasuredLatency(value, value, value, 0, description))
        if progress is not None:
            progress(done, len(models))
    return found
