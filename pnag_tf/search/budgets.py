"""Budgets between the trained ones: g(B) = ξ g(B1) + (1 − ξ) g(B2), shared by generator and evaluator."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def weights(budgets_ms: np.ndarray, trained_ms: np.ndarray) -> np.ndarray:
    """Weights of the learned budget embeddings: float32 ``[n, K]``.

    Between two trained budgets B1 < B < B2 the embedding is ξ g(B1) + (1 − ξ) g(B2), ξ = (B2 − B) / (B2 − B1);
    outside their range it is that of the nearest one.
    """
    trained_ms, budgets_ms = np.asarray(trained_ms, float), np.atleast_1d(np.asarray(budgets_ms, float))
    columns = [np.interp(budgets_ms, trained_ms, unit) for unit in np.eye(len(trained_ms))]
    return np.stack(columns, 1).astype(np.float32)


def between(budgets: int, seed: tf.Tensor) -> tf.Tensor:
    """Weights of K random budgets: float32 ``[K, K]``, row k uniform between the budgets k and k + 1.

    The last row is drawn between the last two budgets as well, so that every trained range end stays in sight.
    """
    if budgets == 1:
        return tf.ones([1, 1])
    left = tf.minimum(tf.range(budgets), budgets - 2)
    share = tf.random.stateless_uniform([budgets, 1], seed)
    return (1 - share) * tf.one_hot(left, budgets) + share * tf.one_hot(left + 1, budgets)


def inside(mix: tf.Tensor, part: float) -> tf.Tensor:
    """Weights of budgets that lie `part` of the gap between two trained ones below those of `mix`, ``[n, K]``.

    A lone budget has no gap: its weights are returned as they are.
    """
    if mix.shape[1] == 1:
        return mix
    lower = tf.concat([mix[:, :1] + mix[:, 1:2], mix[:, 2:], tf.zeros_like(mix[:, :1])], 1)
    return (1 - part) * mix + part * lower
