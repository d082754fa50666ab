"""Regressions that choose their own penalty: ridge on features, or on all products of two."""

from __future__ import annotations

import numpy as np

PENALTIES = tuple(10.0 ** np.arange(-6, 4.5, 0.5))  # ridge candidates, in units of one record
PAIR_PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


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
