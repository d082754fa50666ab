"""A Gaussian process on architectures: what a few measured ones say of all the others, and how sure that is.

Accuracy is a sum of contributions on the `levels` of an architecture, which records share: a few dozen tell what depth
is worth, and later ones what this kernel is worth in that layer. On top of it a squared exponential of the number of
options in which two architectures differ carries what is no sum. What each part contributes is the data's business:
the variances maximise the likelihood.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf
from scipy import linalg, optimize

from pnag_tf.search import records as records_lib
from pnag_tf.space import levels
from pnag_tf.space import space as space_lib

# Logarithms of the kernel's variances, in those of the records' top-1: one for each level, the finest first; of what is
# no sum; its decay; of the noise. A broad prior (a factor of e³) around these keeps few records from extremes.
USUAL, BROAD = np.array([-1.0, -1.0, 0.0, 1.0, 0.0, 0.0, -5.0]), 3.0
LEVELS, LOCAL, DECAY, NOISE = slice(0, 4), 4, 5, 6
BOUNDS = [(-9.0, 9.0)] * 6 + [(-12.0, 2.0)]
JITTER = 1e-6
FITTED = 300  # records that variances are fitted to, at most; half of them the last ones
MOST = 3000  # records; of more their covariances take minutes
AT_ONCE = 16_384  # architectures whose features are in memory
WAVES = 512  # of a random function that the squared exponential is drawn as


@dataclasses.dataclass(frozen=True)
class Functions:
    """Functions of architectures, several at once: sums, waves, and what fades with the distance from known ones.

    Attributes:
      space: the search space.
      offsets: ``[m]``.
      slopes: of one-hot features, ``[h, m]``.
      waves, phases, heights: cos(one-hot × waves + phases) × heights, ``[h, w]``, ``[w]`` and ``[w, m]``.
      known: one-hot features of architectures, ``[n, h]``.
      decay: their influence is exp(-decay × squared distance) ...
      weights: ... times these, ``[n, m]``.
    """

    space: space_lib.SearchSpace
    offsets: np.ndarray
    slopes: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    heights: np.ndarray
    known: np.ndarray
    decay: float
    weights: np.ndarray

    def __call__(self, choices: np.ndarray) -> np.ndarray:
        """Their values, float64 ``[n, m]``, at choices ``[n, tokens]``."""
        return np.concatenate([self._values(part) for part in in_parts(choices)])

    def _values(self, choices: np.ndarray) -> np.ndarray:
        """The same of few choices."""
        one_hot = self.space.one_hot(choices)
        near = np.exp(-np.float32(self.decay) * _squares(one_hot, self.known))
        varying = near @ self.weights + np.cos(one_hot @ self.waves + self.phases) @ self.heights
        return self.offsets + (one_hot @ self.slopes + varying).astype(np.float64)

    def graph(self, one_hot: tf.Tensor) -> tf.Tensor:
        """The same of one-hot features ``[n, h]``, float32, as operations of a caller's graph."""
        squares = tf.reduce_sum(one_hot, 1)[:, None] + self.known.sum(1) - 2 * tf.matmul(one_hot, self.known.T)
        varying = tf.matmul(tf.exp(-float(self.decay) * squares), self.weights)
        varying += tf.matmul(tf.cos(tf.matmul(one_hot, self.waves) + self.phases), self.heights)
        return tf.constant(self.offsets, tf.float32) + tf.matmul(one_hot, self.slopes) + varying


@dataclasses.dataclass(frozen=True)
class Process:
    """Posterior over the top-1 of all architectures of a space; made by `fit`.

    Attributes:
      space: the search space.
      logs: logarithms of the variances, ``[7]``, as in `USUAL`.
      mean, unit: top-1 is mean + unit × the process.
      center: of the features of all levels, ``[f]``.
      linear: scaled features of the records, ``[n, f]``.
      one_hot: of the records, ``[n, h]``.
      noise: variance of each record's noise, ``[n]``.
      factor: Cholesky factor of the records' covariance, lower, ``[n, n]``.
      weights: covariance⁻¹ × records, ``[n]``.
    """

    space: space_lib.SearchSpace
    logs: np.ndarray
    mean: float
    unit: float
    center: np.ndarray
    linear: np.ndarray
    one_hot: np.ndarray
    noise: np.ndarray
    factor: np.ndarray
    weights: np.ndarray

    def top1(self, choices: np.ndarray) -> np.ndarray:
        """Mean of the posterior, ``[n]``, of choices ``[n, tokens]``."""
        return self._expected(choices)[:, 0]

    @functools.cached_property
    def _expected(self) -> Functions:
        """The mean of the posterior, a sum without waves."""
        size = self.one_hot.shape[1]
        return self._functions(np.zeros((size, 0)), np.zeros(0), np.zeros((0, 1)), 0.0, self.weights[:, None])

    def draw(self, count: int, rng: np.random.Generator, spread: float = 1.0, paired: bool = False) -> Functions:
        """Functions drawn from the posterior, by conditioning functions of the prior on the records.

        That is Wilson et al. 2020 (arXiv:2002.09309), with random Fourier features for the prior.

        Args:
          spread: their distance from the mean is multiplied by it: 0 gives the mean `count` times.
          paired: each comes with its mirror image, after all others, so that the mean is the posterior's.
        """
        variances = np.exp(self.logs)
        waves = rng.normal(0, np.sqrt(2 * _decay(self.space, variances)), (self.one_hot.shape[1], WAVES))
        phases = rng.uniform(0, 2 * np.pi, WAVES)
        heights = np.sqrt(2 * variances[LOCAL] / WAVES) * rng.normal(size=(WAVES, count))
        slopes = rng.normal(size=(self.linear.shape[1], count))
        errors = np.sqrt(self.noise)[:, None] * rng.normal(size=(len(self.noise), count))
        seen = np.cos(self.one_hot @ waves + phases) @ heights + self.linear @ slopes + errors
        updates = linalg.cho_solve((self.factor, True), -seen)
        signs = (spread, -spread) if paired else (spread,)
        heights, slopes, updates = (
            np.concatenate([sign * part for sign in signs], 1) for part in (heights, slopes, updates)
        )
        return self._functions(waves, phases, heights, slopes, self.weights[:, None] + updates)

    def _functions(
        self,
        waves: np.ndarray,
        phases: np.ndarray,
        heights: np.ndarray,
        slopes: np.ndarray | float,
        weights: np.ndarray,
    ) -> Functions:
        """Functions of the prior, and what records of these weights add to them.

        The arguments are as in `Functions`, but for slopes, which are of the scaled features of all levels.
        """
        variances, each = np.exp(self.logs), levels.matrices(self.space)
        slopes = slopes + self.linear.T @ weights
        scales = _scales(self.space, each, variances)
        return Functions(
            self.space,
            self.mean - self.unit * (self.center * scales) @ slopes,
            (self.unit * np.concatenate(each, 1) @ (scales[:, None] * slopes)).astype(np.float32),
            waves.astype(np.float32),
            phases.astype(np.float32),
            (self.unit * heights).astype(np.float32),
            self.one_hot,
            _decay(self.space, variances),
            (self.unit * variances[LOCAL] * weights).astype(np.float32),
        )


def in_parts(choices: np.ndarray) -> list[np.ndarray]:
    """Choices ``[n, tokens]`` in parts, so that the features of a million architectures need not fit into memory."""
    choices = np.atleast_2d(choices).astype(np.int32)
    return np.array_split(choices, max(1, -(-len(choices) // AT_ONCE)))


def fit(records: records_lib.Records, rng: np.random.Generator) -> Process:
    """The process given records, with the variances that make them most likely.

    Args:
      records: those that know their standard error have at least its square as noise.
      rng: chooses what variances are fitted to where records are many.
    """
    mean, unit = float(records.top1.mean()), float(records.top1.std() or 1.0)
    targets, known = (records.top1 - mean) / unit, np.nan_to_num(records.top1_se / unit) ** 2
    one_hot = records.space.one_hot(records.choices)
    each = [one_hot @ matrix for matrix in levels.matrices(records.space)]
    center = np.concatenate(each, 1).astype(np.float64).mean(0)
    logs = _most_likely(records.space, each, targets, known, _some(len(records), rng))
    variances = np.exp(logs)
    linear = ((np.concatenate(each, 1) - center) * _scales(records.space, each, variances)).astype(np.float32)
    noise = known + variances[NOISE] + JITTER
    local = np.exp(-_decay(records.space, variances) * _squares(each[0], each[0]).astype(np.float64))
    covariance = linear.astype(np.float64) @ linear.T + variances[LOCAL] * local + np.diag(noise)
    factor = linalg.cholesky(covariance, lower=True)
    weights = linalg.cho_solve((factor, True), targets)
    return Process(records.space, logs, mean, unit, center, linear, each[0], noise, factor, weights)


def _some(count: int, rng: np.random.Generator) -> np.ndarray:
    """Places of the records that variances are fitted to: the last ones, and as many of the others by chance."""
    if count <= FITTED:
        return np.arange(count)
    last = count - FITTED // 2
    return np.sort(np.concatenate([rng.permutation(last)[: FITTED // 2], np.arange(last, count)]))


def _most_likely(
    space: space_lib.SearchSpace, each: list[np.ndarray], targets: np.ndarray, known: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Logarithms of the variances at the maximum of the posterior, by L-BFGS with its gradient."""
    centered = [level[rows].astype(np.float64) - level[rows].mean(0) for level in each]
    grams = [level @ level.T / space.layers for level in centered]
    squares = _squares(each[0][rows], each[0][rows]).astype(np.float64) / (2 * space.layers)
    targets, identity = targets[rows] - targets[rows].mean(), np.eye(len(rows))
    given = np.diag(known[rows] + JITTER)

    def negative(logs):
        variances = np.exp(logs)
        local = variances[LOCAL] * np.exp(-variances[DECAY] * squares)
        parts = [variance * gram for variance, gram in zip(variances[LEVELS], grams, strict=True)]
        try:
            value, slope = surprise(sum(parts) + local + variances[NOISE] * identity + given, targets)
        except linalg.LinAlgError:
            return np.inf, np.zeros(len(logs))
        # Each variance's derivative is its sum over what the variance adds.
        decayed = -variances[DECAY] * np.sum(slope * local * squares)
        gradient = [*(np.sum(slope * part) for part in parts), np.sum(slope * local), decayed]
        gradient.append(variances[NOISE] * np.trace(slope))
        off = (logs - USUAL) / BROAD
        return value + 0.5 * off @ off, np.array(gradient) + off / BROAD

    found = optimize.minimize(negative, USUAL, jac=True, method="L-BFGS-B", bounds=BOUNDS, options={"maxiter": 40})
    return found.x


def surprise(covariance: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """(minus the log-likelihood of targets ``[n]``, up to a constant; its derivative by their covariance, ``[n, n]``).

    Raises:
      LinAlgError: the covariance is not positive definite.
    """
    factor = linalg.cho_factor(covariance, lower=True)
    inverse = linalg.cho_solve(factor, np.eye(len(targets)))
    weights = inverse @ targets
    value = 0.5 * targets @ weights + np.log(np.diag(factor[0])).sum()
    return value, 0.5 * (inverse - np.outer(weights, weights))


def _scales(space: space_lib.SearchSpace, each: list[np.ndarray], variances: np.ndarray) -> np.ndarray:
    """What each feature is multiplied by, so that products of features are covariances."""
    return np.sqrt(np.repeat(variances[LEVELS] / space.layers, [level.shape[1] for level in each]))


def _decay(space: space_lib.SearchSpace, variances: np.ndarray) -> float:
    """Of the squared exponential, by a squared distance of one-hot features."""
    return float(variances[DECAY] / (2 * space.layers))


def _squares(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared distances ``[m, n]``; whole numbers, of one-hot features exact."""
    return (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
