"""Fine-tunes one network from the supernet's weights; the best epoch by validation is kept.

The paper's section E: the chosen architecture takes its parameters from the full network and trains for 75 epochs.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from tqdm.keras import TqdmCallback

from pnag_tf import config as config_lib
from pnag_tf import data as data_lib
from pnag_tf.space import network as network_lib
from pnag_tf.supernet import balance, fused, optimizers, rounded
from pnag_tf.supernet import distribution as distribution_lib
from pnag_tf.util import files, scalars

LEAST_EPOCH = 50  # steps
LEAD = 2.0  # standard errors of a validation top-1
BEST, STATE, HISTORY = "best.keras", "training.weights.h5", "history.csv"


def train(
    start: Callable[[], keras.Model],
    config: config_lib.Config,
    splits: data_lib.Splits,
    folder: pathlib.Path,
    progress: bool = True,
    log: scalars.Log = scalars.nowhere,
    distribution: distribution_lib.Distribution | None = None,
    steps: int = 0,
    rounding: bool = False,
) -> tuple[keras.Model, list[dict]]:
    """Trains a network and returns it as it was after its best epoch; called again after a crash, it goes on.

    The history is written behind the best network of its last epoch: once it has all epochs, both are final, and a
    further call only reads them.

    With an average over steps (`Finetune.ema`), the averaged weights are what is judged and kept.

    Args:
      start: makes the network to begin with: images float32 [n, r, r, 3] -> logits [n, classes].
      config: data and fine-tuning settings.
      folder: keeps the start, the state after each epoch, the best network and the history.
      steps: batches of an epoch, behind which the network is judged; 0 for what `planned` says.
      rounding: trained and judged with the rounding of int8; see `rounded`.

    Returns:
      (network, history): per epoch `epoch`, `loss`, `accuracy`, `val_accuracy` and `kept`, whether it is the best so
      far; epoch 0 is the start, which is left behind for an epoch that may be as good, see `_Best`.

    Raises:
      FloatingPointError: the loss became NaN.
    """
    distribution = distribution or distribution_lib.make()
    settings, batch = config.finetune, config.data.batch_size
    if not steps:
        epochs, steps = planned(settings, splits.steps_per_epoch(batch))
        settings = dataclasses.replace(settings, epochs=epochs)
    begin(folder, start, distribution)
    history = _numbers(files.rows_left(folder / HISTORY))
    kept = distribution.written(folder / STATE)
    if finished(folder, settings.epochs):
        kept.unlink(missing_ok=True)  # there when the process died between the last epoch and the end of this call
        return keras.models.load_model(folder / BEST, compile=False), history
    config = dataclasses.replace(config, finetune=settings)
    network = compiled(distribution.shared(folder / BEST), config, steps, distribution, rounding)
    feed = functools.partial(fed, classes=splits.info.classes, distribution=distribution)
    validation, weights = feed(splits.validation(config.measure.batch_size)), splits.class_weights
    if not history:
        history = [_judged(network, validation)]
        files.write_csv(distribution.written(folder / HISTORY), history, history[0])
    if (folder / STATE).exists():
        network.load_weights(folder / STATE)
    done = int(network.optimizer.iterations.value.numpy()) // steps
    history = history[: done + 1]
    best = _Best(folder, history, splits.info.validation_images, log)
    if done < settings.epochs:
        network.fit(
            feed(splits.train(batch, first_step=done * steps, steps=(settings.epochs - done) * steps), weights=weights),
            epochs=settings.epochs,
            initial_epoch=done,
            steps_per_epoch=steps,
            validation_data=validation,
            shuffle=False,  # the data come shuffled
            callbacks=_callbacks(settings, kept, best, f"train {network.name}" if progress else ""),
            verbose=0,
        )
    kept.unlink(missing_ok=True)
    return keras.models.load_model(folder / BEST, compile=False), history


def begin(
    folder: pathlib.Path, start: Callable[[], keras.Model], distribution: distribution_lib.Distribution | None = None
) -> None:
    """Writes the network that a training begins with, unless the folder has one; the arguments are those of `train`."""
    if (folder / BEST).exists():
        return
    written = (distribution or distribution_lib.make()).written
    for of_another in (HISTORY, STATE):
        written(folder / of_another).unlink(missing_ok=True)
    keep(start(), written(folder / BEST))


def _judged(network: keras.Model, validation: tf.data.Dataset) -> dict[str, float]:
    """The first row of a history: the network before it is trained."""
    judged = network.evaluate(validation, verbose=0, return_dict=True)
    nothing = float("nan")
    return {"epoch": 0, "loss": nothing, "accuracy": nothing, "val_accuracy": judged["accuracy"], "kept": 1.0}


def _callbacks(
    settings: config_lib.Finetune, state: pathlib.Path, best: _Best, bar: str
) -> list[keras.callbacks.Callback]:
    """In this order: swaps averaged weights in, keeps the best network, swaps them out, keeps the state.

    Args:
      bar: what the progress bar says; empty for none.
    """
    callbacks = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if settings.ema else []
    callbacks += [best, _State(state)]
    return [*callbacks, TqdmCallback(verbose=0, desc=bar)] if bar else callbacks


def planned(settings: config_lib.Finetune, per_epoch: int) -> tuple[int, int]:
    """(epochs, steps of each): those asked for, or `least_steps` where they have fewer.

    Behind each the network is judged and kept. Where it is only for the steps, images so few that they fill a few
    batches are not judged after each pass: it would take longer than the training, and the best of many looks at few
    validation images is luck.

    Args:
      per_epoch: batches of all images.
    """
    if not settings.epochs or settings.epochs * per_epoch >= settings.least_steps:
        return settings.epochs, per_epoch
    steps = max(per_epoch, LEAST_EPOCH)
    return -(-settings.least_steps // steps), steps


def done_epochs(folder: pathlib.Path) -> int:
    """How many epochs of a training its folder holds."""
    return max(0, len(files.rows_left(folder / HISTORY)) - 1)


def finished(folder: pathlib.Path, epochs: int) -> bool:
    """Whether a folder holds a network that was trained for as many epochs."""
    return (folder / BEST).exists() and done_epochs(folder) >= epochs


def before_and_best(history: list[dict]) -> tuple[float, float]:
    """Validation top-1, fractions: of the network to begin with, and of the one that was kept."""
    return history[0]["val_accuracy"], [row["val_accuracy"] for row in history if row["kept"]][-1]


def fed(
    batches: tf.data.Dataset,
    classes: int,
    distribution: distribution_lib.Distribution,
    weights: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Batches as `fit` takes them, with one-hot labels.

    Args:
      weights: how much an image of each class counts in the loss, float32 [classes].
    """
    even = weights is None or (weights == 1).all()

    def one(images, labels):
        targets = data_lib.one_hot(labels, classes)
        return (images, targets) if even else (images, targets, tf.linalg.matvec(targets, weights))

    return distribution.parted(batches.map(one))


def compiled(
    path: pathlib.Path,
    config: config_lib.Config,
    steps: int,
    distribution: distribution_lib.Distribution,
    rounding: bool = False,
) -> keras.Model:
    """A saved network, ready to be trained for epochs of `steps`."""
    with distribution.scope():
        return prepared(keras.models.load_model(path, compile=False), config, steps, distribution, rounding)


def prepared(
    network: keras.Model,
    config: config_lib.Config,
    steps: int,
    distribution: distribution_lib.Distribution | None = None,
    rounding: bool = False,
) -> keras.Model:
    """A plain network as one that trains for epochs of `steps`: fused operations or rounding, loss and optimizer."""
    policy = "mixed_bfloat16" if config.mixed_precision else "float32"
    network = rounded.for_training(network) if rounding else fused.for_training(network, policy)
    _compile((distribution or distribution_lib.make()).fitted(network), config, steps)
    return network


def _compile(network: keras.Model, config: config_lib.Config, steps: int) -> None:
    settings, regularisation = config.finetune, config.supernet
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * steps)
    average = {"use_ema": settings.ema > 0, "ema_momentum": settings.ema or 0.99}
    if settings.optimizer == "adam":
        optimizer = keras.optimizers.Adam(schedule, **average)
    else:
        matrices = network_lib.normalised_kernels(network)
        optimizer = optimizers.make(settings.optimizer, schedule, matrices, momentum=regularisation.momentum, **average)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=regularisation.label_smoothing)
    for layer in network.layers:
        if regularisation.weight_decay and hasattr(layer, "kernel"):
            layer.kernel.regularizer = keras.regularizers.L2(regularisation.weight_decay / 2)
    optimizer.build(network.trainable_variables)  # so that its state can be loaded
    if config.measure.objective == "balanced_top1":
        accuracy = balance.BalancedAccuracy(network.output_shape[-1])
    else:
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
    network.compile(optimizer, loss, metrics=[accuracy])


class _Best(keras.callbacks.Callback):
    """Keeps the network after each epoch that is the best so far, and the history.

    It stands behind the callback that puts the averaged weights into the network.

    The start was chosen among many networks on the same validation images, so that it looks better than it is: it
    has to be better by `LEAD` standard errors to be kept. An epoch that is worse by less may well be as good.

    Args:
      images: how many validation images there are.
    """

    def __init__(self, folder: pathlib.Path, history: list[dict], images: int, log: scalars.Log):
        super().__init__()
        self.folder, self.history, self.images, self.log = folder, history, images, log

    def _to_beat(self) -> float:
        start, *later = (row["val_accuracy"] for row in self.history)
        return max([start - LEAD * (start * (1 - start) / self.images) ** 0.5, *later])

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise FloatingPointError(f"fine-tuning: loss {logs['loss']} in epoch {epoch + 1}")
        row = {"epoch": epoch + 1} | {name: float(logs[name]) for name in ("loss", "accuracy", "val_accuracy")}
        row["kept"] = float(row["val_accuracy"] > self._to_beat())
        if row["kept"]:
            keep(self.model, self.folder / BEST)
        self.history.append(row)
        files.write_csv(self.folder / HISTORY, self.history, row)
        self.log(epoch + 1, row)


class _State(keras.callbacks.Callback):
    """Saves what the next epoch begins with: weights, their average, the optimizer.

    It stands behind the callback that takes the averaged weights out of the network again.
    """

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch, logs=None):
        keep_state(self.model, self.path)


def keep_state(network: keras.Model, path: pathlib.Path) -> None:
    """Saves what training goes on with: weights, their average, the optimizer."""
    with files.replacing(path) as beside:
        network.save_weights(beside)


def keep(network: keras.Model, path: pathlib.Path) -> None:
    """Saves a network as a plain one: fused operations and mixed precision are how it is trained, not what it is."""
    with files.replacing(path) as beside:
        fused.plain(network).save(beside, include_optimizer=False)


def _numbers(rows: list[dict[str, str]]) -> list[dict[str, float]]:
    """The rows of a history. Before they said what was kept, that was whatever was better than all before."""
    numbers = [{name: float(value) if name != "epoch" else int(value) for name, value in row.items()} for row in rows]
    for place, row in enumerate(numbers):
        earlier = max((each["val_accuracy"] for each in numbers[:place]), default=-1.0)
        row.setdefault("kept", float(row["val_accuracy"] > earlier))
    return numbers
