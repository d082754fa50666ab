"""Latency on another device by a few measurements there, and how sure it is.

Devices differ by kinds of layers: on one all large kernels are slow, on another each layer has an overhead. Few
measurements tell that; what a single layer costs takes many. So the latency of an architecture is a sum over its
layers, of which kinds and single layers have Gaussian priors; kinds are known from what layers cost on another device,
where a regression tells that. What is not known yet, and what is no sum, shows as a standard deviation.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import linalg, optimize

from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import process
from pnag_tf.search import records as records_lib
from pnag_tf.space import space as space_lib

# Logarithms of the variances: of what all architectures have, in the square of the mean latency; of kinds of layers and
# of single ones, in the variance of the measured latencies; and of relative errors. A broad prior keeps few
# measurements from extremes.
USUAL, BROAD = np.array([0.0, 0.0, -2.0, -6.0]), 5.0
BOUNDS = [(-12.0, 12.0)] * 3 + [(-16.0, -3.0)]
FITTED = 300  # measurements that variances are fitted to, at most
TINY = 1e-9  # relative; what varies less is constant


@dataclasses.dataclass(frozen=True)
class LatencyProcess:
    """Posterior over the latency of all architectures of a space; made by `fit`.

    Attributes:
      space: the search space.
      costs: in ms, of what all architectures have and of each column of `layer_one_hot`, ``[1 + c]``.
      factor: of their covariance, factor × factor', ``[1 + c, f]``.
      error: standard deviation of what is no sum of costs, relative to the latency.
      known: columns of layers of which some were measured, at any resolution, bool ``[c]``.
      left_out_ms: what is expected of each measured architecture by all others, ``[n]``.
    """

    space: space_lib.SearchSpace
    costs: np.ndarray
    factor: np.ndarray
    error: float
    known: np.ndarray
    left_out_ms: np.ndarray

    def __call__(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(expected latency in ms, its standard deviation), each ``[n]``, of choices ``[n, tokens]``.

        The deviation is infinite where an architecture has a layer that none of the measured ones has.
        """
        inputs = _inputs(self.space, choices)
        expected_ms = inputs @ self.costs
        variance = np.sum((inputs @ self.factor) ** 2, 1) + (self.error * expected_ms) ** 2
        return expected_ms, np.where(inputs[:, 1:] @ ~self.known, np.inf, np.sqrt(variance))


def fit(known: predictor_lib.Predictors, measured: records_lib.Records) -> LatencyProcess:
    """The latency there.

    Args:
      known: predictors whose latency is that of another device.
      measured: architectures with their latency; top-1 does not count.
    """
    space, latency_ms = known.space, measured.latency_ms
    relative = _inputs(space, measured.choices) / latency_ms[:, None]
    parts = _parts(known, measured)
    some = np.random.default_rng(0).permutation(len(relative))[:FITTED]
    variances = np.exp(_most_likely([relative[some] @ part for part in parts]))
    features = np.concatenate([np.sqrt(each) * part for each, part in zip(variances, parts, strict=False)], 1)
    seen, noise = relative @ features, variances[-1]
    lower = linalg.cholesky(np.eye(features.shape[1]) + seen.T @ seen / noise, lower=True)
    half = linalg.solve_triangular(lower, seen.T, lower=True)
    factor = linalg.solve_triangular(lower, features.T, lower=True).T
    costs = factor @ half.sum(1) / noise  # relative latencies are all 1
    errors = (1 - relative @ costs) / (1 - np.sum(half**2, 0) / noise)  # of each, left out
    layers = space.layer_one_hot(measured.choices).any(0)
    return LatencyProcess(
        space, costs, factor, float(np.sqrt(noise)), _alike(space) @ layers, latency_ms * (1 - errors)
    )


def _inputs(space: space_lib.SearchSpace, choices: np.ndarray) -> np.ndarray:
    layers = space.layer_one_hot(choices).astype(np.float64)
    return np.concatenate([np.ones((len(layers), 1)), layers], 1)


def _alike(space: space_lib.SearchSpace) -> np.ndarray:
    """Which columns of `layer_one_hot` differ in nothing but the resolution, bool ``[c, c]``."""
    slots = np.delete(np.array(space.layer_slots()), 2, axis=1)
    return (slots[:, None] == slots).all(2)


def _parts(known: predictor_lib.Predictors, measured: records_lib.Records) -> list[np.ndarray]:
    """Features ``[1 + c, f]`` of the costs: of all architectures, of kinds of layers, and of single layers.

    By each of the last two alone, latencies vary about as much as those that were measured.
    """
    layers, mean_ms = known.space.layer_one_hot(measured.choices).astype(np.float64), measured.latency_ms.mean()
    unit_ms = max(measured.latency_ms.std(), TINY * mean_ms)
    found = [np.eye(1 + layers.shape[1], 1) * mean_ms]
    kinds = _kinds(known)
    spreads = (layers @ kinds).std(0)
    varying = spreads > TINY * spreads.max()  # what never does belongs to all
    found.append(kinds[:, varying] * unit_ms / spreads[varying] / np.sqrt(max(1, varying.sum())))
    spreads = layers.std(0)
    spreads = np.maximum(spreads, spreads[spreads > TINY].min(initial=1.0))  # of those never met as of the rarest
    found.append(np.diag(unit_ms / spreads / np.sqrt(len(spreads))))
    return [found[0], *(np.pad(part, ((1, 0), (0, 0))) for part in found[1:])]


def _most_likely(parts: list[np.ndarray]) -> np.ndarray:
    """Logarithms of the variances, as in `USUAL`, at the maximum of the posterior.

    Args:
      parts: features ``[n, f]`` of the relative latencies of measured architectures, all 1, each of unit variance.
    """
    targets = np.ones(len(parts[0]))
    grams = [*(part @ part.T for part in parts), np.eye(len(targets))]

    def negative(logs):
        variances = np.exp(logs)
        shares = [variance * gram for variance, gram in zip(variances, grams, strict=True)]
        try:
            value, slope = process.surprise(sum(shares), targets)
        except linalg.LinAlgError:
            return np.inf, np.zeros(len(logs))
        off = (logs - USUAL) / BROAD
        return value + 0.5 * off @ off, np.array([np.sum(slope * share) for share in shares]) + off / BROAD

    return optimize.minimize(negative, USUAL, jac=True, method="L-BFGS-B", bounds=BOUNDS).x


def _kinds(known: predictor_lib.Predictors) -> np.ndarray:
    """Features of each column of `layer_one_hot`, ``[columns, kinds]``: its cost on the known device, and 1.

    Both once for all columns, and for those of each unit, resolution, ratio and kernel, 0 elsewhere; the cost for those
    of each unit and kernel; and 1 for the first layers of each resolution, as all networks of that resolution have one.
    """
    slots = np.array(known.space.layer_slots())
    cost, unit, resolution, kernel = _costs(known, slots), slots[:, 0], slots[:, 2], slots[:, 4]
    groups = [np.ones(len(slots), bool)]
    for column in (0, 2, 3, 4):
        values = np.unique(slots[:, column])
        groups += [slots[:, column] == value for value in values if len(values) > 1]
    both = [(unit == one) & (kernel == other) for one in np.unique(unit) for other in np.unique(kernel)]
    firsts = [(unit == 0) & (slots[:, 1] == 0) & (resolution == each) for each in np.unique(resolution)]
    return np.stack([*(cost * group for group in groups + both), *groups, *firsts], 1)


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
