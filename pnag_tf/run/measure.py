"""The stages `latency_table` and `records`: what blocks cost on the device, what random architectures are worth."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from pnag_tf import config as config_lib
from pnag_tf.latency import counted, measured
from pnag_tf.latency import table as table_lib
from pnag_tf.run import context as context_lib
from pnag_tf.run import hits as hits_lib
from pnag_tf.run import layout as layout_lib
from pnag_tf.run import signal
from pnag_tf.search import measuring, noise, rounds
from pnag_tf.search import records as records_lib
from pnag_tf.space import cost
from pnag_tf.supernet import fanout
from pnag_tf.util import errors, files

POOL = 5  # architectures drawn for each that is chosen by its multiply-adds ...
PARTS = 20  # ... from so many parts of their range
WRITE_EVERY = 10  # records between two writes of the unfinished table


def latency_table(context: context_lib.Context) -> None:
    """Times the blocks of the space on the run's device; goes on where a killed call was."""
    config, rng = context.config, np.random.default_rng([context.config.seed, 2])
    with context.timed("latency_table"), context_lib.bars() as progress:
        table_lib.measure_table(
            config.space,
            config.backbone,
            context.resources.device,
            config.latency,
            rng,
            context.layout.latency_table,
            progress,
        )


def read_latency_table(context: context_lib.Context) -> table_lib.LatencyTable:
    """What `latency_table` made. Raises UserError when it is of another device."""
    config = context.config
    described = context.resources.device.describe()
    return table_lib.load(context.layout.latency_table, config.space, config.backbone, described)


def records(context: context_lib.Context) -> None:
    """Draws architectures and measures them, or takes the given ones; goes on from an unfinished table."""
    config, path = context.config, context.layout.records
    if context.records_file:
        records_lib.write(path, records_lib.read(context.records_file, config.space, config.device))
        signal.warn(context.layout)
        return
    if context.layout.home != context.layout.root:
        _of_another_device(context)
        return
    choices = draw(config)
    with context.timed("records/latencies"):
        latency_ms = latencies_ms(context, choices)
    top1, hits = _top1(context, choices, latency_ms)
    _write_image_means(context, choices, hits)
    top1_se = _standard_errors(context, choices, hits)
    records_lib.write(path, records_lib.Records(config.space, choices, top1, latency_ms, top1_se))
    context.layout.unfinished_records.unlink(missing_ok=True)
    shutil.rmtree(context.layout.unfinished_hits, ignore_errors=True)
    signal.warn(context.layout)


def _of_another_device(context: context_lib.Context) -> None:
    """Takes the accuracies of the run that the device belongs to; latencies alone are its own."""
    home = layout_lib.Layout(context.layout.home)
    table = records_lib.read(home.records, context.config.space)
    with context.timed("records/latencies"):
        latency_ms = latencies_ms(context, table.choices)
    records_lib.write(context.layout.records, dataclasses.replace(table, latency_ms=latency_ms))


def draw(config: config_lib.Config) -> np.ndarray:
    """The architectures that become records, all different: int32 ``[n, tokens]``.

    The smallest and the largest network are among them: they span the range of budgets.
    """
    space, count = config.space, config.measure.architectures - 2
    ends = np.unique([space.smallest(), space.largest()], axis=0)  # in this order
    rng = np.random.default_rng([config.seed, 1])
    if config.measure.draw == "uniform":
        return np.concatenate([ends, space.sample_distinct(rng, count, beside=ends)])
    pool = space.sample_distinct(rng, POOL * count, beside=ends)
    if not len(pool):
        return ends
    madds = np.log([cost.madds(config.backbone, arch) for arch in space.decode(pool)])
    return np.concatenate([ends, pool[_evenly(madds, count, rng)]])


def _evenly(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Places of `count` values, from each part of their range as many by chance, as long as it has any."""
    order = rng.permutation(len(values))
    part = np.digitize(values[order], np.linspace(values.min(), values.max(), PARTS + 1)[1:-1])
    nth = np.empty(len(values), int)  # of its part
    for number in range(PARTS):
        nth[part == number] = np.arange(np.sum(part == number))
    return order[np.lexsort((part, nth))[:count]]


def read_records(context: context_lib.Context) -> records_lib.Records:
    """What `records` made, and what rounds have added."""
    return records_lib.read(context.layout.records, context.config.space)


def _top1(
    context: context_lib.Context, choices: np.ndarray, latency_ms: np.ndarray
) -> tuple[np.ndarray, hits_lib.Hits]:
    """Validation top-1 of each architecture, ``[n]``, and the images it gets right; written now and then.

    Of records that an earlier version left unfinished only the top-1 is known.
    """
    space, layout = context.config.space, context.layout
    top1, hits = np.full(len(choices), np.nan), hits_lib.read(layout.unfinished_hits)
    if layout.unfinished_records.exists():
        earlier = records_lib.read(layout.unfinished_records, space)
        known = {row.tobytes(): value for row, value in zip(earlier.choices, earlier.top1, strict=True)}
        top1[:] = [known.get(row.tobytes(), np.nan) for row in choices]
    waiting, fresh = np.flatnonzero(np.isnan(top1)), []
    judged, weights = _judge(context, choices[waiting]), _weights(context)
    bar = tqdm(total=len(choices), initial=len(choices) - len(waiting), desc="records", unit="network")
    with context.timed("records"), bar:
        for place, right in judged:
            fresh.append(waiting[place])
            hits.add(choices[fresh[-1]], right)
            top1[fresh[-1]] = np.average(right, weights=weights)
            bar.update()
            if len(fresh) == WRITE_EVERY:
                done = np.isfinite(top1)
                # Before the table: what it does not have is measured again, and takes the place of this file.
                hits_lib.write(layout.unfinished_hits / f"{done.sum():08d}.npz", choices[fresh], hits)
                table = records_lib.Records(space, choices[done], top1[done], latency_ms[done])
                records_lib.write(layout.unfinished_records, table)
                fresh = []
    return top1, hits


def _weights(context: context_lib.Context) -> np.ndarray | None:
    """How much each validation image counts; see `Resources.image_weights`."""
    return context.resources.image_weights(context.config.measure.validation_images)


def _judge(context: context_lib.Context, choices: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(row of `choices`, which validation images are right: bool [images]), here or on Ray, in any order."""
    ray, resources = context.config.ray, context.resources
    if ray.address:
        return fanout.hits(
            context.config, resources.supernet_path, choices, ray.address, ray.workers, context.layout.images
        )
    judged = resources.subnets.hits(choices, resources.validation)
    return ((place, right) for place, (right, _) in enumerate(judged))


def _write_image_means(context: context_lib.Context, choices: np.ndarray, hits: hits_lib.Hits) -> None:
    """What later measurements are paired with, so that all standard errors are relative to the same mean."""
    _, packed = hits.of(choices)
    if len(packed) > 1:
        with files.replacing(context.layout.record_images) as beside:
            np.savez(beside, mean=noise.image_means(packed, hits.images))


def _standard_errors(context: context_lib.Context, choices: np.ndarray, hits: hits_lib.Hits) -> np.ndarray:
    """Standard error of each top-1 relative to the mean of the records, ``[n]``; NaN where it cannot be told.

    That is where the images that an architecture, or any of the records, gets right are not known: an earlier version
    did not keep them.
    """
    found, path = np.full(len(choices), np.nan), context.layout.record_images
    if path.exists():
        places, packed = hits.of(choices)
        mean = files.read_npz(path)["mean"]
        found[places] = noise.standard_errors(packed, hits.images, mean, _weights(context))
    return found


def latencies_ms(context: context_lib.Context, choices: np.ndarray) -> np.ndarray:
    """Latency in ms of each architecture, by the table or measured: float64 ``[n]``."""
    config = context.config
    if config.latency.source == "table":
        return read_latency_table(context).latency_ms(choices)
    scaled = config.device not in ("mobile", *counted.UNITS)
    with context_lib.bars() as progress:
        return measured.latency_ms(
            context.layout.latencies, config, choices, context.resources.device, scaled, progress
        )


def latency_model(context: context_lib.Context, table: records_lib.Records) -> Callable[[np.ndarray], np.ndarray]:
    """Latency in ms of any architecture without measuring it: by the latency table, or as the records tell."""
    config = context.config
    if config.latency.source == "table" and context.has_supernet and not config.eval.measure_command:
        return read_latency_table(context).latency_ms
    return rounds.latency_of(table)


def measure(context: context_lib.Context, choices: np.ndarray) -> records_lib.Records:
    """Records of chosen architectures, by the user's command or by the supernet and this machine."""
    config = context.config
    if config.eval.measure_command:
        timeout_s = config.eval.measure_timeout_s
        return measuring.by_command(config.eval.measure_command, config.space, timeout_s)(choices)
    if not context.has_supernet:
        raise errors.UserError(
            "records without a supernet: expected `eval.measure_command` to measure with, found none"
        )
    judged = context.resources.subnets.hits(choices, context.resources.validation)
    top1, hits, weights = np.empty(len(choices)), hits_lib.Hits(0, {}), _weights(context)
    for place, (right, _) in enumerate(tqdm(judged, total=len(choices), desc="round", unit="network")):
        hits.add(choices[place], right)
        top1[place] = np.average(right, weights=weights)
    latency_ms, top1_se = latencies_ms(context, choices), _standard_errors(context, choices, hits)
    return records_lib.Records(config.space, choices, top1, latency_ms, top1_se)
