"""KerasTuner's trials, quiet, faster, and the same after an interruption; see each class for what it mends."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator

import keras_tuner
import numpy as np
import threadpoolctl
from absl import logging
from sklearn import gaussian_process

from pnag_tf.util import errors

# hyperparameters of a trial -> its objective, the larger the better, or a dict with it and other figures
Score = Callable[[keras_tuner.HyperParameters], float | dict[str, float]]


class Tuner(keras_tuner.Tuner):
    """Scores hyperparameters by a function, without a Keras model; quiet.

    An existing project in its folder is gone on with.

    Raises:
      UserError: the folder holds a project that cannot be read.
    """

    def __init__(self, oracle: keras_tuner.Oracle, directory: str | os.PathLike, project_name: str):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                super().__init__(oracle, directory=directory, project_name=project_name)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            path = pathlib.Path(directory) / project_name
            found = str(error)[:100]
            raise errors.UserError(f"{path}: expected KerasTuner's trials, found {found}; remove it") from None
        # Read back, they have no order: it decides between equal trials, and rounds the Gaussian process.
        oracle.trials = dict(sorted(oracle.trials.items(), key=lambda item: int(item[0])))

    def run(self, score: Score) -> None:
        """Runs all trials that are left. What `score` raises ends the search; the trial is repeated the next time."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="keras_tuner")
            warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")  # a length scale at its bound
            try:
                self.search(score, verbose=0)
            except keras_tuner.errors.FatalError as error:
                raise error.__cause__ or error from None

    def run_trial(self, trial, score: Score, **_):
        try:
            return score(trial.hyperparameters)
        except Exception as error:  # KerasTuner would note a failed trial and go on
            raise keras_tuner.errors.FatalRuntimeError(str(error)) from error


class Bayesian(keras_tuner.oracles.BayesianOptimizationOracle):
    """KerasTuner's Bayesian optimisation, faster, and the same after an interruption.

    Args:
      defaults_first: the first trial takes the hyperparameters' defaults.
    """

    def __init__(self, *args, defaults_first: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.defaults_first = defaults_first

    def populate_space(self, trial_id: str) -> dict:
        if self.defaults_first and not self.trials:
            return {"status": "RUNNING", "values": {hp.name: hp.default for hp in self.hyperparameters.space}}
        self.gpr = Process(self.alpha, self.seed)
        # Where the search for the next point starts depends on the trial, not on the trials before it.
        self._random_state = np.random.RandomState([self.seed, int(trial_id)])
        with threadpoolctl.threadpool_limits(1):  # the matrices are small: threads only wait for each other
            return super().populate_space(trial_id)


class Process(gaussian_process.GaussianProcessRegressor):
    """KerasTuner's Gaussian process, whose prediction takes a sixth of the time.

    The next point is found by finite differences: forty thousand predictions of one point each for a trial on the
    paper's space, in which scikit-learn mostly checks its arguments.
    """

    def __init__(self, alpha, random_state):
        kernel = gaussian_process.kernels.Matern(nu=2.5)
        super().__init__(kernel, alpha=alpha, n_restarts_optimizer=20, random_state=random_state)

    def fit(self, x, y):
        self._shift, self._scale = y.mean(), y.std() or 1.0
        super().fit(x, (y - self._shift) / self._scale)
        self._unit = 5**0.5 / self.kernel_.length_scale
        self._points = x * self._unit
        self._squares = np.sum(self._points**2, 1)
        self._inverse = np.linalg.inv(self.L_)
        return self

    def predict(self, x, return_std=True):
        """(mean [1], standard deviation [1]) of one point [1, hyperparameters]."""
        point = x[0] * self._unit
        square = np.maximum(self._squares - 2 * (self._points @ point) + point @ point, 0)
        distance = np.sqrt(square)
        near = (1 + distance + square / 3) * np.exp(-distance)
        known = self._inverse @ near
        deviation = max(1 - known @ known, 0) ** 0.5
        return self._shift + self._scale * np.array([near @ self.alpha_]), self._scale * np.array([deviation])


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Without the log's warnings: that a trial's proposals keep no budget is what its objective says."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)
