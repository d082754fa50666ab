"""The accuracy of any architecture, from a table of measured ones.

The model 'blend' is a ridge regression, and on what that leaves a mixture of two unlike models, whose errors a search
exploits less than either's: ridge regression on all pairs of tokens, and an ensemble of small networks, whose
disagreement says where not to trust. The model 'mlp' is the paper's: networks alone.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from pnag_tf import config as config_lib
from pnag_tf.search import ensemble, noise, regression
from pnag_tf.search import records as records_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import scalars


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
    """

    linear: np.ndarray
    center: np.ndarray
    pairs: np.ndarray
    network: keras.Model
    scale: float
    shares: np.ndarray

    def parts(self, one_hot: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(linear ``[n]``, pairs ``[n]``, members ``[n, members]``), all as fractions."""
        linear = float(self.linear[0]) + tf.linalg.matvec(one_hot, tf.constant(self.linear[1:], tf.float32))
        centered = one_hot - tf.constant(self.center, tf.float32)
        pairs = tf.reduce_sum(tf.matmul(centered, tf.constant(self.pairs, tf.float32)) * centered, 1)
        return linear, self.scale * pairs, self.scale * self.network(one_hot, training=False)

    def graph(self, one_hot: tf.Tensor) -> tf.Tensor:
        """Top-1 by each member of the ensemble, ``[n, members]``."""
        linear, pairs, members = self.parts(one_hot)
        pairs_share, members_share = (float(share) for share in self.shares)
        return (linear + pairs_share * pairs)[:, None] + members_share * members


def fit(
    training: records_lib.Records,
    held_out: records_lib.Records,
    settings: config_lib.Predictors,
    seed: int,
    progress: bool = False,
    log: scalars.Log = scalars.nowhere,
) -> Accuracy:
    """Fits the model that `settings.model` names.

    Args:
      training: what all parts are fitted to.
      held_out: says how much of the corrections is signal ('blend').

    Raises:
      FloatingPointError: the loss became NaN.
    """
    one_hot = training.space.one_hot(training.choices)
    if settings.model == "mlp":
        linear = np.concatenate([[training.top1.mean()], np.zeros(one_hot.shape[1])])
    elif settings.model == "blend":
        linear = regression.ridge(one_hot, training.top1, noise.weights(training.top1, training.top1_se))
    else:
        raise ValueError(f"predictors model '{settings.model}'; expected mlp or blend here")
    residual = training.top1 - linear[0] - one_hot @ linear[1:]
    scale, center = float(max(residual.std(), 1e-8)), one_hot.mean(0)
    targets = residual / scale
    network = ensemble.train(one_hot, targets, settings, seed, progress, log)
    if settings.model == "mlp":
        return Accuracy(linear, center, np.zeros([len(center)] * 2, np.float32), network, scale, np.array([0.0, 1.0]))
    pairs = _fit_pairs(training.space, one_hot - center, targets, seed)
    model = Accuracy(linear, center, pairs, network, scale, np.full(2, 0.5))
    return dataclasses.replace(model, shares=_shares(model, held_out))


def _fit_pairs(space: space_lib.SearchSpace, centered: np.ndarray, targets: np.ndarray, seed: int) -> np.ndarray:
    token, _ = space.one_hot_columns
    allowed = (token[:, None] < token[None, :]).astype(np.float32)
    penalty = regression.best_pair_penalty(centered, targets, allowed, np.random.default_rng([seed, 2]))
    return regression.pairs(centered, targets, allowed, penalty)


def predict_held_out(model: Accuracy, held_out: records_lib.Records, settings: config_lib.Predictors) -> np.ndarray:
    """Top-1 that the model predicts for the held-out records, ``[n]``, in a way that they can still judge it.

    The shares of a blend are fitted to held-out records; here each half of them is predicted with the shares that the
    other half gives.
    """
    top1 = np.empty(len(held_out))
    for half in (0, 1):
        part, other = held_out[half::2], held_out[1 - half :: 2]
        fitted = model
        if settings.model == "blend" and len(other):
            fitted = dataclasses.replace(model, shares=_shares(model, other))
        top1[half::2] = fitted.graph(held_out.space.one_hot(part.choices)).numpy().mean(1)
    return top1


def _shares(model: Accuracy, held_out: records_lib.Records) -> np.ndarray:
    """How much of each correction held-out records confirm: noise in few records is no signal.

    Both corrections in equal parts, as unlike models average best, times the factor that least squares gives their
    mean on the held-out records, 0 to 1.
    """
    linear, pairs, members = (np.asarray(part) for part in model.parts(held_out.space.one_hot(held_out.choices)))
    residual, correction = held_out.top1 - linear, (pairs + members.mean(1)) / 2
    factor = np.clip(residual @ correction / max(correction @ correction, 1e-12), 0.0, 1.0)
    return np.full(2, 0.5 * factor)
