"""Trains the supernet by progressive shrinking: the full network first, then ever smaller ones, taught by it.

A schedule is a tuple of `config.Phase`; each phase is one Keras `fit` whose every step draws subnets from the options
of the phase (once-for-all, section 3.3). Everything is a function of seed and step, so a killed run goes on exactly
where it was.
"""

from __future__ import annotations

import functools
import pathlib
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from tqdm.keras import TqdmCallback

from pnag_tf import config as config_lib
from pnag_tf import data as data_lib
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import distribution as distribution_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import optimizers, subnet
from pnag_tf.util import errors, files, scalars

CHUNK_STEPS = 50  # steps between two checkpoints, and between two rows of the history
HISTORY_COLUMNS = ("phase", "step", "loss", "accuracy", "learning_rate", "images_per_s")


class Trainer(keras.Model):
    """Trains a supernet on random subnets of one phase.

    Args:
      net: the supernet; its weights are the trained ones.
      phase: which options may be drawn, how many subnets a step. In a sandwich (BigNAS, section 3.1) the first is the
        full network, which teaches the others of the step, the second the smallest.
      settings: label smoothing, weight decay, weight of the distillation.
      seed: which subnets a step draws depends on it and on the step alone.
      teacher: images -> logits of the full network, or None to learn from the labels alone.
      mixed_precision: whether images and activations are bfloat16. It has the range of float32, so that no loss has to
        be scaled.
      class_weights: how much an image of each class counts in the loss, float32 [classes]; the same where None.
    """

    def __init__(
        self,
        net: supernet_lib.Supernet,
        phase: config_lib.Phase,
        settings: config_lib.Supernet,
        seed: int,
        teacher: Callable | None = None,
        mixed_precision: bool = False,
        class_weights: np.ndarray | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.class_weights = None if class_weights is None or (class_weights == 1).all() else class_weights
        self.net, self.phase, self.settings, self.seed = net, phase, settings, seed
        self.teacher, self.activations = teacher, tf.bfloat16 if mixed_precision else tf.float32
        self.options = [tf.constant(options, tf.int32) for options in phase_options(net.space, phase)]
        self.loss_mean = keras.metrics.Mean(name="loss")
        self.accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
        self.built = True

    @property
    def metrics(self):
        return [self.loss_mean, self.accuracy]

    def call(self, inputs, training=False):
        return self.net(inputs, training=training)

    def draw(self, step, index: int):
        """The `index`-th subnet of a step: int32 [tokens]."""
        if self.phase.sandwich and index < 2:
            return tf.constant((self.net.space.largest, self.net.space.smallest)[index](), tf.int32)
        seed = tf.stack([self.seed, tf.cast(step, tf.int32) * self.phase.subnets_per_step + index])
        full, *uniform = tf.unstack(tf.random.stateless_uniform([1 + len(self.options)], seed))
        picks = [
            options[tf.cast(u * float(len(options)), tf.int32)]
            for u, options in zip(uniform, self.options, strict=True)
        ]
        return tf.where(full < self.phase.full_share, self.net.space.largest(), tf.stack(picks))

    def train_step(self, data):
        images, labels = tf.cast(data[0], self.activations), data[1]
        taught = None if self.teacher is None else tf.nn.softmax(tf.stop_gradient(self.teacher(images)))
        weights, step = self.net.trainable_variables, self.optimizer.iterations
        total = None
        for index in range(self.phase.subnets_per_step):
            with tf.GradientTape() as tape:
                logits = self.net({"images": images, "choices": self.draw(step, index)}, training=True)
                loss = self.loss_of(logits, labels, taught)
                share = loss / self.distribute_strategy.num_replicas_in_sync  # replicas add their gradients up
            if self.phase.sandwich and index == 0:
                taught = tf.nn.softmax(tf.stop_gradient(logits))
            gradients = tape.gradient(share, weights)
            total = gradients if total is None else [a + b for a, b in zip(total, gradients, strict=True)]
            self.loss_mean.update_state(loss)
            self.accuracy.update_state(data_lib.one_hot(labels, self.net.backbone.classes), logits)
        if self.phase.subnets_per_step > 1:
            total = [gradient / self.phase.subnets_per_step for gradient in total]
        self.optimizer.apply(self._decayed(total, weights), weights)
        return self.get_metrics_result()

    def loss_of(self, logits, labels, taught):
        """Cross entropy with smoothed labels, plus that with the teacher's probabilities; the mean of the two parts.

        Args:
          logits: [b, classes].
          labels: int32 [b], or of mixed images float32 [b, classes].
          taught: teacher's probabilities [b, classes], or None.
        """
        smooth, classes = self.settings.label_smoothing, self.net.backbone.classes
        labels = data_lib.one_hot(labels, classes)
        targets = labels * (1 - smooth) + smooth / classes
        loss = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
        if taught is not None:
            weight = self.settings.distillation_weight
            loss = (loss + weight * tf.nn.softmax_cross_entropy_with_logits(taught, logits)) / (1 + weight)
        if self.class_weights is not None:
            loss *= tf.linalg.matvec(labels, self.class_weights)
        return tf.reduce_mean(loss)

    def _decayed(self, gradients, weights):
        """L2 decay of matrices and filters; biases and batch norm are left alone, as in once-for-all."""
        decay = self.settings.weight_decay
        if not decay:
            return gradients
        return [
            gradient + decay * weight if len(weight.shape) > 1 else gradient
            for gradient, weight in zip(gradients, weights, strict=True)
        ]


def phase_options(space: space_lib.SearchSpace, phase: config_lib.Phase) -> list[list[int]]:
    """For each token the option indices that a phase may draw; resolutions are drawn in all phases.

    Raises:
      UserError: the phase names an option that the space does not have.
    """
    by_kind = {}
    for kind, asked, options in (
        ("depth", phase.depths, space.depths),
        ("ratio", phase.ratios, space.ratios),
        ("kernel", phase.kernels, space.kernels),
    ):
        unknown = sorted(set(asked) - set(options))
        if unknown:
            raise errors.UserError(f"phase '{phase.name}': {kind} {unknown[0]}; choose from {options}")
        by_kind[kind] = [options.index(value) for value in asked or options[-1:]]
    by_kind["resolution"] = list(range(len(space.resolutions)))  # elastic from the first phase (once-for-all)
    return [by_kind[kind] for kind in space.token_kinds]


class _Checkpoint(keras.callbacks.Callback):
    """Saves weights, optimizer and history after each chunk, atomically.

    Keras's BackupAndRestore writes its weights in place and the epoch into a second file: a process killed there
    leaves a state that is torn. Here the step is part of the one file that is renamed into place.
    """

    def __init__(
        self,
        path: pathlib.Path,
        history_path: pathlib.Path,
        history: list[dict],
        phase: str,
        log: scalars.Log,
        images: int,
    ):
        super().__init__()
        self.path, self.history_path, self.history, self.phase, self.log = path, history_path, history, phase, log
        self.images, self._started = images, 0.0  # of a chunk

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        pace = round(self.images / (time.perf_counter() - self._started), 1)
        optimizer = self.model.optimizer
        step = int(optimizer.iterations.value.numpy())
        row = {"phase": self.phase, "step": step, "learning_rate": float(optimizer.learning_rate), **logs}
        row["images_per_s"] = pace
        if not np.isfinite(row["loss"]):
            raise FloatingPointError(f"supernet, phase '{self.phase}': loss {row['loss']} before step {step}")
        self.history.append(row)
        self.log(step, {f"{self.phase}/{name}": row[name] for name in HISTORY_COLUMNS[2:]})
        files.write_csv(self.history_path, self.history, HISTORY_COLUMNS)
        with files.replacing(self.path) as beside:
            self.model.save_weights(beside)


def train(
    config: config_lib.Config,
    splits: data_lib.Splits,
    folder: pathlib.Path,
    progress: bool = True,
    log: scalars.Log = scalars.nowhere,
    distribution: distribution_lib.Distribution | None = None,
    start: Callable[[], supernet_lib.Supernet] | None = None,
) -> supernet_lib.Supernet:
    """Trains the supernet through all phases; goes on from whatever an earlier call left in `folder`.

    Writes `<phase number>_<name>.keras` after each phase, `history.csv`, and `phases.csv` with the validation top-1
    of the largest and the smallest network after each phase.

    Args:
      start: makes the supernet that the first phase begins with; by default an untrained one.

    Returns:
      The trained supernet.
    """
    distribution = distribution or distribution_lib.make()
    phases = config.supernet.phases
    done = finished(config, folder)
    history = files.rows_left(folder / "history.csv")
    judged = files.rows_left(folder / "phases.csv")
    first_taught = next((i for i, phase in enumerate(phases) if phase.teacher), len(phases))
    net = teacher = None
    for number, phase in enumerate(phases):
        if done[number].exists():
            continue
        if net is None:
            with distribution.scope():
                begin = start or functools.partial(fresh, config)
                net = keras.models.load_model(done[number - 1]) if number else begin()
        if phase.teacher and teacher is None and first_taught:
            with distribution.scope():
                teacher = largest(keras.models.load_model(distribution.shared(done[first_taught - 1])))
        started = time.perf_counter()
        earlier = {each.name for each in phases[:number]}
        history = [row for row in history if row["phase"] in earlier or row["phase"] == phase.name]
        taught_by = teacher if phase.teacher else None
        _fit(config, splits, net, number, folder, history, taught_by, progress, log, distribution)
        judged = [row for row in judged if row["phase"] in earlier]
        judged.append(_judge(config, splits, net, phase.name, time.perf_counter() - started))
        files.write_csv(distribution.written(folder / "phases.csv"), judged, judged[-1])
        with files.replacing(distribution.written(done[number])) as beside:
            net.save(beside)
        distribution.written(folder / "training.weights.h5").unlink(missing_ok=True)
    return net if net is not None else keras.models.load_model(done[-1])


def finished(config: config_lib.Config, folder: pathlib.Path) -> list[pathlib.Path]:
    """The file that each phase leaves behind, the trained supernet the last."""
    return [folder / f"{number}_{phase.name}.keras" for number, phase in enumerate(config.supernet.phases)]


def largest(net: supernet_lib.Supernet) -> Callable:
    """images -> logits of the largest network of a supernet, with its moving statistics."""
    return lambda images: net({"images": images, "choices": tf.constant(net.space.largest())}, training=False)


def fresh(config: config_lib.Config) -> supernet_lib.Supernet:
    """An untrained supernet; its weights depend on the seed alone."""
    keras.utils.set_random_seed(config.seed)
    return supernet_lib.Supernet(config.space, config.backbone, config.supernet.dropout)


def planned_steps(config: config_lib.Config, splits: data_lib.Splits, phase: config_lib.Phase) -> int:
    """How many steps a phase has: whole chunks, at least one."""
    per_epoch = splits.steps_per_epoch(config.data.batch_size)
    epochs = phase.epochs * stretch(config.supernet, per_epoch)
    return max(1, round(epochs * per_epoch / CHUNK_STEPS)) * CHUNK_STEPS


def trainer_of(
    config: config_lib.Config,
    splits: data_lib.Splits,
    net: supernet_lib.Supernet,
    number: int,
    teacher: Callable | None = None,
    distribution: distribution_lib.Distribution | None = None,
) -> Trainer:
    """What trains a supernet in a phase, compiled, at its first step.

    Args:
      number: of the phase.
      teacher: see `Trainer`.
    """
    distribution, settings = distribution or distribution_lib.make(), config.supernet
    phase, per_epoch = settings.phases[number], splits.steps_per_epoch(config.data.batch_size)
    steps = planned_steps(config, splits, phase)
    warmup = round(phase.warmup_epochs * stretch(settings, per_epoch) * per_epoch)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else phase.learning_rate,
        max(1, steps - warmup),
        alpha=0.0,
        warmup_target=phase.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    with distribution.scope():
        trainer = Trainer(
            net,
            phase,
            settings,
            config.seed * 1000 + number,
            teacher,
            config.mixed_precision,
            splits.class_weights,
        )
        average = {"use_ema": True, "ema_momentum": settings.ema} if settings.ema else {}
        optimizer = optimizers.make(settings.optimizer, schedule, net.matrices(), momentum=settings.momentum, **average)
        optimizer.build(net.trainable_variables)
        distribution.fitted(trainer).compile(optimizer=optimizer, jit_compile=False)
    return trainer


def _fit(config, splits, net, number, folder, history, teacher, progress, log, distribution) -> None:
    """One phase, from its first step or from the checkpoint."""
    phase, batch = config.supernet.phases[number], config.data.batch_size
    steps = planned_steps(config, splits, phase)
    elastic = config.supernet.adapt_epochs or any(earlier.ratios for earlier in config.supernet.phases[:number])
    if phase.ratios and not elastic:  # later the first channels are the best already
        net.sort_channels()
    trainer = trainer_of(config, splits, net, number, teacher, distribution)
    optimizer = trainer.optimizer
    checkpoint = folder / "training.weights.h5"
    if checkpoint.exists():
        trainer.load_weights(checkpoint)
    step = int(optimizer.iterations.value.numpy())
    history[:] = [row for row in history if row["phase"] != phase.name or int(row["step"]) <= step]
    images = CHUNK_STEPS * min(batch, splits.info.train_images)
    written = distribution.written
    callbacks = [_Checkpoint(written(checkpoint), written(folder / "history.csv"), history, phase.name, log, images)]
    if progress:
        bar = TqdmCallback(verbose=0, desc=f"supernet: {phase.name}")
        bar.epoch_bar.unit = f"×{CHUNK_STEPS} steps"
        callbacks.append(bar)
    if step < steps:
        trainer.fit(
            distribution.parted(splits.train(batch, first_step=step, steps=steps - step)),
            epochs=steps // CHUNK_STEPS,
            initial_epoch=step // CHUNK_STEPS,
            steps_per_epoch=CHUNK_STEPS,
            shuffle=False,  # the data come shuffled
            callbacks=callbacks,
            verbose=0,
        )
    if config.supernet.ema:
        optimizer.finalize_variable_values(net.trainable_variables)


def stretch(settings: config_lib.Supernet, steps_per_epoch: int) -> float:
    """How many times longer than asked for all phases are, so that they have `least_steps` together; 1 or more."""
    planned = steps_per_epoch * sum(phase.epochs for phase in settings.phases)
    return max(1.0, settings.least_steps / planned) if settings.least_steps else 1.0


def _judge(config, splits, net, phase: str, seconds: float) -> dict:
    """Validation top-1 of the largest and the smallest network."""
    measured = subnet.Subnets(net, calibration_batches(config, splits))
    validation = validation_batches(config, splits, config.measure.validation_images)
    both = measured.accuracies([net.space.largest(), net.space.smallest()], validation)
    largest, smallest = (top1 for top1, _ in both)
    return {
        "phase": phase,
        "largest_top1": f"{largest:.4f}",
        "smallest_top1": f"{smallest:.4f}",
        "seconds": f"{seconds:.0f}",
    }


def calibration_batches(config: config_lib.Config, splits: data_lib.Splits):
    """Training images for batch norm recalibration, without their labels; held in memory where they are few."""
    settings = config.measure
    batches = splits.calibration(settings.calibration_images, settings.batch_size, config.memory.held_bytes)
    return batches.map(lambda images, _: images)


def validation_batches(config: config_lib.Config, splits: data_lib.Splits, images: int):
    """The validation images that subnets are judged on, 0 for all; held in memory where they are few.

    Records, rounds and finalists all take theirs from here, so that they compare.
    """
    return splits.validation(config.measure.batch_size, images, config.memory.held_bytes)
