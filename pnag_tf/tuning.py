"""KerasTuner: any of its tuners on the search space, two searches to compare with, and the search's own settings.

`SearchSpaceHyperModel` hands the space to a tuner that trains networks. `kt_random` and `kt_bayesian` search on the
predictors, with the signature of `baselines`. `tune` searches for settings of the evaluator and the generator;
`tuned` reads them back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import io
import os
import pathlib
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator

import keras
import keras_tuner
import numpy as np
import tqdm
from absl import logging

from pnag_tf import candidates, files, reinforce, search
from pnag_tf import config as config_lib
from pnag_tf import evaluator as evaluator_lib
from pnag_tf import predictor as predictor_lib
from pnag_tf import records as records_lib
from pnag_tf import space as space_lib

# What `tune` varies: a factor up and down for fractions (sampled evenly in their logarithm) and for whole numbers
# (the value and the two ends), 0 for one sampled evenly from 0 to its double. What is 0 in the recipe stays 0.
EVALUATOR = {"learning_rate": 4, "weight_decay": 10, "hidden": 2, "batch_size": 2}
GENERATOR = {"learning_rate": 4, "entropy_weight": 4, "final_entropy_weight": 4, "aim": 0, "hidden": 2, "samples": 2}
EXTRAS = {"sklearn": "scikit-learn", "scipy": "scipy"}  # module -> package

# hyperparameters of a trial -> its objective, the larger the better, or a dict with it and other figures
Score = Callable[[keras_tuner.HyperParameters], float | dict[str, float]]


# ---- the search space ----------------------------------------------------------------------------------------------


def choices(space: space_lib.SearchSpace, hp: keras_tuner.HyperParameters) -> np.ndarray:
    """Declares every token of the space as a hyperparameter and reads its value: canonical int32 ``[tokens]``.

    The names are ``unit1/depth``, ``unit1/layer1/ratio``, ``unit1/layer1/kernel`` and so on, the values those of the
    space. Layers beyond the smallest depth are conditional on their unit's depth.
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


# ---- searches on the predictors ------------------------------------------------------------------------------------


def kt_random(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """KerasTuner's random search for each budget; the best predicted trial within it."""

    def oracle(objective, hyperparameters, seed):
        return keras_tuner.oracles.RandomSearchOracle(
            objective, config.tune.random_trials, seed, hyperparameters=hyperparameters
        )

    return _per_budget(space, predictors, budgets_ms, rng, oracle)


def kt_bayesian(space, predictors, budgets_ms, rng, config: config_lib.Config) -> list[candidates.Candidates]:
    """KerasTuner's Bayesian optimisation for each budget, after random trials, by its default three a token.

    Raises:
      UserError: the extra 'tune' is not installed.
    """
    _require("sklearn", "scipy")

    def oracle(objective, hyperparameters, seed):
        random = 3 * space.tokens
        trials = random + config.tune.bayesian_trials
        return _Bayesian(objective, trials, random, seed=seed, hyperparameters=hyperparameters)

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
            _Tuner(oracle, directory=folder, project_name="search").run(score)
        oracle.trials.clear()  # KerasTuner keeps each oracle as long as the process lives
        found.append(candidates.ranked(predictors, budget_ms, np.stack(tried)))
    return found


# ---- settings of the search ----------------------------------------------------------------------------------------


def tune(
    records: records_lib.Records,
    predictors: predictor_lib.Predictors,
    config: config_lib.Config,
    folder: str | os.PathLike,
    progress: bool = False,
) -> dict[str, dict[str, float]]:
    """Searches for settings of the evaluator, then of the generator under the best evaluator, around the config's.

    The evaluator's objective is `evaluator.mean_tau` on its held-out records, the generator's the hypervolume of the
    best proposals predicted within the K budgets. The first trial of each is the config itself. Writes
    ``trials.csv`` and ``best.json`` into `folder`, and KerasTuner's own files into ``evaluator/`` and ``generator/``
    there: called again, it goes on after the last trial that ended, as if never interrupted.

    Returns:
      What ``best.json`` holds: ``{"evaluator": {setting: value}, "generator": {setting: value}}``, see `tuned`.

    Raises:
      UserError: the extra 'tune' is not installed, no held-out record keeps a budget, or the trials in the folder
        cannot be read.
    """
    _require("sklearn", "scipy")
    folder, space = pathlib.Path(folder), records.space
    budgets_ms = search.training_budgets(records, config.generator.budgets)

    @functools.cache
    def train(settings: config_lib.Evaluator) -> tuple[evaluator_lib.Evaluator, list[dict[str, float]]]:
        return search.train_evaluator(records, predictors, settings, budgets_ms, config.seed)

    def evaluator_score(settings: config_lib.Evaluator) -> float:
        tau = train(settings)[1][-1]["tau"]
        if np.isnan(tau):
            raise files.UserError(f"tune: expected records enough to rank the held-out ones, found {len(records)}")
        return tau

    def generator_score(settings: config_lib.Generator) -> float:
        rewards = reinforce.reward(settings, budgets_ms, train(best_evaluator)[0], predictors)
        made, _ = reinforce.train(space, rewards, settings, budgets_ms, config.seed)
        found = search.propose(made, predictors, budgets_ms, config.eval.samples, config.seed, config.eval.pessimism)
        feasible = [proposal for proposal in found if proposal.latency_ms[0] <= proposal.budget_ms]
        return search.volume(feasible, budgets_ms[-1], float(records.top1.min()))

    vary = functools.partial(_vary, seed=config.seed + 1, progress=progress)  # KerasTuner takes 0 for no seed
    best_evaluator, trials = vary(
        folder / "evaluator", config.evaluator, EVALUATOR, evaluator_score, -1.0, config.tune.evaluator_trials
    )
    best_generator, more = vary(
        folder / "generator", config.generator, GENERATOR, generator_score, 0.0, config.tune.generator_trials
    )
    rows = [*trials, *more]
    files.write_csv(folder / "trials.csv", rows, dict.fromkeys(column for row in rows for column in row))
    best = {"evaluator": _values(best_evaluator, EVALUATOR), "generator": _values(best_generator, GENERATOR)}
    files.write_json(folder / "best.json", best)
    return best


def tuned(config: config_lib.Config, path: str | os.PathLike) -> config_lib.Config:
    """The config with the settings of a ``best.json`` that `tune` wrote.

    Raises:
      UserError: the file cannot be read, or holds something else; names it.
    """
    parts = files.read_json(path)
    if not isinstance(parts, dict) or not set(parts) <= {"evaluator", "generator"}:
        found = ", ".join(parts) if isinstance(parts, dict) else str(parts)
        raise files.UserError(f"{path}: expected settings of evaluator and generator, found {found[:100]}")
    for part, names in (("evaluator", EVALUATOR), ("generator", GENERATOR)):
        values, settings = parts.get(part, {}), getattr(config, part)
        if not isinstance(values, dict):
            raise files.UserError(f"{path}: expected the settings of the {part}, found {str(values)[:100]}")
        for name, value in values.items():
            _check(f"{path}: {part}", settings, (*names, "final_learning_rate"), name, value)
        config = dataclasses.replace(config, **{part: dataclasses.replace(settings, **values)})
    return config


def _check(source: str, settings, names: tuple[str, ...], name: str, value) -> None:
    """Raises UserError unless a setting is among those that `tune` varies and may have the value."""
    if name not in names:
        raise files.UserError(f"{source} has no setting '{name}'; choose from {', '.join(names)}")
    if isinstance(getattr(settings, name), int):
        least = _least(settings, name)
        if not (type(value) is int and value >= least):
            raise files.UserError(f"{source}.{name}: expected a whole number from {least}, found {value!r}")
        return
    zero = not name.endswith("learning_rate")
    if not (type(value) in (int, float) and (0 < value or zero and value == 0) and value < float("inf")):
        raise files.UserError(f"{source}.{name}: expected a number {'from' if zero else 'above'} 0, found {value!r}")


def _least(settings, name: str) -> int:
    return 2 if name == "samples" and settings.advantage == "normalised" else 1


def _vary(
    folder: pathlib.Path,
    settings,
    names: dict[str, int],
    score: Callable[..., float],
    worst: float,
    trials: int,
    seed: int,
    progress: bool,
):
    """Bayesian optimisation around settings: the best settings, and a row of ``trials.csv`` for each trial.

    Args:
      folder: where KerasTuner keeps the trials.
      settings: a dataclass of the config.
      names: its settings to vary, see `EVALUATOR`.
      score: settings -> objective, the larger the better.
      worst: the objective of settings under which the training diverges.
    """
    hyperparameters = keras_tuner.HyperParameters()
    _suggested(settings, names, hyperparameters)
    objective = keras_tuner.Objective("objective", "max")
    # A third of the trials is random; the first one is the recipe, so that the best is never worse.
    oracle = _Bayesian(
        objective, trials, max(trials // 3, 2), seed=seed, hyperparameters=hyperparameters, defaults_first=True
    )
    tuner = _Tuner(oracle, directory=folder.parent, project_name=folder.name)

    def measured(hp):
        start = time.perf_counter()
        try:
            with _no_warnings():
                value = score(_suggested(settings, names, hp))
        except FloatingPointError:
            value = worst
        bar.update()
        return {"objective": value, "seconds": time.perf_counter() - start}

    done = sum(trial.status == "COMPLETED" for trial in oracle.trials.values())
    with tqdm.tqdm(
        total=trials, initial=done, desc=f"tune {folder.name}", unit="trial", disable=not progress or done >= trials
    ) as bar:
        tuner.run(measured)
    rows = []
    for number, trial in enumerate(oracle.trials.values()):
        seconds = trial.metrics.get_last_value("seconds")
        rows.append(
            {"part": folder.name, "trial": number, "objective": f"{trial.score:.6g}", "seconds": f"{seconds:.1f}"}
            | _values(_suggested(settings, names, trial.hyperparameters), names)
        )
    best = oracle.get_best_trials(1)[0].hyperparameters
    return _suggested(settings, names, best), rows


def _suggested(settings, names: dict[str, int], hp: keras_tuner.HyperParameters):
    """Declares the ranges around settings as hyperparameters and reads a trial's settings."""
    found = {}
    for name, factor in names.items():
        value = getattr(settings, name)
        if not value:
            continue
        if isinstance(value, int):
            options = sorted({max(value // factor, _least(settings, name)), value, value * factor})
            found[name] = hp.Choice(name, options, default=value)
        elif factor:
            found[name] = hp.Float(name, value / factor, value * factor, sampling="log", default=value)
        else:
            found[name] = hp.Float(name, 0.0, 2 * value, default=value)
    # The schedule keeps its shape.
    final = settings.final_learning_rate * found["learning_rate"] / settings.learning_rate
    return dataclasses.replace(settings, **found, final_learning_rate=final)


def _values(settings, names: dict[str, int]) -> dict[str, float]:
    return {name: getattr(settings, name) for name in (*names, "final_learning_rate")}


# ---- KerasTuner ----------------------------------------------------------------------------------------------------


class _Tuner(keras_tuner.Tuner):
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
            raise files.UserError(f"{path}: expected KerasTuner's trials, found {found}; remove it") from None
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

    def run_trial(self, trial, score: Score, **kwargs):
        del kwargs
        try:
            return score(trial.hyperparameters)
        except Exception as error:  # KerasTuner would note a failed trial and go on
            raise keras_tuner.errors.FatalRuntimeError(str(error)) from error


class _Bayesian(keras_tuner.oracles.BayesianOptimizationOracle):
    """KerasTuner's Bayesian optimisation, faster, and the same after an interruption.

    Args:
      defaults_first: the first trial takes the hyperparameters' defaults.
    """

    def __init__(self, *args, defaults_first: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.defaults_first = defaults_first

    def populate_space(self, trial_id: str) -> dict:
        import threadpoolctl  # comes with scikit-learn

        if self.defaults_first and not self.trials:
            return {"status": "RUNNING", "values": {hp.name: hp.default for hp in self.hyperparameters.space}}
        self.gpr = _process()(self.alpha, self.seed)
        # Where the search for the next point starts depends on the trial, not on the trials before it.
        self._random_state = np.random.RandomState([self.seed, int(trial_id)])
        with threadpoolctl.threadpool_limits(1):  # the matrices are small: threads only wait for each other
            return super().populate_space(trial_id)


@functools.cache
def _process() -> type:
    """KerasTuner's Gaussian process as a class (alpha, seed), whose prediction takes a sixth of the time.

    The next point is found by finite differences: forty thousand predictions of one point each for a trial on the
    paper's space, in which scikit-learn mostly checks its arguments.
    """
    from sklearn import gaussian_process

    class Process(gaussian_process.GaussianProcessRegressor):
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

    return Process


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Without the log's warnings: that a trial's proposals keep no budget is what its objective says."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _require(*modules: str) -> None:
    """Raises UserError unless these packages of the extra 'tune' are installed."""
    missing = [EXTRAS[module] for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise files.UserError(f"KerasTuner needs {' and '.join(missing)}: pip install -e '.[tune]'")
