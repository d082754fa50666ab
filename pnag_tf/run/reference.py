"""A device's speed of now: networks of known latency are measured beside others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from pnag_tf import config as config_lib
from pnag_tf.latency import device as devices
from pnag_tf.latency import table as latency_table
from pnag_tf.space import network
from pnag_tf.space import space as space_lib

NETWORKS = 4  # of known latency: one alone would add its own scatter to all others
CALLS = 3  # of the device, of which each network's median one counts


@dataclasses.dataclass(frozen=True)
class Reference:
    """Networks of known latency that are measured beside the others.

    A shared machine changes its speed by half within minutes; what these take now, against what they took when the
    latency table was made, tells by how much.

    Attributes:
      exported: the content of their files.
      latencies_ms: of each, when the table was made.
    """

    exported: tuple[bytes, ...]
    latencies_ms: tuple[float, ...]

    def slowness(self, now: Sequence[devices.MeasuredLatency]) -> float:
        """How many times longer the networks take now: the geometric mean."""
        ratios = [latency.median_ms / known for latency, known in zip(now, self.latencies_ms, strict=True)]
        return float(np.exp(np.mean(np.log(ratios))))


def of_table(config: config_lib.Config, table: latency_table.LatencyTable, device: devices.Device) -> Reference:
    """The reference networks of a latency table, exported anew."""
    known = table.references(NETWORKS)
    models = [network.build(config.backbone, space_lib.Architecture.parse(each.arch)) for each in known]
    exported = tuple(device.export(network.classifier(network.randomise(model))) for model in models)
    return Reference(exported, tuple(each.measured_ms for each in known))


def latencies_at(
    models: Sequence[bytes], device: devices.Device, known: Reference | None
) -> list[devices.MeasuredLatency]:
    """Latencies as measured beside the reference, with what that tells of the device's speed in the same call.

    All models of a call compare. Of several calls each model has the one that is the median at the table's speed.
    Without a reference there is one call.
    """
    if known is None:
        return device.measure(models)
    calls = []
    for _ in range(CALLS):
        found = device.measure([*models, *known.exported])
        slowness = known.slowness(found[len(models) :])
        calls.append([dataclasses.replace(latency, slowness=slowness) for latency in found[: len(models)]])
    return [sorted(each, key=lambda latency: latency.at_table_ms)[CALLS // 2] for each in zip(*calls, strict=True)]
