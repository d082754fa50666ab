"""Regressions that choose their own penalty: ridge on features, or all products of two; a Gaussian process."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

PENALTIES = tuple(10.0 ** np.arange(-6, 4.5, 0.5))  # ridge candidates, in units of one record
PAIR_PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
KERNEL_SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)  # in units of one over the mean squared distance
KERNEL_NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # variances, in units of the process's own


def ridge(inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Ridge regression whose penalty minimises the generalised cross-validation error.

    Args:
      inputs: ``[n, f]``.
      targets: ``[n]``.
      weights: of the squared errors, ``[n]`` with mean 1; all 1 where not given.

    Returns:
      float64 ``[1 + f]``: intercept (not penalised), then coefficients.
    """
    weights = np.ones(len(targets)) if weights is None else weights
    root = np.sqrt(weights)
    mean, center = np.average(targets, weights=weights), np.average(inputs, axis=0, weights=weights)
    centered, left_over = root[:, None] * (inputs - center), root * (targets - mean)
    left, scales, right = np.linalg.svd(centered.astype(np.float64), full_matrices=False)
    projected = left.T @ left_over
    outside = max(np.sum(left_over**2) - np.sum(projected**2), 0.0)  # what no coefficients can explain
    errors = []
    for penalty in PENALTIES:
        shrink = scales**2 / (scales**2 + penalty)
        residual = np.sum(((1 - shrink) * projected) ** 2) + outside
        errors.append(residual / max(1.0 - (1 + shrink.sum()) / len(targets), 1e-6) ** 2)
    penalty = PENALTIES[int(np.argmin(errors))]
    coefficients = right.T @ (scales / (scales**2 + penalty) * projected)
    return np.concatenate([[mean - center @ coefficients], coefficients])


def pairs(inputs: np.ndarray, targets: np.ndarray, allowed: np.ndarray, penalty: float) -> np.ndarray:
    """Ridge regression on all products of two features, by conjugate gradients that never write the products out.

    Args:
      inputs: centred features, float32 ``[n, f]``.
      targets: ``[n]``, mean about 0.
      allowed: float32 ``[f, f]``, 1 for the pairs that count (above the diagonal), else 0.

    Returns:
      float32 ``[f, f]``, V: the prediction is x' V x.
    """

    def products(weights):
        return np.sum((inputs @ weights) * inputs, 1)

    def transposed(values):
        return (inputs * values[:, None]).T @ inputs * allowed

    weights = np.zeros_like(allowed)
    residual = transposed(targets.astype(np.float32))
    direction, size = residual, float(np.sum(residual**2))
    enough = 1e-6 * size
    for _ in range(200):
        if size <= enough:
            break
        image = transposed(products(direction)) + penalty * direction
        step = size / float(np.sum(direction * image))
        weights, residual = weights + step * direction, residual - step * image
        size, before = float(np.sum(residual**2)), size
        direction = residual + size / before * direction
    return weights


def best_pair_penalty(inputs: np.ndarray, targets: np.ndarray, allowed: np.ndarray, rng: np.random.Generator) -> float:
    """The penalty with the least error on a fifth of (at most 5,000 of) the records."""
    order = rng.permutation(len(inputs))[:5000]
    judge, fit = order[: len(order) // 5], order[len(order) // 5 :]
    errors = []
    for penalty in PAIR_PENALTIES:
        weights = pairs(inputs[fit], targets[fit], allowed, penalty)
        errors.append(np.mean((np.sum((inputs[judge] @ weights) * inputs[judge], 1) - targets[judge]) ** 2))
    return PAIR_PENALTIES[int(np.argmin(errors))]


@dataclasses.dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process's mean for several functions at once, which share the kernel; made by `gaussian_process`.

    Attributes:
      inputs: ``[n, f]`` that it was fitted to.
      mean: of each function, far from these, ``[m]``.
      weights: ``[n, m]``.
      scale: the kernel is exp(-scale × squared distance).
    """

    inputs: np.ndarray
    mean: np.ndarray
    weights: np.ndarray
    scale: float

    def graph(self, inputs: tf.Tensor) -> tf.Tensor:
        """``[k, f] -> [k, m]``, as operations of a caller's graph."""
        known = tf.constant(self.inputs, tf.float32)
        squares = tf.reduce_sum(inputs**2, 1)[:, None] + tf.reduce_sum(known**2, 1)
        kernel = tf.exp(-float(self.scale) * (squares - 2 * tf.matmul(inputs, known, transpose_b=True)))
        return tf.constant(self.mean, tf.float32) + tf.matmul(kernel, tf.constant(self.weights, tf.float32))


def gaussian_process(inputs: np.ndarray, targets: np.ndarray, se: np.ndarray | None = None) -> GaussianProcess:
    """Squared exponential kernel; length scale and noise maximise the likelihood of the functions' mean.

    Args:
      inputs: ``[n, f]``, such as `SearchSpace.one_hot`, where a squared distance counts what differs.
      targets: m functions' values, ``[n, m]``.
      se: standard errors of the targets, ``[n]``, not all 0, where they are known. The variance of the noise is then
        in proportion to their squares, and on the average no less.
    """
    mean = targets.mean(0)
    inputs = inputs.astype(np.float64)
    squares = np.sum(inputs**2, 1)
    distances = np.maximum(squares[:, None] + squares - 2 * inputs @ inputs.T, 0)
    usual = max(float(distances.mean()), 1e-12)
    least = 0.0 if se is None else np.mean(se**2)
    # Divided by its root, noise is the same everywhere; a hundredth keeps a value from being met exactly.
    root = np.ones(len(inputs)) if se is None else np.sqrt(np.maximum(se**2 / least, 0.01))
    centered, between = (targets - mean) / root[:, None], np.outer(root, root)
    best = (-np.inf, 0.0, centered)
    for scale in KERNEL_SCALES:
        values, vectors = np.linalg.eigh(np.exp(-scale / usual * distances) / between)
        projected = vectors.T @ centered
        for noise in KERNEL_NOISES:
            spectrum = np.maximum(values, 0) + noise
            explained = np.mean(projected.mean(1) ** 2 / spectrum)
            variance = max(explained, least / noise, 1e-30)
            likelihood = -0.5 * (len(values) * (np.log(variance) + explained / variance) + np.log(spectrum).sum())
            if likelihood > best[0]:
                best = (likelihood, scale / usual, vectors @ (projected / spectrum[:, None]) / root[:, None])
    return GaussianProcess(inputs, mean, best[2], best[1])
