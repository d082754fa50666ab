"""The evaluator R(α|B; w): scores architectures so that under a budget the better one scores higher (section C).

It learns from pairs: Pareto dominance under each of the K budgets says which of two architectures is better, a hinge
loss makes the scores agree. Beside the paper's form there is one that ranks well near the frontier, where a
generator goes and uniform records are not: it also sees the predicted latency, learns from pseudo-labelled
architectures, and asks for a margin that grows with the difference.
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
from scipy import stats

from pnag_tf import config as config_lib
from pnag_tf.search import budgets as interpolation
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import records as records_lib
from pnag_tf.space import features
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files, scalars

FILE = "evaluator.npz"
SLACK = 3  # features


def pairwise_hinge(scores: tf.Tensor, preference: tf.Tensor) -> tf.Tensor:
    """Eqn. (F): the mean of max(0, 1 − d (R_i − R_j)) over budgets and ordered pairs.

    Args:
      scores: float32 ``[K, m]``.
      preference: ``[K, m, m]``, d(β_i, β_j, B_k): +1, −1, or 0 for pairs that are left out. A preference of absolute
        value a < 1 asks for the margin a only, so that nearly equal pairs are not forced apart.

    Returns:
      Scalar; 0 when every pair is left out.
    """
    preference = tf.cast(preference, scores.dtype)
    difference = scores[:, :, None] - scores[:, None, :]
    losses = tf.nn.relu(tf.abs(preference) - tf.sign(preference) * difference)
    return tf.reduce_sum(losses) / tf.maximum(tf.cast(tf.math.count_nonzero(preference), scores.dtype), 1.0)


def dominance(top1: tf.Tensor, latency_ms: tf.Tensor, budgets_ms: tf.Tensor, accuracy: bool = True) -> tf.Tensor:
    """d(β_i, β_j, B) of every ordered pair under every budget, Eqn. (E) of the supplement.

    Both within the budget: the more accurate one dominates, and of two that are equally accurate the faster one.
    Otherwise the faster one does. Pairs that nothing tells apart, such as an architecture against itself, are 0: the
    paper leaves them out.

    Args:
      top1: validation accuracy, ``[m]``.
      latency_ms: ``[m]``.
      budgets_ms: ``[K]``.
      accuracy: False drops the accuracy part, the ablation of the main paper's Table 2: the faster one always wins.

    Returns:
      ``[K, m, m]``, antisymmetric: +1 where row dominates column, -1 where column dominates row.
    """
    faster = tf.sign(latency_ms[None, :] - latency_ms[:, None])
    better = tf.sign(top1[:, None] - top1[None, :])
    feasible = latency_ms[None, :] <= budgets_ms[:, None]
    counts = feasible[:, :, None] & feasible[:, None, :] & (better != 0) & accuracy
    return tf.where(counts, better, faster)


def margins(
    top1: tf.Tensor,
    latency_ms: tf.Tensor,
    budgets_ms: tf.Tensor,
    top1_unit: float,
    latency_unit_ms: float,
    accuracy: bool = True,
) -> tf.Tensor:
    """Preferences whose size is the difference, cut at 1: in top-1 among feasible pairs, else in excess latency.

    A feasible architecture beats an infeasible one by the full margin 1. Unlike in Eqn. (E), feasible ones of equal
    top-1 carry no preference: the margin between them is 0. Without the accuracy part every pair goes by latency.
    """
    if not accuracy:
        latency = latency_ms / latency_unit_ms
        difference = tf.clip_by_value(latency[None, :] - latency[:, None], -1.0, 1.0)
        return tf.broadcast_to(difference, [len(budgets_ms), *tf.unstack(tf.shape(difference))])
    excess = tf.nn.relu(latency_ms[None, :] - budgets_ms[:, None]) / latency_unit_ms
    feasible = excess <= 0
    utility = tf.where(feasible, top1[None, :] / top1_unit, -excess)
    difference = tf.clip_by_value(utility[:, :, None] - utility[:, None, :], -1.0, 1.0)
    mixed = tf.cast(feasible, tf.float32)
    mixed = mixed[:, :, None] - mixed[:, None, :]
    return tf.where(mixed != 0, mixed, difference)


class Evaluator:
    """R(α|B; w) of one space under K budgets; made by `train` or `load`.

    Three fully connected layers on the architecture's encoding and the budget's embedding. The first one is split by
    its inputs, which is the same as one layer on all of them, and lets training compute the architecture's part once
    for all budgets. The score is linear: a ReLU on it, as in section D, would end its gradient wherever it is 0.

    Attributes:
      space: the search space.
      budgets_ms: the K budgets with a learned embedding, increasing.
    """

    def __init__(
        self,
        space: space_lib.SearchSpace,
        settings: config_lib.Evaluator,
        budgets_ms: np.ndarray,
        predictors: predictor_lib.Predictors | None = None,
        seed: int = 0,
    ):
        if settings.encoding not in ("one_hot", "slack"):
            raise ValueError(f"evaluator encoding '{settings.encoding}'; choose from one_hot, slack")
        self.space, self.settings = space, settings
        self.budgets_ms = np.asarray(budgets_ms, float)
        self.unit_ms = _unit_ms(self.budgets_ms)
        self._encoder = features.Encoder(space)
        self._predictors = predictors
        self._uses_slack = settings.encoding == "slack"
        rng = np.random.default_rng(seed)
        hidden, width = settings.hidden, settings.budget_embedding
        fan_in = self._encoder.one_hot_size + width + SLACK * self._uses_slack
        self.embedding = tf.Variable(rng.normal(size=(len(self.budgets_ms), width)), dtype=tf.float32)
        self._first = {
            name: _dense(rng, inputs, hidden, fan_in)
            for name, inputs in (("one_hot", self._encoder.one_hot_size), ("budget", width), ("slack", SLACK))
            if name != "slack" or self._uses_slack
        }
        self._rest = [_dense(rng, hidden, hidden, hidden) for _ in range(settings.layers - 2)]
        self._rest.append(_dense(rng, hidden, 1, hidden))
        matrix = tf.TensorSpec([None, len(self.budgets_ms)], tf.float32)
        choices = tf.TensorSpec([None, space.tokens], tf.int32)
        self._score = tf.function(self.graph, input_signature=[choices, matrix])

    @property
    def variables(self) -> list[tf.Variable]:
        layers = [*self._first.values(), *self._rest]
        return [self.embedding, *(variable.value for layer in layers for variable in layer.trainable_variables)]

    def encode(self, choices: tf.Tensor) -> tf.Tensor:
        return self._encoder.one_hot(choices)

    def latency_graph(self, choices: tf.Tensor) -> tf.Tensor:
        return self._predictors.latency_graph(choices)

    def slack(self, latency_ms: tf.Tensor, budget_ms: tf.Tensor) -> tf.Tensor:
        """What is left of the budget, at three scales, the finest saying whether anything is: ``[..., 3]``."""
        slack = (budget_ms - latency_ms) / self.unit_ms
        coarse, fine = tf.clip_by_value(slack, -3.0, 3.0), tf.clip_by_value(20.0 * slack, -1.0, 1.0)
        return tf.stack([coarse, fine, tf.cast(slack >= 0, tf.float32)], -1)

    def scores(self, one_hot: tf.Tensor, embedding: tf.Tensor, slack: tf.Tensor | None) -> tf.Tensor:
        """R of encodings ``[..., f]``, budget embeddings ``[..., e]`` and slack ``[..., 3]``, broadcast together."""
        hidden = self._first["one_hot"](one_hot) + self._first["budget"](embedding)
        if self._uses_slack:
            hidden += self._first["slack"](slack)
        for layer in self._rest:
            hidden = layer(tf.nn.relu(hidden))
        return hidden[..., 0]

    def graph(self, choices: tf.Tensor, mix: tf.Tensor) -> tf.Tensor:
        """R(α|B), float32 ``[n]``, of choices ``[n, tokens]`` and budgets given by interpolation weights ``[n, K]``."""
        slack = None
        if self._uses_slack:
            budget_ms = tf.linalg.matvec(mix, tf.constant(self.budgets_ms, tf.float32))
            slack = self.slack(self.latency_graph(choices), budget_ms)
        return self.scores(self.encode(choices), tf.matmul(mix, self.embedding), slack)

    def score(self, choices: np.ndarray, budgets_ms: np.ndarray) -> np.ndarray:
        """R(α|B), ``[n]``, of choices ``[n, tokens]`` under one budget each (``[n]``, or one for all)."""
        mix = interpolation.weights(budgets_ms, self.budgets_ms)
        mix = np.broadcast_to(mix, (len(choices), len(self.budgets_ms)))
        return self._score(tf.constant(choices, tf.int32), tf.constant(mix)).numpy()

    def save(self, folder: str | os.PathLike) -> None:
        """Writes one file into `folder`, atomically. The predictors are not in it."""
        arrays = {f"variable_{i}": variable.numpy() for i, variable in enumerate(self.variables)}
        with files.replacing(pathlib.Path(folder) / FILE) as beside:
            settings = json.dumps(dataclasses.asdict(self.settings))
            np.savez(beside, budgets_ms=self.budgets_ms, settings=settings, **arrays)


def load(folder: str | os.PathLike, space: space_lib.SearchSpace, predictors: predictor_lib.Predictors) -> Evaluator:
    """Reads what `Evaluator.save` wrote; `predictors` are those it was trained with.

    Raises:
      UserError: the file is missing, or belongs to another space.
    """
    path = pathlib.Path(folder) / FILE
    arrays = files.read_npz(path)
    settings = config_lib.Evaluator(**json.loads(str(arrays["settings"])))
    result = Evaluator(space, settings, arrays["budgets_ms"], predictors)
    for number, variable in enumerate(result.variables):
        stored = arrays[f"variable_{number}"]
        if stored.shape != variable.shape:
            raise errors.UserError(f"{path}: an evaluator of another space ({stored.shape} for {variable.shape})")
        variable.assign(stored)
    return result


def _unit_ms(budgets_ms: np.ndarray) -> float:
    """What slack is measured in: the mean gap between the budgets, a tenth of a lone one."""
    return float(np.ptp(budgets_ms) / (len(budgets_ms) - 1) if len(budgets_ms) > 1 else 0.1 * budgets_ms[0])


def _dense(rng: np.random.Generator, inputs: int, units: int, fan_in: int) -> keras.layers.Dense:
    """A linear layer, He-initialised as if it had `fan_in` inputs."""
    layer = keras.layers.Dense(units)
    layer.build((None, inputs))
    layer.kernel.assign(rng.normal(size=(inputs, units)) * (2.0 / fan_in) ** 0.5)
    return layer


def train(
    records: records_lib.Records,
    predictors: predictor_lib.Predictors,
    settings: config_lib.Evaluator,
    budgets_ms: np.ndarray,
    seed: int = 0,
    pseudo: records_lib.Records | None = None,
    accuracy: bool = True,
    progress: bool = False,
    log: scalars.Log = scalars.nowhere,
) -> tuple[Evaluator, list[dict[str, float]]]:
    """Learns R from pairs of records, and of pseudo-labelled architectures if there are any.

    Args:
      records: measured architectures; a random `settings.held_out` of them only judges.
      predictors: give the slack its latency.
      budgets_ms: the K budgets, increasing.
      pseudo: architectures with predicted labels, of which every mini-batch takes half; an epoch is one pass over
        the larger of the two tables.
      accuracy: False trains on the dominance without its accuracy part (main paper, Table 2).

    Returns:
      (evaluator, history): per epoch ``epoch``, ``loss`` and, every few epochs and at the end, ``tau`` (see
      `mean_tau`).

    Raises:
      FloatingPointError: the loss became NaN.
    """
    if settings.loss not in ("hinge", "margin"):
        raise ValueError(f"evaluator loss '{settings.loss}'; choose from hinge, margin")
    rng = np.random.default_rng([seed, 1])
    training, held_out = records.split(np.random.default_rng(seed), settings.held_out)
    evaluator = Evaluator(records.space, settings, budgets_ms, predictors, seed)
    sources = [training, pseudo] if pseudo else [training]  # none also where the records hold all near the frontier
    batch = min(settings.batch_size, len(training))
    share = batch // len(sources)
    steps = max(max(map(len, sources)) // share, 1)
    optimizer = _optimizer(settings, settings.epochs * steps)
    optimizer.build(evaluator.variables)
    step = _step(evaluator, optimizer, float(records.top1.std() or 1.0), accuracy)
    history = []
    with tqdm.tqdm(total=settings.epochs, desc="evaluator", unit="epoch", disable=not progress) as bar:
        for epoch in range(1, settings.epochs + 1):
            total = 0.0
            rows = [_epoch_rows(rng, len(source), steps * share) for source in sources]
            for number in range(steps):
                part = slice(number * share, (number + 1) * share)
                parts = [source[row[part]] for source, row in zip(sources, rows, strict=True)]
                total += step(*_tensors(parts), tf.constant([seed, epoch * steps + number], tf.int32))
            loss = float(total) / steps
            if not np.isfinite(loss):
                raise FloatingPointError(f"evaluator: loss {loss} in epoch {epoch}")
            history.append({"epoch": epoch, "loss": loss, "tau": float("nan")})
            if epoch == settings.epochs or epoch % max(1, settings.epochs // 10) == 0:
                history[-1]["tau"] = mean_tau(ranking(evaluator, held_out))
            log(epoch, history[-1])
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            bar.update()
    return evaluator, history


def ranking(evaluator: Evaluator, held_out: records_lib.Records) -> list[dict[str, float]]:
    """How well R ranks measured architectures: per budget ``budget_ms``, ``feasible`` (their number) and ``tau``.

    Kendall's tau-b between R and top-1 among the architectures within the budget; NaN with fewer than two, or where
    either is constant.
    """
    rows = []
    for budget_ms in evaluator.budgets_ms:
        inside = held_out[held_out.latency_ms <= budget_ms]
        tau = float("nan")
        if len(inside) > 1:
            tau = float(stats.kendalltau(evaluator.score(inside.choices, budget_ms), inside.top1).statistic)
        rows.append({"budget_ms": float(budget_ms), "feasible": len(inside), "tau": tau})
    return rows


def mean_tau(rows: list[dict[str, float]]) -> float:
    """The mean of `ranking`'s tau over budgets, weighted with the number of architectures behind it."""
    known = [row for row in rows if not np.isnan(row["tau"])]
    if not known:
        return float("nan")
    return float(np.average([row["tau"] for row in known], weights=[row["feasible"] for row in known]))


def _optimizer(settings: config_lib.Evaluator, steps: int) -> keras.optimizers.Optimizer:
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate, steps, alpha=settings.final_learning_rate / settings.learning_rate
    )
    if settings.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, weight_decay=settings.weight_decay or None)
    if settings.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    raise ValueError(f"evaluator optimizer '{settings.optimizer}'; choose from sgd, adamw")


def _step(evaluator: Evaluator, optimizer: keras.optimizers.Optimizer, top1_unit: float, accuracy: bool):
    """One gradient step on all pairs of a mini-batch under all budgets, as a graph that returns the loss."""
    trained_ms = tf.constant(evaluator.budgets_ms, tf.float32)
    choices = tf.TensorSpec([None, evaluator.space.tokens], tf.int32)
    vector = tf.TensorSpec([None], tf.float32)

    @tf.function(input_signature=[choices, vector, vector, tf.TensorSpec([2], tf.int32)])
    def step(choices, top1, latency_ms, seed):
        mix = tf.eye(len(trained_ms))
        if evaluator.settings.between:
            mix = interpolation.between(len(trained_ms), seed)
        budgets_ms = tf.linalg.matvec(mix, trained_ms)
        if evaluator.settings.loss == "hinge":
            preference = dominance(top1, latency_ms, budgets_ms, accuracy)
        else:
            preference = margins(top1, latency_ms, budgets_ms, top1_unit, evaluator.unit_ms, accuracy)
        slack = None
        if evaluator.settings.encoding == "slack":
            slack = evaluator.slack(evaluator.latency_graph(choices)[None], budgets_ms[:, None])
        with tf.GradientTape() as tape:
            embedding = tf.matmul(mix, evaluator.embedding)
            scores = evaluator.scores(evaluator.encode(choices)[None], embedding[:, None], slack)
            loss = pairwise_hinge(scores, preference)
        variables = evaluator.variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return step


def _epoch_rows(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """`count` rows of a table, each as often as any other, in random order."""
    return np.concatenate([rng.permutation(size) for _ in range(-(-count // size))])[:count]


def _tensors(parts: list[records_lib.Records]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return (
        tf.constant(np.concatenate([part.choices for part in parts])),
        tf.constant(np.concatenate([part.top1 for part in parts]), tf.float32),
        tf.constant(np.concatenate([part.latency_ms for part in parts]), tf.float32),
    )
