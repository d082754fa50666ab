"""From proposals to deployed networks: validation accuracy chooses, the exported network's own latency decides."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import logging
from tqdm import tqdm

from pnag_tf import config as config_lib
from pnag_tf import data
from pnag_tf.latency import device as devices
from pnag_tf.latency import export
from pnag_tf.latency import table as latency_table
from pnag_tf.run import quantization
from pnag_tf.search import candidates as candidates_lib
from pnag_tf.space import cost, network
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import shrinking, subnet
from pnag_tf.util import digits, files

FINALISTS = 4  # proposals per budget whose validation accuracy is measured


@dataclasses.dataclass(eq=False)
class Finalist:
    """A proposal on its way to the device; what is not known yet is None.

    Attributes:
      found, place: where it was proposed.
      statistics: recalibrated batch norm, float32 [2, channels].
      top1: on the whole validation set.
      exported: the content of its file, as the device runs it.
      latency: as measured, with how slow the reference was in the same call.
      test: top-1 and top-5 on the test images.
    """

    found: candidates_lib.Candidates
    place: int
    statistics: np.ndarray | None = None
    top1: float | None = None
    exported: bytes | None = None
    latency: devices.MeasuredLatency | None = None
    test: tuple[float, float] | None = None

    @property
    def choices(self) -> np.ndarray:
        return self.found.choices[self.place]

    @property
    def predicted_ms(self) -> float:
        return self.found.latency_ms[self.place]


@dataclasses.dataclass(frozen=True)
class Reference:
    """A network of known latency that is measured beside the others.

    A shared machine changes its speed by half within minutes; what the reference takes now, against what it took when
    the latency table was made, tells by how much.
    """

    exported: bytes
    latency_ms: float


def reference(config: config_lib.Config, table: latency_table.LatencyTable, device: devices.Device) -> Reference:
    """The reference network of a latency table, exported anew."""
    known = table.reference()
    model = network.build(config.backbone, space_lib.Architecture.parse(known.arch))
    return Reference(device.export(network.randomise(model)), known.measured_ms)


def choose(
    config: config_lib.Config,
    subnets: subnet.Subnets,
    splits: data.Splits,
    device: devices.Device,
    proposals: list[candidates_lib.Candidates],
    known: Reference | None,
) -> list[Finalist]:
    """For each budget the best finalist on validation that keeps it when exported and measured.

    A budget is held to the latency at the latency table's speed, as records and predictors give it.
    The finalists of all budgets compete: a network found for a smaller budget may serve a larger one.

    Args:
      known: measured beside the others; None where latencies count as measured.
    """
    distinct = {}
    for found in proposals:
        for place in range(min(FINALISTS, len(found))):
            distinct.setdefault(found.choices[place].tobytes(), Finalist(found, place))
    finalists = list(distinct.values())
    for finalist in tqdm(finalists, desc="recalibrate", unit="network"):
        finalist.statistics = subnets.statistics(finalist.choices)
    judged = subnets.accuracies(
        [finalist.choices for finalist in finalists],
        shrinking.validation_batches(config, splits, config.measure.finalist_images),
        [finalist.statistics for finalist in finalists],
    )
    for finalist, (top1, _) in zip(tqdm(finalists, desc="validate", unit="network"), judged, strict=True):
        finalist.top1 = top1
    finalists.sort(key=lambda finalist: -finalist.top1)
    budgets_ms = [found.budget_ms for found in proposals]
    chosen = measured_within(finalists, budgets_ms, lambda fresh: _measure(fresh, subnets, device, known))
    for budget_ms, finalist in zip(budgets_ms, chosen, strict=True):
        if finalist.latency.at_table_ms > budget_ms:
            budget = digits.shortest(budget_ms)
            logging.warning("budget %s ms is missed: %.4g ms", budget, finalist.latency.at_table_ms)
    return chosen


def measured_within(finalists: list[Finalist], budgets_ms: list[float], measure) -> list[Finalist]:
    """For each budget the first finalist that measures within it; the fastest measured one where none does.

    Networks are measured in rounds, in each the next one for every budget not yet served, so that few are exported
    and those of a round compare. One that is predicted over a budget is not tried for it.

    Args:
      finalists: the best first.
      measure: sets the latency of each finalist of a list.
    """
    queues = [[each for each in finalists if each.predicted_ms <= budget_ms] for budget_ms in budgets_ms]
    fastest = min(finalists, key=lambda each: each.predicted_ms)
    chosen: list[Finalist | None] = [None] * len(budgets_ms)
    while None in chosen:
        heads = [queue[0] if queue else fastest for queue in queues]
        waiting = [number for number, pick in enumerate(chosen) if pick is None]
        fresh = list({id(heads[n]): heads[n] for n in waiting if heads[n].latency is None}.values())
        if fresh:
            measure(fresh)
        for number in waiting:
            if heads[number].latency.at_table_ms <= budgets_ms[number]:
                chosen[number] = heads[number]
            elif queues[number]:
                queues[number].pop(0)
            else:
                known = [each for each in finalists if each.latency is not None]
                chosen[number] = min(known, key=lambda each: each.latency.at_table_ms)
    return chosen


def _measure(
    finalists: list[Finalist], subnets: subnet.Subnets, device: devices.Device, known: Reference | None
) -> None:
    """Exports and measures, in two passes: one would disturb the other."""
    for finalist in tqdm(finalists, desc="export", unit="network"):
        arch = subnets.net.space.decode(finalist.choices)[0]
        finalist.exported = device.export(subnet.extract(subnets.net, arch, finalist.statistics))
    latencies = latencies_at([finalist.exported for finalist in finalists], device, known)
    for finalist, latency in zip(finalists, latencies, strict=True):
        finalist.latency = latency


def latencies_at(
    models: Sequence[bytes], device: devices.Device, known: Reference | None
) -> list[devices.MeasuredLatency]:
    """Latencies as measured in one call, with what the reference tells of the device's speed in that call."""
    if known is None:
        return device.measure(models)
    *latencies, now = device.measure([*models, known.exported])
    return [dataclasses.replace(latency, slowness=now.median_ms / known.latency_ms) for latency in latencies]


def variants(
    config: config_lib.Config,
    subnets: subnet.Subnets,
    splits: data.Splits,
    device: devices.Device,
    chosen: list[Finalist],
    known: Reference | None,
) -> list[list[quantization.Variant]]:
    """Each chosen network as a .tflite of float32 and of each kind in `config.eval.quantize`; reads the test images.

    All are measured in one call, float32 anew, so that the kinds of all networks compare. Nothing is made where no
    kind is asked for.

    Args:
      known: measured beside the others; None where latencies count as measured.
    """
    if not config.eval.quantize:
        return [[] for _ in chosen]
    distinct = list({id(finalist): finalist for finalist in chosen}.values())
    decode, net = subnets.net.space.decode, subnets.net
    made = quantization.make(
        [(subnet.extract(net, decode(each.choices)[0], each.statistics), each.exported) for each in distinct],
        config.eval.quantize,
        _representative(subnets),
        lambda: splits.test(config.measure.batch_size),
        lambda tflites: latencies_at(tflites, device, known),
    )
    of = {id(finalist): kinds for finalist, kinds in zip(distinct, made, strict=True)}
    return [of[id(finalist)] for finalist in chosen]


def _representative(subnets: subnet.Subnets) -> np.ndarray:
    """As many calibration images as quantisation looks at: float32 [n, r, r, 3]."""
    found, count = [], 0
    for images in subnets.calibration:
        found.append(np.asarray(images))
        count += len(images)
        if count >= quantization.CALIBRATION_IMAGES:
            break
    return np.concatenate(found)[: quantization.CALIBRATION_IMAGES]


def facts(config: config_lib.Config, subnets: subnet.Subnets, splits: data.Splits, finalist: Finalist) -> dict:
    """What is known of a chosen network, as columns; with `variants` the one place that reads the test images."""
    arch = config.space.decode(finalist.choices)[0]
    if finalist.test is None:
        test = splits.test(config.measure.batch_size)
        finalist.test = subnets.accuracy(finalist.choices, test, finalist.statistics)
    return {
        "validation_top1": f"{finalist.top1:.4f}",
        "test_top1": f"{finalist.test[0]:.4f}",
        "test_top5": f"{finalist.test[1]:.4f}",
        **finalist.latency.columns(),
        "params": cost.params(config.backbone, arch),
        "madds": cost.madds(config.backbone, arch),
    }


def write(
    path: pathlib.Path,
    row: dict,
    exported: bytes,
    measured_on: str,
    config: config_lib.Config,
    splits: data.Splits,
    suffix: str,
    kinds: Sequence[quantization.Variant] = (),
) -> list[dict]:
    """Writes the network's file, and `<path>.json` with all that an application needs to use it.

    Kinds of .tflite other than float32 are written to `<path>_<kind>.tflite`; those that an earlier network left there
    go.

    Args:
      path: without a suffix.
      row: what is known of the network, as columns.
      exported: the content of its file, whose name gets `suffix`.
      measured_on: the device.
      kinds: see `variants`.

    Returns:
      What is known of each kind, as columns, the file's name among them; `variants` of the JSON.
    """
    file = path.with_name(path.name + suffix)
    files.write_bytes(file, exported)
    for kind in export.QUANTIZATIONS[1:]:
        path.with_name(f"{path.name}_{kind}.tflite").unlink(missing_ok=True)
    facts_of = []
    for variant in kinds:
        name = file.name
        if variant.quantization != "float32":
            name = f"{path.name}_{variant.quantization}.tflite"
            files.write_bytes(path.with_name(name), variant.tflite)
        facts_of.append(variant.facts() | {"file": name})
    info = splits.info
    description = row | {
        "file": file.name,
        "device": measured_on,
        "resolution": config.backbone.resolution,
        "class_names": info.class_names,
        "mean": info.mean,
        "std": info.std,
        "variants": facts_of,
    }
    files.write_json(path.with_name(path.name + ".json"), description)
    return facts_of
