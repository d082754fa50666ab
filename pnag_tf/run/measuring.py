"""Stages that need images or a device: the supernet, the latency table and the records."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Iterator

import keras
import numpy as np
from tqdm import tqdm

from pnag_tf import data
from pnag_tf.latency import device as devices
from pnag_tf.latency import gpu, host, jobs, measured
from pnag_tf.latency import table as latency_table
from pnag_tf.latency.android import measure as android
from pnag_tf.run import workdir
from pnag_tf.search import records as records_lib
from pnag_tf.supernet import fanout, ofa, shrinking, subnet
from pnag_tf.util import errors

WRITE_EVERY = 10  # records between two writes of the unfinished table


class Measuring(workdir.Workdir):
    """From images to records."""

    @functools.cached_property
    def splits(self) -> data.Splits:
        return data.load(self.config.data, self.config.backbone.resolution, self.config.seed)

    @functools.cached_property
    def subnets(self) -> subnet.Subnets:
        """The trained supernet with its calibration images."""
        return subnet.Subnets(self.supernet(), shrinking.calibration_batches(self.config, self.splits))

    @functools.cached_property
    def validation(self) -> Iterable:
        """Batches of the validation images that records are measured on."""
        return shrinking.validation_batches(self.config, self.splits, self.config.measure.validation_images)

    def supernet(self) -> keras.Model:
        """`supernet/`: the trained supernet; or the one that the user gave."""
        if not self.has_supernet:
            raise errors.UserError("--stage=supernet: with --records there is no supernet to train")
        if self.supernet_file:
            return ofa.load(self.supernet_file)
        with self.timed("supernet"):
            return shrinking.train(
                self.config,
                self.splits,
                self.workdir / "supernet",
                log=self.log("supernet"),
                distribution=self.distribution,
            )

    def supernet_path(self) -> pathlib.Path:
        """The file of the trained supernet, which is trained first where it is missing."""
        if self.supernet_file:
            return pathlib.Path(self.supernet_file)
        self.supernet()
        return shrinking.finished(self.config, self.workdir / "supernet")[-1]

    def records(self) -> records_lib.Records:
        """`records.csv`: architectures with validation top-1 and latency."""
        path, config = self.workdir / "records.csv", self.config
        if not path.exists():
            if self.records_file:
                records_lib.write(path, records_lib.read(self.records_file, config.space, config.device))
            else:
                self._measure_records(path)
        return records_lib.read(path, config.space)

    def latency_table(self) -> latency_table.LatencyTable:
        """`latency_table.json`: the blocks of the space, timed on the run's device."""
        path, config = self.workdir / "latency_table.json", self.config
        if not self.has_supernet:
            raise errors.UserError("--stage=latency_table: with --records the latencies are given")
        if path.exists():
            return latency_table.load(path, config.space, config.backbone, self.device.describe())
        rng = np.random.default_rng([config.seed, 2])
        with self.timed("latency_table"), bars() as progress:
            return latency_table.measure_table(
                config.space, config.backbone, self.device, config.latency, rng, path, progress
            )

    @functools.cached_property
    def device(self) -> devices.Device:
        """What networks are timed on."""
        latency = self.config.latency
        if self.config.device == "mobile":
            settings = android.Settings(threads=latency.threads, **dataclasses.asdict(self.config.phone))
            return android.device(settings, self.workdir / "phone.jsonl")
        if self.config.device == "gpu":
            return gpu.device(latency.gpu_batch, latency.allow_cpu)
        return host.device(latency.threads)

    def _measure_records(self, path: pathlib.Path) -> None:
        """Draws architectures and measures them; goes on from an unfinished table.

        The smallest and the largest network are among them: they span the range of budgets.
        """
        config, unfinished = self.config, path.with_name("records.unfinished.csv")
        drawn = config.space.sample(np.random.default_rng([config.seed, 1]), config.measure.architectures - 2)
        choices = np.stack([config.space.smallest(), config.space.largest(), *drawn])
        latency_ms, top1 = self.latencies_ms(choices), np.full(len(choices), np.nan)
        if unfinished.exists():
            earlier = records_lib.read(unfinished, config.space)
            known = {row.tobytes(): value for row, value in zip(earlier.choices, earlier.top1, strict=True)}
            top1[:] = [known.get(row.tobytes(), np.nan) for row in choices]
        waiting = np.flatnonzero(np.isnan(top1))
        judged = self._judged(choices[waiting])
        bar = tqdm(total=len(choices), initial=len(choices) - len(waiting), desc="records", unit="network")
        with self.timed("records"), bar:
            for number, (place, value) in enumerate(judged, start=1):
                top1[waiting[place]] = value
                bar.update()
                if number % WRITE_EVERY == 0:
                    done = np.isfinite(top1)
                    table = records_lib.Records(config.space, choices[done], top1[done], latency_ms[done])
                    records_lib.write(unfinished, table)
        records_lib.write(path, records_lib.Records(config.space, choices, top1, latency_ms))
        unfinished.unlink(missing_ok=True)

    def _judged(self, choices: np.ndarray) -> Iterator[tuple[int, float]]:
        """(row of `choices`, validation top-1), here or on Ray, in any order."""
        config = self.config
        if config.ray.address:
            return fanout.accuracies(config, self.supernet_path(), choices, config.ray.address, config.ray.workers)
        judged = self.subnets.accuracies(choices, self.validation)
        return ((place, top1) for place, (top1, _) in enumerate(judged))

    def latencies_ms(self, choices: np.ndarray) -> np.ndarray:
        """Latency in ms of each architecture, by the table or measured: float64 [n]."""
        if self.config.latency.source == "table":
            return self.latency_table().latency_ms(choices)
        with self.timed("latencies"), bars() as progress:
            return measured.latency_ms(
                self.workdir / "latencies.csv",
                self.config,
                choices,
                self.device,
                self.config.device != "mobile",
                progress,
            )


@contextlib.contextmanager
def bars() -> Iterator[jobs.Progress]:
    """A progress bar for each thing that is reported on."""
    shown: dict[str, tqdm] = {}

    def progress(what: str, done: int, total: int) -> None:
        bar = shown.setdefault(what, tqdm(total=total, desc=what))
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    try:
        yield progress
    finally:
        for bar in shown.values():
            bar.close()
