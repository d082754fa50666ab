"""Training by the clock: a few steps tell how fast a network trains here, and with it how many epochs fit a time."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable

import keras

from pnag_tf import config as config_lib
from pnag_tf import data as data_lib
from pnag_tf.supernet import distribution as distribution_lib
from pnag_tf.supernet import finetune

SHARE = 0.03  # of the time, spent on measuring the pace
MOST_STEPS = 200


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast a network trains, in seconds.

    Attributes:
      spent_s: what it took to find out.
      start_s: before the first step of a process, while the training is compiled.
      step_s: a batch of training images.
      validation_s: all validation images.
      keep_s: to save the network.
    """

    spent_s: float
    start_s: float
    step_s: float
    validation_s: float
    keep_s: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long to train: `epochs` of `steps` batches, each followed by a look at the validation images."""

    epochs: int
    steps: int


def measure(
    start: Callable[[], keras.Model],
    config: config_lib.Config,
    splits: data_lib.Splits,
    folder: pathlib.Path,
    seconds: float,
    distribution: distribution_lib.Distribution,
) -> Pace:
    """The pace of a network that is to be trained for some seconds.

    Args:
      start, config, splits, folder: as for `finetune.train`, which then begins with the start that is saved here.
    """
    began = time.monotonic()
    path, batch = folder / finetune.BEST, config.data.batch_size
    network = start()
    keep_s = _timed(lambda: finetune.keep(network, distribution.written(path)))
    validation = splits.validation(config.measure.batch_size)
    batches = int(validation.cardinality())

    def feed(images):
        return finetune.fed(images, splits.info.classes, distribution)

    def fit(steps: int) -> None:
        network.fit(feed(splits.train(batch, steps=steps)), steps_per_epoch=steps, shuffle=False, verbose=0)

    def evaluate(steps: int) -> None:
        network.evaluate(feed(validation.take(steps)), verbose=0)

    compiling = time.monotonic()
    network = finetune.compiled(distribution.shared(path), config, 1, distribution)
    fit(1)
    evaluate(1)
    start_s = time.monotonic() - compiling
    step_s = _timed(lambda: fit(2)) / 2  # roughly
    steps = int(min(max(SHARE * seconds / step_s, 2), MOST_STEPS))
    step_s = _timed(lambda: fit(steps)) / steps
    some = min(batches, max(1, steps // 4))
    validation_s = _timed(lambda: evaluate(some)) / some * batches
    return Pace(time.monotonic() - began, start_s, step_s, validation_s, keep_s)


def plan(pace: Pace, seconds: float, steps_per_epoch: int) -> Plan:
    """What fits into the seconds that are left; where that is less than an epoch, one with as many steps as fit."""
    judging_s = pace.validation_s + pace.keep_s
    left_s = seconds - pace.spent_s - pace.start_s - pace.validation_s  # training begins with a look at validation
    epochs = math.floor(left_s / (steps_per_epoch * pace.step_s + judging_s))
    if epochs >= 1:
        return Plan(epochs, steps_per_epoch)
    return Plan(1, min(steps_per_epoch, max(1, math.floor((left_s - judging_s) / pace.step_s))))


def _timed(run: Callable[[], None]) -> float:
    """Seconds."""
    start = time.monotonic()
    run()
    return time.monotonic() - start
