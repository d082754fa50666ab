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

SHARE = 0.03  # of the time, by which the steps are measured
LEAST_STEPS, MOST_STEPS = 4, 200
LOOKS = 12  # batches of validation images, of which the first ones come out of the pipeline's store


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast a network trains, in seconds.

    Attributes:
      start_s: before the first step of a process, while the training is compiled.
      step_s: a batch of training images.
      validation_s: all validation images, from the first to be read.
      keep_s: to save the network, and what the next epoch begins with.
    """

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
    path, batch = folder / finetune.BEST, config.data.batch_size
    network = start()
    keep_s = timed(lambda: finetune.keep(network, distribution.written(path)))
    validation = splits.validation(config.measure.batch_size)
    batches = int(validation.cardinality())

    def feed(images):
        return finetune.fed(images, splits.info.classes, distribution)

    def fit(steps: int) -> list[float]:
        clock, images = _Clock(), feed(splits.train(batch, steps=steps))
        network.fit(images, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[clock])
        return clock.times

    def evaluate(steps: int) -> list[float]:
        clock = _Clock()
        network.evaluate(feed(validation.take(steps)), verbose=0, callbacks=[clock])
        return clock.times

    compiling = time.monotonic()
    network = finetune.compiled(distribution.shared(path), config, 1, distribution)
    fit(1)
    evaluate(1)
    start_s = time.monotonic() - compiling
    roughly_s = _interval(fit(3))
    step_s = _interval(fit(int(min(max(SHARE * seconds / roughly_s, LEAST_STEPS), MOST_STEPS))))
    keep_s += timed(lambda: finetune.keep_state(network, distribution.written(folder / finetune.STATE)))
    distribution.written(folder / finetune.STATE).unlink()
    looking = time.monotonic()
    some = min(batches, LOOKS)
    times = evaluate(some)
    validation_s = time.monotonic() - looking + (batches - some) * _interval(times)
    return Pace(start_s, step_s, validation_s, keep_s)


def plan(pace: Pace, seconds: float, steps_per_epoch: int) -> Plan:
    """What fits into the seconds, the start included; where that is less than an epoch, one with as many steps as fit.

    What it took to measure the pace does not count.
    """
    judging_s = pace.validation_s + pace.keep_s
    left_s = seconds - pace.start_s - pace.validation_s  # training begins with a look at validation
    epochs = math.floor(left_s / (steps_per_epoch * pace.step_s + judging_s))
    if epochs >= 1:
        return Plan(epochs, steps_per_epoch)
    return Plan(1, min(steps_per_epoch, max(1, math.floor((left_s - judging_s) / pace.step_s))))


def timed(run: Callable[[], None]) -> float:
    """Seconds."""
    start = time.monotonic()
    run()
    return time.monotonic() - start


class _Clock(keras.callbacks.Callback):
    """Notes when each batch was done: before the first one the pipeline starts, which is no part of the pace."""

    def __init__(self):
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.monotonic())

    def on_test_batch_end(self, batch, logs=None):
        self.times.append(time.monotonic())


def _interval(times: list[float]) -> float:
    """Seconds from one batch to the next, without the first third; nothing is known of a single one."""
    later = times[len(times) // 3 :]
    return max(later[-1] - later[0], 1e-6) / (len(later) - 1) if len(later) > 1 else 0.0
