"""Predicts accuracy and latency of any architecture from a table of measured ones.

Latency is a sum over blocks on almost every device, so ridge regression on each layer's joint (ratio, kernel) fits it,
where a network on separate one-hots errs by the very amount that a search then exploits. Accuracy is a ridge
regression, and on what that leaves a mixture of two unlike models, whose errors a search exploits less than either's:
ridge regression on all pairs of tokens, and an ensemble of small networks, whose disagreement says where not to trust.
What is measured later corrects the members by a Gaussian process on their errors.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf
import tqdm

from pnag_tf import config as config_lib
from pnag_tf import features, files, pareto, regression, scalars
from pnag_tf import records as records_lib
from pnag_tf import space as space_lib

FILE = "predictors.npz"


@keras.saving.register_keras_serializable("pnag_tf")
class EnsembleDense(keras.layers.Layer):
    """One dense layer of several independent networks at once: ``[members or 1, n, in] -> [members, n, units]``."""

    def __init__(self, members: int, units: int, activation: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.members, self.units = members, units
        self.activation = keras.activations.get(activation)

    def build(self, input_shape):
        scale = (2.0 / input_shape[-1]) ** 0.5  # He initialisation; Keras would count the members into the fan-in
        self.kernel = self.add_weight(
            shape=(self.members, input_shape[-1], self.units),
            initializer=keras.initializers.RandomNormal(stddev=scale),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(self.members, 1, self.units), initializer="zeros", name="bias")

    def call(self, inputs):
        return self.activation(keras.ops.matmul(inputs, self.kernel) + self.bias)

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return super().get_config() | {"members": self.members, "units": self.units, "activation": activation}


def ensemble(inputs: int, settings: config_lib.Predictors) -> keras.Model:
    """The networks: features ``[n, inputs]`` -> ``[n, members]``."""
    entry = keras.Input((inputs,))
    hidden = keras.ops.expand_dims(entry, 0)
    for _ in range(settings.layers):
        hidden = EnsembleDense(settings.members, settings.hidden, settings.activation)(hidden)
    output = EnsembleDense(settings.members, 1)(hidden)
    return keras.Model(entry, keras.ops.transpose(output[:, :, 0]), name="accuracy_ensemble")


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """The accuracy model on one-hot features x.

    Attributes:
      linear: intercept and coefficients, ``[1 + f]``.
      center: mean of the features, ``[f]``.
      pairs: V of `regression.pairs`, ``[f, f]``.
      network: the ensemble.
      scale: of what the linear part leaves; `pairs` and `network` predict it in this unit.
      shares: how much of the pairs' and of the ensemble's correction is added, ``[2]``.
      errors: of each member, added to it; None where nothing has been measured since (see `corrected`).
    """

    linear: np.ndarray
    center: np.ndarray
    pairs: np.ndarray
    network: keras.Model
    scale: float
    shares: np.ndarray
    errors: regression.GaussianProcess | None = None

    def parts(self, one_hot: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(linear ``[n]``, pairs ``[n]``, members ``[n, members]``), all as fractions."""
        linear = float(self.linear[0]) + tf.linalg.matvec(one_hot, tf.constant(self.linear[1:], tf.float32))
        centered = one_hot - tf.constant(self.center, tf.float32)
        pairs = tf.reduce_sum(tf.matmul(centered, tf.constant(self.pairs, tf.float32)) * centered, 1)
        return linear, self.scale * pairs, self.scale * self.network(one_hot, training=False)

    def members(self, one_hot: tf.Tensor) -> tf.Tensor:
        """Top-1 by each member of the ensemble, ``[n, members]``."""
        linear, pairs, members = self.parts(one_hot)
        pairs_share, members_share = (float(share) for share in self.shares)
        top1 = (linear + pairs_share * pairs)[:, None] + members_share * members
        return top1 if self.errors is None else top1 + self.errors.graph(one_hot)


class Predictors:
    """Accuracy and latency of architectures of one space; made by `train` or `load`.

    Attributes:
      space: the search space.
      report: held-out errors: ``top1_rmse``, ``top1_tau``, ``latency_rmse_ms``, ``latency_max_error_ms``,
        ``latency_tau``, ``held_out`` (number of records); ``records``: how many they were trained on, these among
        them; and ``latency_low_ms``, ``latency_high_ms``, ``top1_low``, ``top1_high``: the range of all records.
    """

    def __init__(
        self,
        space: space_lib.SearchSpace,
        settings: config_lib.Predictors,
        latency: np.ndarray,
        accuracy: Accuracy,
        report: dict[str, float],
    ):
        self.space, self.settings, self.report = space, settings, report
        self._encoder = features.Encoder(space)
        self._latency, self._accuracy = latency, accuracy
        signature = [tf.TensorSpec([None, space.tokens], tf.int32)]
        self._predict = tf.function(self.graph, input_signature=signature)
        self._members = tf.function(
            lambda choices: self._accuracy.members(self._encoder.one_hot(choices)), input_signature=signature
        )

    def graph(self, choices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(top1, disagreement, latency_ms), each float32 ``[n]``, as operations of a caller's graph."""
        members = self._accuracy.members(self._encoder.one_hot(choices))
        return tf.reduce_mean(members, 1), tf.math.reduce_std(members, 1), self.latency_graph(choices)

    def latency_graph(self, choices: tf.Tensor) -> tf.Tensor:
        """latency_ms, float32 ``[n]``, as operations of a caller's graph."""
        inputs = tf.concat([self._encoder.one_hot(choices), self._encoder.joint(choices)], 1)
        return float(self._latency[0]) + tf.linalg.matvec(inputs, tf.constant(self._latency[1:], tf.float32))

    def predict(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(top1, disagreement, latency_ms), each float64 ``[n]``, of choices ``[n, tokens]``.

        Disagreement is the standard deviation of top-1 over the members of the ensemble.
        """
        choices = np.atleast_2d(choices).astype(np.int32)
        return tuple(value.numpy().astype(np.float64) for value in self._predict(choices))

    def members(self, choices: np.ndarray) -> np.ndarray:
        """Top-1 by each member of the ensemble instead of their mean, ``[n, members]``."""
        choices = np.atleast_2d(choices).astype(np.int32)
        return self._members(choices).numpy().astype(np.float64)

    def top1(self, choices: np.ndarray) -> np.ndarray:
        """Predicted accuracy as a fraction, ``[n]``."""
        return self.predict(choices)[0]

    def latency_ms(self, choices: np.ndarray) -> np.ndarray:
        """Predicted latency, ``[n]``; without the networks, so cheap."""
        inputs = latency_inputs(self.space, np.atleast_2d(choices))
        return self._latency[0] + inputs @ self._latency[1:]

    def save(self, folder: str | os.PathLike) -> None:
        """Writes one file into `folder`, atomically."""
        model = self._accuracy
        arrays = {f"network_{i}": weight for i, weight in enumerate(model.network.get_weights())}
        arrays |= {"linear": model.linear, "center": model.center, "pairs": model.pairs, "shares": model.shares}
        meta = {"settings": dataclasses.asdict(self.settings), "scale": model.scale, "report": self.report}
        if model.errors is not None:
            arrays |= {f"errors_{name}": value for name, value in dataclasses.asdict(model.errors).items()}
        with files.replacing(pathlib.Path(folder) / FILE) as beside:
            np.savez(beside, latency=self._latency, meta=json.dumps(meta), **arrays)


def load(folder: str | os.PathLike, space: space_lib.SearchSpace) -> Predictors:
    """Reads what `Predictors.save` wrote.

    Raises:
      UserError: the file is missing, or belongs to another space.
    """
    path = pathlib.Path(folder) / FILE
    arrays = files.read_npz(path)
    meta = json.loads(str(arrays["meta"]))
    settings = config_lib.Predictors(**meta["settings"])
    inputs = int(space.token_sizes.sum())
    if len(arrays["center"]) != inputs:
        raise files.UserError(f"{path}: predictors of {len(arrays['center'])} features; this space has {inputs}")
    network = ensemble(inputs, settings)
    network.set_weights([arrays[f"network_{i}"] for i in range(len(network.weights))])
    errors = {name.removeprefix("errors_"): value for name, value in arrays.items() if name.startswith("errors_")}
    accuracy = Accuracy(
        arrays["linear"],
        arrays["center"],
        arrays["pairs"],
        network,
        meta["scale"],
        arrays["shares"],
        regression.GaussianProcess(**errors) if errors else None,
    )
    return Predictors(space, settings, arrays["latency"], accuracy, meta["report"])


def latency_inputs(space: space_lib.SearchSpace, choices: np.ndarray) -> np.ndarray:
    """Features ``[n, f]`` of the latency regression.

    The joint ones carry the whole sum over blocks; the single ones let the ridge share strength between blocks when
    records are few.
    """
    return np.concatenate([space.one_hot(choices), space.layer_one_hot(choices)], 1)


def train(
    records: records_lib.Records,
    settings: config_lib.Predictors,
    seed: int = 0,
    progress: bool = False,
    log: scalars.Log = scalars.nowhere,
) -> Predictors:
    """Fits both predictors on records; a random `settings.held_out` of them only judges.

    Raises:
      UserError: fewer than 20 records.
      FloatingPointError: the loss became NaN.
    """
    if len(records) < 20:
        raise files.UserError(f"predictors: expected 20 records or more, found {len(records)}")
    training, held_out = records.split(np.random.default_rng(seed), settings.held_out)
    latency = regression.ridge(latency_inputs(records.space, training.choices), training.latency_ms)
    accuracy = _fit_accuracy(training, held_out, settings, seed, progress, log)
    result = Predictors(records.space, settings, latency, accuracy, {"records": len(records)})
    result.report.update(_errors(result, held_out))
    for name, column in (("latency", "latency_ms"), ("top1", "top1")):
        unit = "_ms" if name == "latency" else ""
        result.report[f"{name}_low{unit}"] = float(getattr(records, column).min())
        result.report[f"{name}_high{unit}"] = float(getattr(records, column).max())
    return result


def corrected(predictors: Predictors, records: records_lib.Records) -> Predictors:
    """Predictors for records that have grown since they were trained: new ones tell where they err.

    Latency is fitted anew. Accuracy gets a Gaussian process on each member's errors on the new records, all with one
    kernel: the members become samples of the posterior, as far as they were samples of the prior (Wilson et al. 2020,
    arXiv:2002.09309, pathwise conditioning). No network is trained, so that this takes seconds.
    """
    new = records[predictors.report["records"] :]
    if not len(new):
        return predictors
    space, accuracy = predictors.space, dataclasses.replace(predictors._accuracy, errors=None)
    one_hot = space.one_hot(new.choices)
    errors = regression.gaussian_process(one_hot, new.top1[:, None] - accuracy.members(one_hot).numpy())
    latency = regression.ridge(latency_inputs(space, records.choices), records.latency_ms)
    accuracy = dataclasses.replace(accuracy, errors=errors)
    return Predictors(space, predictors.settings, latency, accuracy, predictors.report)


def _train_ensemble(
    inputs: np.ndarray,
    targets: np.ndarray,
    settings: config_lib.Predictors,
    seed: int,
    progress: bool,
    log: scalars.Log,
) -> keras.Model:
    """The ensemble fitted to targets ``[n]`` of unit variance."""
    network = ensemble(inputs.shape[1], settings)
    for number, weight in enumerate(network.weights):  # seeded by place, whatever was built before in this process
        if weight.path.endswith("kernel"):
            noise = np.random.default_rng([seed, number]).normal(size=weight.shape)
            weight.assign(noise * (2.0 / weight.shape[1]) ** 0.5)
    batch = min(settings.batch_size, len(inputs))
    data = tf.data.Dataset.from_tensor_slices((inputs.astype(np.float32), targets.astype(np.float32)[:, None]))
    data = data.cache().shuffle(len(inputs), seed=seed).batch(batch, drop_remainder=True).prefetch(2)
    steps = settings.epochs * (len(inputs) // batch)
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    network.compile(optimizer, loss=_square)  # one target, broadcast to all members
    bar = EpochBar("predictors", settings.epochs, progress, log)
    network.fit(data, epochs=settings.epochs, verbose=0, shuffle=False, callbacks=[bar])
    return network


def _square(targets, outputs):
    return keras.ops.mean(keras.ops.square(targets - outputs), -1)


def _fit_accuracy(
    training: records_lib.Records,
    held_out: records_lib.Records,
    settings: config_lib.Predictors,
    seed: int,
    progress: bool,
    log: scalars.Log,
) -> Accuracy:
    space = training.space
    one_hot = space.one_hot(training.choices)
    linear = regression.ridge(one_hot, training.top1)
    residual = training.top1 - linear[0] - one_hot @ linear[1:]
    scale = float(max(residual.std(), 1e-8))
    center = one_hot.mean(0)
    token = np.repeat(np.arange(space.tokens), space.token_sizes)
    allowed = (token[:, None] < token[None, :]).astype(np.float32)
    centered, targets = one_hot - center, residual / scale
    penalty = regression.best_pair_penalty(centered, targets, allowed, np.random.default_rng([seed, 2]))
    pairs = regression.pairs(centered, targets, allowed, penalty)
    network = _train_ensemble(one_hot, targets, settings, seed, progress, log)
    model = Accuracy(linear, center, pairs, network, scale, np.full(2, 0.5))
    return dataclasses.replace(model, shares=_shares(model, held_out))


def _shares(model: Accuracy, held_out: records_lib.Records) -> np.ndarray:
    """How much of each correction held-out records confirm: noise in few records is no signal.

    Both corrections in equal parts, as unlike models average best, times the factor that least squares gives their
    mean on the held-out records, 0 to 1.
    """
    linear, pairs, members = (np.asarray(part) for part in model.parts(held_out.space.one_hot(held_out.choices)))
    residual, correction = held_out.top1 - linear, (pairs + members.mean(1)) / 2
    factor = np.clip(residual @ correction / max(correction @ correction, 1e-12), 0.0, 1.0)
    return np.full(2, 0.5 * factor)


class EpochBar(keras.callbacks.Callback):
    """A progress bar over epochs that stops the run at a loss that is no number, and names the step."""

    def __init__(self, title: str, epochs: int, progress: bool, log: scalars.Log = scalars.nowhere):
        super().__init__()
        self._log = log
        self._bar = tqdm.tqdm(total=epochs, desc=title, unit="epoch", disable=not progress)

    def on_epoch_end(self, epoch, logs=None):
        loss = logs["loss"]
        if not np.isfinite(loss):
            raise FloatingPointError(f"{self._bar.desc}: loss {loss} in epoch {epoch + 1}")
        self._log(epoch + 1, logs)
        self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        self._bar.update()

    def on_train_end(self, logs=None):
        self._bar.close()


def _errors(predictors: Predictors, held_out: records_lib.Records) -> dict[str, float]:
    top1, _, latency_ms = predictors.predict(held_out.choices)
    few = slice(2000)  # Kendall's tau is quadratic
    return {
        "held_out": len(held_out),
        "top1_rmse": float(np.sqrt(np.mean((top1 - held_out.top1) ** 2))),
        "top1_tau": pareto.kendall_tau(top1[few], held_out.top1[few]),
        "latency_rmse_ms": float(np.sqrt(np.mean((latency_ms - held_out.latency_ms) ** 2))),
        "latency_max_error_ms": float(np.max(np.abs(latency_ms - held_out.latency_ms))),
        "latency_tau": pareto.kendall_tau(latency_ms[few], held_out.latency_ms[few]),
    }
