"""A device that networks of one kind are timed on, such as int8: what is measured of it is of that kind."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

from pnag_tf.latency import device as devices
from pnag_tf.latency import export


def of(device: devices.Device, kind: str) -> devices.Device:
    """The device as one whose networks are of a kind, which its description names.

    Its `export` is for networks and parts of them whose answers do not matter; see `export.for_timing`.

    Args:
      kind: one of `export.QUANTIZATIONS`.
    """
    if kind == export.QUANTIZATIONS[0]:
        return device

    def named(description: str) -> str:
        return f"{description}, {kind}"

    def measure(
        models: Sequence[devices.Model], progress: Callable[[int, int], None] | None = None
    ) -> list[devices.MeasuredLatency]:
        found = device.measure(models, progress=progress)
        return [dataclasses.replace(latency, device=named(latency.device)) for latency in found]

    return dataclasses.replace(
        device,
        export=functools.partial(export.for_timing, quantization=kind),
        measure=measure,
        describe=lambda: named(device.describe()),
    )
