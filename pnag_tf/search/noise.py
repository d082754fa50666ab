"""How noisy measured top-1 is, how much of what tells records apart is signal, and what to expect behind the noise.

All architectures are judged on the same images, so that most of the noise of a top-1 is common to all: an easy choice
of images is easy for every network. What matters is the noise of differences, which is smaller, often by far.
"""

from __future__ import annotations

import dataclasses

import numpy as np

FLOOR = 0.01  # of the variance of top-1 that is always taken for signal: no weight is unbounded


def standard_errors(packed: np.ndarray, images: int, mean: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Standard error of each top-1 relative to the mean over architectures, by pairing image by image.

    With c_ij = 1 where architecture i is right on image j, and m_j the mean of c_ij over architectures,

        se_i² = 1 / (N (N − 1)) · Σ_j (c_ij − m_j − d_i)²,    d_i = mean over j of (c_ij − m_j),

    the squared standard error of d_i, by which the top-1 of i differs from the mean architecture's on N images. How
    hard the images are is in m_j and drops out; the binomial error would count it for each architecture anew.

    Args:
      packed: c by `numpy.packbits` along the images, uint8 ``[n, ceil(images / 8)]``.
      images: N, 2 or more.
      mean: m, ``[images]``.
      weights: how much each image counts, ``[images]`` with mean 1; c_ij − m_j is multiplied by them.

    Returns:
      float64 ``[n]``, fractions.
    """
    found = np.empty(len(packed))
    for place, row in enumerate(packed):
        difference = np.unpackbits(row, count=images) - mean
        if weights is not None:
            difference *= weights
        found[place] = np.sqrt(difference.var(ddof=1) / images)
    return found


def image_means(packed: np.ndarray, images: int) -> np.ndarray:
    """The share of architectures that are right on each image: float64 ``[images]``; see `standard_errors`."""
    total = np.zeros(images)
    for row in packed:
        total += np.unpackbits(row, count=images)
    return total / len(packed)


@dataclasses.dataclass(frozen=True)
class Signal:
    """What the differences between measured top-1 are made of.

    Attributes:
      deviation: standard deviation of top-1 over the architectures, a fraction.
      error: standard error of one top-1 relative to their mean (root mean square), a fraction.
    """

    deviation: float
    error: float

    @property
    def share(self) -> float:
        """The part of the variance that is signal: 1 − error² / deviation², 0 at least."""
        return max(0.0, 1 - (self.error / self.deviation) ** 2) if self.deviation else 0.0

    @property
    def variance(self) -> float:
        """The variance of the true top-1, as a square of fractions; positive, see FLOOR."""
        return max(self.deviation**2 * max(self.share, FLOOR), 1e-12)


def signal(top1: np.ndarray, top1_se: np.ndarray) -> Signal | None:
    """What the spread of top-1 ``[n]`` is made of, by the architectures of known standard error ``[n]``.

    The expected variance of measured top-1 (divisor n) is that of the true ones plus the mean of se². None where the
    standard errors (NaN = unknown) of fewer than two are known.
    """
    known = np.isfinite(top1_se)
    if known.sum() < 2:
        return None
    return Signal(float(top1[known].std()), float(np.sqrt(np.mean(top1_se[known] ** 2))))


def weights(top1: np.ndarray, top1_se: np.ndarray) -> np.ndarray:
    """Weights of measurements in a regression, ``[n]`` with mean 1: 1 / (variance of the signal + se²).

    What is not known to be noisier counts as the average; all weigh the same where nothing is known.
    """
    found = signal(top1, top1_se)
    if found is None:
        return np.ones(len(top1))
    raw = 1 / (found.variance + np.where(np.isfinite(top1_se), top1_se, found.error) ** 2)
    return raw / raw.mean()


def model_error(rmse: float, top1: np.ndarray, top1_se: np.ndarray) -> float:
    """The error of a model of top-1 against the truth, from its error `rmse` against measured, hence noisy, ones."""
    found = signal(top1, top1_se)
    return rmse if found is None else float(np.sqrt(max(rmse**2 - found.error**2, 0.0)))


def expected(measured: np.ndarray, se: np.ndarray, predicted: np.ndarray, error: float) -> np.ndarray:
    """Expected top-1 of architectures that were measured and predicted: the measured ones, drawn to the predicted.

    What measured and predicted top-1 have in common is taken from the measured mean. Of the difference that remains,
    r_i = (measured_i − predicted_i) − mean of the same, the posterior mean of a normal prior around the prediction
    keeps the part τ² / (τ² + se_i²):

        expected_i = measured_i − r_i · se_i² / (τ² + se_i²)

    τ² is the larger one of error² (1 − 1 / n), which a deviation from a mean of n has, and of what the r_i themselves
    show beyond their noise: a search seeks out where the predictor errs.

    Args:
      measured, predicted: ``[n]``, fractions.
      se: of `measured` relative to their mean, ``[n]``; see `standard_errors`.
      error: of the predictor on architectures that it was not fitted to; see `model_error`.
    """
    rest = measured - predicted
    rest = rest - rest.mean()
    tau2 = max(error**2 * (1 - 1 / len(rest)), np.mean(rest**2) - np.mean(se**2), 0.0)
    return measured - rest * se**2 / np.maximum(tau2 + se**2, 1e-12)
