"""Latency on another device by a few measurements there, and how sure it is.

Devices differ by kinds of layers: on one all large kernels are slow, on another each layer has an overhead. Few
measurements tell that; what a single layer costs takes many. So the latency of an architecture is a sum over its
layers, of which kinds and single layers have Gaussian priors, in proportion to what they cost on a device that is
known. What is not known yet shows as a standard deviation.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import linalg, optimize

from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import records as records_lib
from pnag_tf.space import space as space_lib

# Logarithms of the variances of what all architectures have, of kinds of layers and of single ones, in those of the
# measured latencies, and of a measurement's relative error. A broad prior keeps few measurements from extremes.
USUAL, BROAD = np.array([0.0, 0.0, -2.0, -6.0]), 5.0
BOUNDS = [(-12.0, 12.0)] * 3 + [(-16.0, -3.0)]


@dataclasses.dataclass(frozen=True)
class LatencyProcess:
    """Posterior over the latency of all architectures of a space; made by `fit`.

    Attributes:
      space: the search space.
      costs: in ms, of what all architectures have and of each column of `layer_one_hot`, ``[1 + c]``.
      covariance: of these, ``[1 + c, 1 + c]``.
      measured: whether an architecture with it was measured, bool ``[1 + c]``.
      left_out_ms: what is expected of each measured architecture by all others, ``[n]``.
    """

    space: space_lib.SearchSpace
    costs: np.ndarray
    covariance: np.ndarray
    measured: np.ndarray
    left_out_ms: np.ndarray

    def __call__(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(expected latency in ms, its standard deviation), each ``[n]``, of choices ``[n, tokens]``.

        The deviation is infinite where an architecture has a layer that none of the measured ones has.
        """
        inputs = _inputs(self.space, choices)
        deviation = np.sqrt(np.maximum(0.0, np.sum((inputs @ self.covariance) * inputs, 1)))
        return inputs @ self.costs, np.where(inputs @ ~self.measured, np.inf, deviation)


def fit(known: predictor_lib.Predictors, measured: records_lib.Records) -> LatencyProcess:
    """The latency there.

    Args:
      known: predictors whose latency is that of another device.
      measured: architectures with their latency; top-1 does not count.
    """
    space, latency_ms = known.space, measured.latency_ms
    inputs, parts = _inputs(space, measured.choices), _priors(known, measured)
    relative = inputs / latency_ms[:, None]
    variances = np.exp(_most_likely([relative @ part @ relative.T for part in parts]))
    prior = sum(variance * part for variance, part in zip(variances, parts, strict=False))
    inverse = np.linalg.inv(relative @ prior @ relative.T + variances[-1] * np.eye(len(relative)))
    gain = prior @ relative.T @ inverse
    errors = inverse.sum(1) / np.diag(inverse)  # of each relative latency, 1, by all others
    covariance = prior - gain @ relative @ prior
    return LatencyProcess(space, gain.sum(1), covariance, inputs.any(0), latency_ms * (1 - errors))


def _inputs(space: space_lib.SearchSpace, choices: np.ndarray) -> np.ndarray:
    layers = space.layer_one_hot(choices).astype(np.float64)
    return np.concatenate([np.ones((len(layers), 1)), layers], 1)


def _priors(known: predictor_lib.Predictors, measured: records_lib.Records) -> list[np.ndarray]:
    """Covariances ``[1 + c, 1 + c]`` of the costs of all architectures, of kinds of layers and of single layers.

    By each alone, latencies vary about as much as those that were measured.
    """
    layers = known.space.layer_one_hot(measured.choices).astype(np.float64)
    unit_ms = measured.latency_ms.std() or measured.latency_ms.mean()
    found = [np.diag([measured.latency_ms.mean() ** 2, *np.zeros(layers.shape[1])])]
    for features in (_kinds(known), np.eye(layers.shape[1])):
        spreads = (layers @ features).std(0)
        each = features[:, spreads > 0] / spreads[spreads > 0] * unit_ms / np.sqrt(max(1, np.sum(spreads > 0)))
        found.append(np.pad(each @ each.T, ((1, 0), (1, 0))))
    return found


def _most_likely(grams: list[np.ndarray]) -> np.ndarray:
    """Logarithms of the variances, as in `USUAL`, at the maximum of the posterior.

    Args:
      grams: covariances of the relative latencies of measured architectures, all 1, by each part of unit variance.
    """
    targets, identity = np.ones(len(grams[0])), np.eye(len(grams[0]))

    def negative(logs):
        variances = np.exp(logs)
        try:
            parts = [variance * part for variance, part in zip(variances, [*grams, identity], strict=True)]
            factor = linalg.cho_factor(sum(parts), lower=True)
        except linalg.LinAlgError:
            return np.inf, np.zeros(len(logs))
        inverse = linalg.cho_solve(factor, identity)
        weights = inverse @ targets
        slope = 0.5 * (inverse - np.outer(weights, weights))  # of the value, by the covariance
        off = (logs - USUAL) / BROAD
        value = 0.5 * targets @ weights + np.log(np.diag(factor[0])).sum() + 0.5 * off @ off
        return value, np.array([np.sum(slope * part) for part in parts]) + off / BROAD

    return optimize.minimize(negative, USUAL, jac=True, method="L-BFGS-B", bounds=BOUNDS).x


def _kinds(known: predictor_lib.Predictors) -> np.ndarray:
    """Features of each column of `layer_one_hot`, ``[columns, kinds]``: its cost on the known device, and 1.

    Both once for all columns, and for those of each unit, resolution, ratio and kernel, 0 elsewhere; and the cost for
    those of each unit and kernel.
    """
    slots = np.array(known.space.layer_slots())
    cost, unit, kernel = _costs(known, slots), slots[:, 0], slots[:, 4]
    groups = [np.ones(len(slots), bool)]
    for column in (0, 2, 3, 4):
        values = np.unique(slots[:, column])
        groups += [slots[:, column] == value for value in values if len(values) > 1]
    both = [(unit == one) & (kernel == other) for one in np.unique(unit) for other in np.unique(kernel)]
    return np.stack([*(cost * group for group in groups + both), *groups], 1)


def _costs(known: predictor_lib.Predictors, slots: np.ndarray) -> np.ndarray:
    """Latency in ms of each column of `layer_one_hot` on the known device, ``[columns]``, but for what all have."""
    space, coefficients = known.space, known.latency_model.coefficients[1:]
    token, option = space.one_hot_columns
    kind = np.array(space.token_kinds)[token]
    value = np.array([space.options[name][number] for name, number in zip(kind, option, strict=True)])
    units, layers = space.token_units[token], space.token_layers[token]
    single, costs = coefficients[: len(token)], coefficients[len(token) :].copy()
    for place, (unit, layer, _, ratio, kernel) in enumerate(slots):
        asked = ((kind == "ratio") & (value == ratio)) | ((kind == "kernel") & (value == kernel))
        costs[place] += single[asked & (units == unit) & (layers == layer)].sum()
    return costs
