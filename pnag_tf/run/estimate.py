"""What a run will take: a probe of about a minute, and from it minutes, memory and disk of each stage.

Each kind of work is done a few times on the images and the machine of the run (`probes`), and multiplied by how often
the run does it. What cannot be probed without doing it, as the search on records, is taken from runs that were timed.
"""

from __future__ import annotations

import dataclasses
import pathlib
import resource
import sys
from collections.abc import Iterable

from pnag_tf import config as config_lib
from pnag_tf.run import context as context_lib
from pnag_tf.run import finalists, probes, reference, side_by_side, train
from pnag_tf.supernet import finetune, shrinking
from pnag_tf.util import errors, files

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
    """The stages of a run up to `eval`, after a probe of each kind of work.

    Raises:
      UserError: the images cannot be used, or the device is another machine, which a probe here says nothing of.
    """
    config = context.config
    if config.device != "cpu":
        raise errors.UserError(f"`device={config.device}`: only runs on the CPU can be estimated")
    _ = context.resources.splits  # photos are looked at, and copied, before anything is timed
    found = [Part("data", 0.0, _peak_gib(), _size_mb(context.layout.images))]
    training = probes.Training(context)
    judging = probes.Judging(context, training.net)
    if context.trains_supernet:
        seconds = _supernet_s(context, training, judging)
        weights_mb = training.weights_mb() * (2 + len(config.supernet.phases))
        found.append(Part("supernet", seconds, _peak_gib(), weights_mb))
    timing = probes.Timing(config)
    found.append(Part("latency_table", timing.table_s(), _peak_gib(), 0.1))
    each_s = judging.record_s(config.measure.validation_images)
    records = _records(config, each_s)
    found.append(Part("records", records * each_s, _peak_gib(), 0.1))
    found.append(Part("search", SEARCH_S + SEARCH_PER_RECORD_S * records, 1.0, 2.0))
    eval_s = _eval_s(context, training, judging, timing)
    found.append(Part("eval", eval_s, _peak_gib(), probes.BUDGETS * 3 * training.weights_mb()))
    return found


def _records(config: config_lib.Config, each_s: float) -> int:
    """How many networks are measured, those of rounds that have their time among them."""
    in_rounds = config.measured - config.measure.architectures
    if config.eval.minutes:
        in_rounds = min(in_rounds, int(60 * config.eval.minutes / each_s))
    return config.measure.architectures + in_rounds


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


def _supernet_s(context: context_lib.Context, training: probes.Training, judging: probes.Judging) -> float:
    """Seconds of all phases: steps, what is kept after each chunk of them, and two networks judged behind each."""
    config, seconds = context.config, 0.0
    for number, phase in enumerate(config.supernet.phases):
        first_s, step_s, keep_s = training.phase_s(number)
        steps = shrinking.planned_steps(config, context.resources.splits, phase)
        seconds += first_s + steps * step_s + steps / shrinking.CHUNK_STEPS * keep_s
        seconds += 2 * judging.record_s(config.measure.validation_images)
    return seconds


def _eval_s(
    context: context_lib.Context, training: probes.Training, judging: probes.Judging, timing: probes.Timing
) -> float:
    """Seconds of choosing, fine-tuning, exporting, timing and testing."""
    config, splits = context.config, context.resources.splits
    archs = list(judging.deployed())
    measured_s = timing.measured_s(len(archs), reference.NETWORKS, reference.CALLS)
    choosing_s = len(archs) * finalists.FINALISTS * judging.record_s(config.measure.finalist_images) + measured_s
    test_s = sum(judging.pass_s(arch)[1] for arch in archs) * splits.info.test_images
    if not config.finetune.epochs:
        return choosing_s + test_s
    largest_s, training_s = judging.pass_s(config.space.largest())[1], 0.0
    step_s, keep_s = training.alone_s()
    for choices in archs:
        settings = train.planned(context, str(config.space.decode(choices)[0])).finetune
        epochs, steps = finetune.planned(settings, splits.steps_per_epoch(config.data.batch_size))
        judge_s = judging.pass_s(choices)[1]
        looks_s = judge_s * splits.info.validation_images + keep_s
        training_s += epochs * (steps * step_s * judge_s / largest_s + looks_s)
    if side_by_side.processes(context, len(archs)) > 1:
        training_s = training_s / BESIDE + START_S
    return choosing_s + training_s + measured_s + test_s


def _peak_gib() -> float:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def _size_mb(folder: pathlib.Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


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
