"""A device's speed of now: a network of known latency is measured beside others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pnag_tf import config as config_lib
from pnag_tf.latency import device as devices
from pnag_tf.latency import table as latency_table
from pnag_tf.space import network
from pnag_tf.space import space as space_lib


@dataclasses.dataclass(frozen=True)
class Reference:
    """A network of known latency that is measured beside the others.

    A shared machine changes its speed by half within minutes; what the reference takes now, against what it took when
    the latency table was made, tells by how much.
    """

    exported: bytes
    latency_ms: float


def of_table(config: config_lib.Config, table: latency_table.LatencyTable, device: devices.Device) -> Reference:
    """The reference network of a latency table, exported anew."""
    known = table.reference()
    model = network.build(config.backbone, space_lib.Architecture.parse(known.arch))
    return Reference(device.export(network.randomise(model)), known.measured_ms)


def latencies_at(
    models: Sequence[bytes], device: devices.Device, known: Reference | None
) -> list[devices.MeasuredLatency]:
    """Latencies as measured in one call, with what the reference tells of the device's speed in that call."""
    if known is None:
        return device.measure(models)
    *latencies, now = device.measure([*models, known.exported])
    return [dataclasses.replace(latency, slowness=now.median_ms / known.latency_ms) for latency in latencies]
