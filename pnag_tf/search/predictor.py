"""Predicts accuracy and latency of any architecture from a table of measured ones.

Latency is a sum over blocks on almost every device, so ridge regression on each layer's joint (ratio, kernel) fits it,
where a network on separate one-hots errs by the very amount that a search then exploits. The models 'blend' and
'process' take that for latency, and for accuracy `accuracy`'s blend or `process`; the model 'mlp' is the paper's, a
network for each.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from pnag_tf import config as config_lib
from pnag_tf.search import accuracy as accuracy_lib
from pnag_tf.search import ensemble, process, regression
from pnag_tf.search import records as records_lib
from pnag_tf.space import features
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files, scalars

FILE = "predictors.npz"
PAIRS = 3  # of functions that are an ensemble's members where a process predicts


@dataclasses.dataclass(frozen=True)
class LatencyModel:
    """The latency model: a ridge regression, on top of a network where the paper's recipe asks for one.

    Attributes:
      coefficients: of the ridge regression on `latency_inputs`, intercept first, ``[1 + f]``.
      network: one-hot features -> latency in units of `scale_ms`, ``[n, 1]``; None for the regression alone.
      scale_ms: the network's unit.
    """

    coefficients: np.ndarray
    network: keras.Model | None = None
    scale_ms: float = 1.0

    def by_network(self, one_hot: tf.Tensor) -> tf.Tensor:
        """The network's part in ms, ``[n]``; 0 without a network."""
        if self.network is None:
            return tf.zeros([tf.shape(one_hot)[0]])
        return self.scale_ms * self.network(one_hot, training=False)[:, 0]

    def by_ridge(self, space: space_lib.SearchSpace, choices: np.ndarray) -> np.ndarray:
        """The regression's part in ms, ``[n]``, of choices ``[n, tokens]``."""
        return self.coefficients[0] + latency_inputs(space, choices) @ self.coefficients[1:]


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
        latency: LatencyModel,
        accuracy: accuracy_lib.Accuracy | process.Functions,
        report: dict[str, float],
    ):
        self.space, self.settings, self.report = space, settings, report
        self._encoder = features.Encoder(space)
        self._latency, self._accuracy = latency, accuracy
        signature = [tf.TensorSpec([None, space.tokens], tf.int32)]
        self._predict = tf.function(self.graph, input_signature=signature)
        self._members = tf.function(
            lambda choices: self._accuracy.graph(self._encoder.one_hot(choices)), input_signature=signature
        )

    @property
    def latency_model(self) -> LatencyModel:
        """What latency is predicted by."""
        return self._latency

    @property
    def margin_ms(self) -> float:
        """How far a predicted latency is off: root mean square over held-out records."""
        return self.report["latency_rmse_ms"]

    def graph(self, choices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(top1, disagreement, latency_ms), each float32 ``[n]``, as operations of a caller's graph."""
        members = self._accuracy.graph(self._encoder.one_hot(choices))
        return tf.reduce_mean(members, 1), tf.math.reduce_std(members, 1), self.latency_graph(choices)

    def latency_graph(self, choices: tf.Tensor) -> tf.Tensor:
        """latency_ms, float32 ``[n]``, as operations of a caller's graph."""
        one_hot, (intercept, *coefficients) = self._encoder.one_hot(choices), self._latency.coefficients
        inputs = tf.concat([one_hot, self._encoder.layer_one_hot(choices)], 1)
        ridge = float(intercept) + tf.linalg.matvec(inputs, tf.constant(coefficients, tf.float32))
        return ridge + self._latency.by_network(one_hot)

    def predict(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(top1, disagreement, latency_ms), each float64 ``[n]``, of choices ``[n, tokens]``.

        Disagreement is the standard deviation of top-1 over the members of the ensemble.
        """
        parts = [[value.numpy() for value in self._predict(part)] for part in process.in_parts(choices)]
        return tuple(np.concatenate(values).astype(np.float64) for values in zip(*parts, strict=True))

    def members(self, choices: np.ndarray) -> np.ndarray:
        """Top-1 by each member of the ensemble instead of their mean, ``[n, members]``."""
        return np.concatenate([self._members(part).numpy() for part in process.in_parts(choices)]).astype(np.float64)

    def top1(self, choices: np.ndarray) -> np.ndarray:
        """Predicted accuracy as a fraction, ``[n]``."""
        return self.predict(choices)[0]

    def latency_ms(self, choices: np.ndarray) -> np.ndarray:
        """Predicted latency, ``[n]``; cheap where no network takes part."""
        if self._latency.network is not None:
            return self.predict(choices)[2]
        return np.concatenate([self._latency.by_ridge(self.space, part) for part in process.in_parts(choices)])

    def save(self, folder: str | os.PathLike) -> None:
        """Writes one file into `folder`, atomically."""
        model, latency = self._accuracy, self._latency
        meta = {"settings": dataclasses.asdict(self.settings), "report": self.report}
        if isinstance(model, process.Functions):
            arrays = {f"process_{name}": value for name, value in vars(model).items() if name != "space"}
        else:
            arrays = {f"network_{i}": weight for i, weight in enumerate(model.network.get_weights())}
            arrays |= {"linear": model.linear, "center": model.center, "pairs": model.pairs, "shares": model.shares}
            meta["scale"] = model.scale
        arrays["latency"] = latency.coefficients
        if latency.network is not None:
            arrays |= {f"latency_network_{i}": weight for i, weight in enumerate(latency.network.get_weights())}
            meta["latency_scale_ms"] = latency.scale_ms
        with files.replacing(pathlib.Path(folder) / FILE) as beside:
            np.savez(beside, meta=json.dumps(meta), **arrays)


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
    if any(name.startswith("errors_") for name in arrays):
        expected = "expected predictors trained on all records; remove the file, and they are"
        raise errors.UserError(f"{path}: {expected}; found those that rounds of an earlier version corrected")
    found = len(arrays["process_slopes" if settings.model == "process" else "center"])
    if found != inputs:
        raise errors.UserError(f"{path}: predictors of {found} features; this space has {inputs}")
    latency = LatencyModel(arrays["latency"])
    if "latency_scale_ms" in meta:
        by_network = _restore(inputs, dataclasses.replace(settings, members=1), arrays, "latency_network")
        latency = LatencyModel(arrays["latency"], by_network, meta["latency_scale_ms"])
    return Predictors(space, settings, latency, _restored(space, settings, arrays, meta), meta["report"])


def _restored(
    space: space_lib.SearchSpace, settings: config_lib.Predictors, arrays: Mapping[str, np.ndarray], meta: Mapping
) -> accuracy_lib.Accuracy | process.Functions:
    """The accuracy model of a file."""
    if settings.model == "process":
        parts = {name.removeprefix("process_"): value for name, value in arrays.items() if name.startswith("process_")}
        return process.Functions(space, **parts)
    network = _restore(int(space.token_sizes.sum()), settings, arrays, "network")
    parts = (arrays["linear"], arrays["center"], arrays["pairs"], network, meta["scale"], arrays["shares"])
    return accuracy_lib.Accuracy(*parts)


def _restore(inputs: int, settings: config_lib.Predictors, arrays: Mapping[str, np.ndarray], name: str) -> keras.Model:
    network = ensemble.build(inputs, settings)
    network.set_weights([arrays[f"{name}_{i}"] for i in range(len(network.weights))])
    return network


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
    """Fits both predictors on records; a random `settings.held_out` of them judges.

    The networks of an ensemble, and the latency model, never see those; a process is judged without them, and then
    fitted to all records.

    Raises:
      UserError: fewer than 20 records.
      FloatingPointError: the loss became NaN.
    """
    if len(records) < 20:
        raise errors.UserError(f"predictors: expected 20 records or more, found {len(records)}")
    training, held_out = records.split(np.random.default_rng(seed), settings.held_out)
    if settings.model == "process" and len(records) > process.MOST:
        settings = dataclasses.replace(settings, model="blend")
    if settings.model == "process":
        accuracy, top1 = _process(records, seed), _process(training, seed)(held_out.choices).mean(1)
    else:
        accuracy = accuracy_lib.fit(training, held_out, settings, seed, progress, log)
        top1 = accuracy_lib.predict_held_out(accuracy, held_out, settings)
    latency = _fit_latency(training, settings, seed, progress)
    result = Predictors(records.space, settings, latency, accuracy, {"records": len(records)})
    result.report.update(_errors(top1, result.latency_ms(held_out.choices), held_out))
    for name, column in (("latency", "latency_ms"), ("top1", "top1")):
        unit = "_ms" if name == "latency" else ""
        result.report[f"{name}_low{unit}"] = float(getattr(records, column).min())
        result.report[f"{name}_high{unit}"] = float(getattr(records, column).max())
    return result


def _process(records: records_lib.Records, seed: int) -> process.Functions:
    """Functions drawn from a process given the records, whose mean is the process's."""
    rng = np.random.default_rng([seed, 7])
    return process.fit(records, rng).draw(PAIRS, rng, paired=True)


def fit_latency(records: records_lib.Records) -> LatencyModel:
    """The ridge regression on records' latencies."""
    inputs = latency_inputs(records.space, records.choices)
    return LatencyModel(regression.ridge(inputs, records.latency_ms))


def _fit_latency(
    training: records_lib.Records, settings: config_lib.Predictors, seed: int, progress: bool
) -> LatencyModel:
    if settings.model != "mlp":
        return fit_latency(training)
    mean, scale = float(training.latency_ms.mean()), float(training.latency_ms.std() or 1.0)
    one_hot, alone = training.space.one_hot(training.choices), dataclasses.replace(settings, members=1)
    targets = (training.latency_ms - mean) / scale
    network = ensemble.train(one_hot, targets, alone, seed + 1, progress, title="latency predictor")
    nothing = np.zeros(latency_inputs(training.space, training.choices[:1]).shape[1])
    return LatencyModel(np.concatenate([[mean], nothing]), network, scale)


def latency_errors(latency_ms: np.ndarray, measured_ms: np.ndarray) -> dict[str, float]:
    """How far predicted latencies are from measured ones, both ``[n]``; as in a report."""
    return {
        "latency_rmse_ms": float(np.sqrt(np.mean((latency_ms - measured_ms) ** 2))),
        "latency_max_error_ms": float(np.max(np.abs(latency_ms - measured_ms))),
        "latency_tau": float(stats.kendalltau(latency_ms, measured_ms).statistic),
    }


def _errors(top1: np.ndarray, latency_ms: np.ndarray, held_out: records_lib.Records) -> dict[str, float]:
    return {
        "held_out": len(held_out),
        "top1_rmse": float(np.sqrt(np.mean((top1 - held_out.top1) ** 2))),
        "top1_tau": float(stats.kendalltau(top1, held_out.top1).statistic),
        **latency_errors(latency_ms, held_out.latency_ms),
    }
