"""Architectures as hyperparameters: for any tuner that trains networks, and two searches on the predictors."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable

import keras
import keras_tuner
import numpy as np

from pnag_tf import config as config_lib
from pnag_tf.search import candidates
from pnag_tf.space import space as space_lib
from pnag_tf.tuning import trials


def choices(space: space_lib.SearchSpace, hp: keras_tuner.HyperParameters) -> np.ndarray:
    """Declares every token of the space as a hyperparameter and reads its value: canonical int32 ``[tokens]``.

    The names are ``unit1/depth``, ``unit1/layer1/ratio``, ``unit1/layer1/kernel`` and so on, and ``resolution`` where
    it is searched; the values are those of the space. Layers beyond the smallest depth are conditional on their unit's
    depth.
    """
    found = np.zeros(space.tokens, np.int32)
    for unit in range(space.units):
        depth = f"unit{unit + 1}/depth"
        # With the largest depth as default a tuner meets every layer when it first looks, and builds one model only.
        value = hp.Choice(depth, list(space.depths), default=space.max_depth)
        found[space.depth_columns[unit]] = space.depths.index(value)
        for layer in range(space.max_depth):
            deep = [value for value in space.depths if value > layer]
            always = len(deep) == len(space.depths)
            with contextlib.nullcontext() if always else hp.conditional_scope(depth, deep):
                for kind, options, columns in (
                    ("ratio", space.ratios, space.ratio_columns),
                    ("kernel", space.kernels, space.kernel_columns),
                ):
                    value = hp.Choice(f"unit{unit + 1}/layer{layer + 1}/{kind}", list(options))
                    if value is not None:  # the layer is there
                        found[columns[unit, layer]] = options.index(value)
    if space.resolutions:
        found[-1] = space.resolutions.index(hp.Choice("resolution", list(space.resolutions)))
    return found


class SearchSpaceHyperModel(keras_tuner.HyperModel):
    """The search space for any KerasTuner tuner.

    Args:
      space: the search space.
      build: choices int32 ``[tokens]`` -> the model to train, such as a network of the supernet or a fresh one by
        `network.build`; compiled, unless the tuner is given optimizer and loss.
    """

    def __init__(self, space: space_lib.SearchSpace, build: Callable[[np.ndarray], keras.Model]):
        super().__init__()
        self.space, self._network = space, build

    def choices(self, hp: keras_tuner.HyperParameters) -> np.ndarray:
        """The architecture of a trial, canonical int32 ``[tokens]``."""
        return choices(self.space, hp)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return self._network(self.choices(hp))


def kt_random(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """KerasTuner's random search for each budget; the best predicted trial within it."""

    def oracle(objective, hyperparameters, seed):
        return keras_tuner.oracles.RandomSearchOracle(
            objective, config.tune.random_trials, seed, hyperparameters=hyperparameters
        )

    return _per_budget(space, predictors, budgets_ms, rng, oracle)


def kt_bayesian(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """KerasTuner's Bayesian optimisation for each budget, after random trials, by its default three a token."""

    def oracle(objective, hyperparameters, seed):
        random = 3 * space.tokens
        count = random + config.tune.bayesian_trials
        return trials.Bayesian(objective, count, random, seed=seed, hyperparameters=hyperparameters)

    return _per_budget(space, predictors, budgets_ms, rng, oracle)


def _per_budget(space, predictors, budgets_ms, rng, make_oracle) -> list[candidates.Candidates]:
    """One KerasTuner search a budget: predicted top-1, less the relative excess over the budget."""
    found = []
    for budget_ms in budgets_ms:
        hyperparameters = keras_tuner.HyperParameters()
        choices(space, hyperparameters)
        tried = []

        def score(hp, budget_ms=budget_ms, tried=tried):
            tried.append(choices(space, hp))
            top1, _, latency_ms = predictors.predict(tried[-1])
            return float(top1[0] - max(latency_ms[0] / budget_ms - 1.0, 0.0))

        objective = keras_tuner.Objective("top1_within_budget", "max")
        oracle = make_oracle(objective, hyperparameters, int(rng.integers(1, 2**31)))  # KerasTuner takes 0 for no seed
        with tempfile.TemporaryDirectory() as folder:
            trials.Tuner(oracle, directory=folder, project_name="search").run(score)
        oracle.trials.clear()  # KerasTuner keeps each oracle as long as the process lives
        found.append(candidates.rank(predictors, budget_ms, np.stack(tried)))
    return found
