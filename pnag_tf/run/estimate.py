"""What a run will take: a probe of about half a minute, and from it minutes, memory and disk of each stage.

Each kind of work is done a few times on the images and the machine of the run, and multiplied by how often the run does
it. What cannot be probed without doing it, as the search on records, is taken from runs that were timed.
"""

from __future__ import annotations

import dataclasses
import pathlib
import resource
import sys
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from pnag_tf import config as config_lib
from pnag_tf.latency import host, turns
from pnag_tf.run import context as context_lib
from pnag_tf.run import finalists, measure, side_by_side, train
from pnag_tf.space import cost, network
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import finetune, ofa, pace, shrinking, subnet, transfer
from pnag_tf.util import errors, files

BUDGETS = 5  # networks that are deployed, where budgets are not given
PROBE_S = 3.0  # for each kind of step, once it is compiled
LEAST_PROBES = 2
SEARCH_S, SEARCH_PER_RECORD_S = 30.0, 0.03  # predictors, evaluator and generator: runs on two cores
START_S = 12.0  # of a process that trains a network beside others
BESIDE = 1.3  # times as many steps by processes side by side (benchmarks/results.md: 1.2 to 1.7)
LEAST_RECORDS, MOST_RECORDS = 60, 2000
COLUMNS = ("stage", "minutes", "memory_gib", "disk_mb")


@dataclasses.dataclass(frozen=True)
class Part:
    """What a stage is expected to take.

    Attributes:
      stage: its name.
      seconds: of the whole stage.
      memory_gib: the most that the process held in the probe.
      disk_mb: what the stage writes.
    """

    stage: str
    seconds: float
    memory_gib: float
    disk_mb: float

    def row(self) -> dict[str, str]:
        numbers = (f"{self.seconds / 60:.1f}", f"{self.memory_gib:.1f}", f"{self.disk_mb:.0f}")
        return dict(zip(COLUMNS, (self.stage, *numbers), strict=True))


def parts(context: context_lib.Context) -> list[Part]:
    """What each stage of a run on images will take, in their order.

    Raises:
      UserError: the images cannot be used, or the device is another machine, which a probe here says nothing of.
    """
    config, splits = context.config, context.resources.splits
    if config.device != "cpu":
        raise errors.UserError(f"`device={config.device}`: only runs on the CPU can be estimated")
    net = _start(context)
    found = [Part("data", 0.0, _peak_gib(), _size_mb(context.layout.images))]
    if context.trains_supernet:
        phases = range(len(config.supernet.phases))
        steps_s = [_step_s(context, net, number) for number in phases]
        counts = [shrinking.planned_steps(config, splits, phase) for phase in config.supernet.phases]
        seconds = sum(first_s + count * step_s for count, (first_s, step_s) in zip(counts, steps_s, strict=True))
        found.append(Part("supernet", seconds, _peak_gib(), _weights_mb(net) * (2 + len(counts))))
    judged = _Judged(context, net)
    found.append(Part("latency_table", _table_s(config), _peak_gib(), 0.1))
    records = config.measure.architectures * judged.record_s()
    found.append(Part("records", records, _peak_gib(), 0.1))
    found.append(Part("search", SEARCH_S + SEARCH_PER_RECORD_S * config.measure.architectures, 1.0, 2.0))
    found.append(Part("eval", _eval_s(context, net, judged), _peak_gib(), BUDGETS * 3 * _weights_mb(net)))
    return found


def table(found: Iterable[Part]) -> list[dict[str, str]]:
    """The rows to print, with their sum."""
    found = list(found)
    whole = Part(
        "all",
        sum(part.seconds for part in found),
        max(part.memory_gib for part in found),
        sum(part.disk_mb for part in found),
    )
    return [part.row() for part in (*found, whole)]


def fitting_records(found: Iterable[Part], architectures: int, hours: float) -> int:
    """How many records fit: all else takes what it takes, and each record its part of the stage.

    Args:
      found: of a run with `architectures` records.

    Raises:
      UserError: too few fit to learn from.
    """
    seconds = {part.stage: part.seconds for part in found}
    each_s = seconds["records"] / architectures + SEARCH_PER_RECORD_S
    rest_s = sum(seconds.values()) - architectures * each_s
    count = int((3600 * hours - rest_s) / each_s)
    if count < LEAST_RECORDS:
        least = (rest_s + LEAST_RECORDS * each_s) / 3600
        raise errors.UserError(f"expected {least:.1f} hours or more for {LEAST_RECORDS} records, found {hours:g}")
    return min(count, MOST_RECORDS)


def _start(context: context_lib.Context):
    """The supernet as training begins with it, or the given one."""
    config = context.config
    if not context.supernet_file:
        return shrinking.fresh(config)
    if not config.supernet.adapt_epochs:
        return context.resources.supernet
    given = ofa.load(context.supernet_file)
    return transfer.adapted(given, config.space, config.backbone, config.supernet.dropout, config.seed)


def _step_s(context: context_lib.Context, net, number: int) -> tuple[float, float]:
    """(seconds before the second step of a phase, seconds of a step), the images included."""
    config, splits = context.config, context.resources.splits
    phase = config.supernet.phases[number]
    teacher = shrinking.largest(net) if phase.teacher else None
    trainer = shrinking.trainer_of(config, splits, net, number, teacher, context.distribution)
    step = tf.function(lambda images, labels: trainer.train_step((images, labels)), autograph=False)
    batches = iter(splits.train(config.data.batch_size))
    first_s = pace.timed(lambda: step(*next(batches)))
    return first_s, _mean_s(lambda: step(*next(batches)))


class _Judged:
    """How long it takes to judge architectures, with the supernet's weights.

    Args:
      net: the supernet.
    """

    def __init__(self, context: context_lib.Context, net):
        config, self._splits = context.config, context.resources.splits
        self._config, self._space = config, config.space
        self._calibration = next(iter(shrinking.calibration_batches(config, self._splits)))
        self._validation = next(iter(shrinking.validation_batches(config, self._splits, 0)))
        self._subnets = subnet.Subnets(net, [self._calibration])
        self._archs = measure.draw(config)
        self._madds = np.array([cost.madds(config.backbone, arch) for arch in self._space.decode(self._archs)])

    def near(self, madds: float) -> np.ndarray:
        """An architecture of about as many multiply-adds."""
        return self._archs[np.argmin(np.abs(np.log(self._madds / madds)))]

    def pass_s(self, choices: np.ndarray) -> tuple[float, float]:
        """Seconds of an image in calibration and in validation."""
        statistics = self._subnets.statistics(choices)
        calibrate_s = _mean_s(lambda: self._subnets.statistics(choices))
        judge_s = _mean_s(lambda: next(self._subnets.hits([choices], [self._validation], [statistics])))
        return calibrate_s / len(self._calibration), judge_s / len(self._validation[1])

    def record_s(self, images: int | None = None) -> float:
        """Seconds of an average record.

        Args:
          images: validation images, 0 for all; those of a record by default.
        """
        settings, info = self._config.measure, self._splits.info
        images = (settings.validation_images if images is None else images) or info.validation_images
        calibrate_s, judge_s = self.pass_s(self.near(self._madds.mean()))
        calibration = min(settings.calibration_images, info.train_images)
        return calibrate_s * calibration + judge_s * min(images, info.validation_images)

    def deployed(self) -> Iterator[np.ndarray]:
        """Architectures such as a run deploys: in equal ratios over the multiply-adds of the space."""
        count = len(self._config.eval.budgets) or BUDGETS
        for madds in np.geomspace(self._madds.min(), self._madds.max(), count + 1)[1:]:
            yield self.near(madds)


def _table_s(config: config_lib.Config) -> float:
    """Seconds of the latency table: conversion of its models, and their slices."""
    space, (largest,) = config.space, config.space.decode(config.space.largest())
    blocks = space.layers * len(space.ratios) * len(space.kernels)
    networks = config.latency.calibration_networks + config.latency.check_networks
    model = network.randomise(network.build(config.backbone, largest))
    exported: list[bytes] = []
    network_s = pace.timed(lambda: exported.append(host.device().export(model)))
    run_s = host.measure(exported, config.latency.threads)[0].median_ms / 1000
    slice_s = max(host.SLICE_MS / 1000, turns.MIN_SAMPLES_PER_SLICE * run_s) + turns.WARM_UP_SAMPLES * run_s
    block_s = network_s / max(1, sum(largest.depths)) + 0.1
    return blocks * (block_s + turns.MAX_ROUNDS * host.SLICE_MS / 1000) + networks * (
        network_s + turns.MAX_ROUNDS * slice_s
    )


def _eval_s(context: context_lib.Context, net, judged: _Judged) -> float:
    """Seconds of choosing, training alone, exporting, timing and testing."""
    config, splits = context.config, context.resources.splits
    archs = list(judged.deployed())
    choosing_s = len(archs) * finalists.FINALISTS * judged.record_s(config.measure.finalist_images)
    test_s = sum(judged.pass_s(arch)[1] for arch in archs) * splits.info.test_images
    if not config.finetune.epochs:
        return choosing_s + test_s
    per_epoch = splits.steps_per_epoch(config.data.batch_size)
    largest_s, training_s = judged.pass_s(config.space.largest())[1], 0.0
    _, step_s = _alone_step_s(context, net)
    for choices in archs:
        arch = str(config.space.decode(choices)[0])
        epochs = finetune.planned_epochs(train.planned(context, arch).finetune, per_epoch)
        judge_s = judged.pass_s(choices)[1]
        training_s += epochs * (per_epoch * step_s * judge_s / largest_s + judge_s * splits.info.validation_images)
    if side_by_side.processes(context, len(archs)) > 1:
        training_s = training_s / BESIDE + START_S
    return choosing_s + training_s + test_s


def _alone_step_s(context: context_lib.Context, net) -> tuple[float, float]:
    """(seconds before the second step, seconds of a step) of the largest network, trained alone."""
    config, splits = context.config, context.resources.splits
    (largest,) = config.space.decode(config.space.largest())
    trained = finetune.prepared(subnet.extract(net, space_lib.Architecture.parse(str(largest))), config, 1)
    feed = finetune.fed(
        splits.train(config.data.batch_size), splits.info.classes, context.distribution, splits.class_weights
    )
    batches = iter(feed)
    first_s = pace.timed(lambda: trained.train_on_batch(*next(batches)))
    return first_s, _mean_s(lambda: trained.train_on_batch(*next(batches)))


def _mean_s(run: Callable[[], object]) -> float:
    """Seconds of a run, the median of as many as fit `PROBE_S`; the first is not counted."""
    run()
    seconds: list[float] = []
    while len(seconds) < LEAST_PROBES or sum(seconds) < PROBE_S / 2:
        seconds.append(pace.timed(run))
    return float(np.median(seconds))


def _peak_gib() -> float:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def _size_mb(folder) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _weights_mb(net) -> float:
    return sum(int(np.prod(weight.shape)) for weight in net.weights) * 4 / 1e6


def with_records(found: Iterable[Part], before: int, architectures: int) -> list[Part]:
    """The parts of a run with another number of records than `before`."""
    added_s = SEARCH_PER_RECORD_S * (architectures - before)
    change = {"records": lambda s: s * architectures / before, "search": lambda s: s + added_s}
    return [dataclasses.replace(part, seconds=change.get(part.stage, lambda s: s)(part.seconds)) for part in found]


def write(path: pathlib.Path, found: Iterable[Part], architectures: int, hours: float | None) -> None:
    rows = [dataclasses.asdict(part) for part in found]
    files.write_json(path, {"architectures": architectures, "hours": hours, "parts": rows})


def read(path: pathlib.Path) -> list[Part]:
    return [Part(**row) for row in files.read_json(path)["parts"]]


def hours(path: pathlib.Path) -> float | None:
    """Those that an estimate was made for."""
    return files.read_json(path)["hours"]


def architectures(path: pathlib.Path) -> int:
    """How many records the run of an estimate has."""
    return files.read_json(path)["architectures"]
