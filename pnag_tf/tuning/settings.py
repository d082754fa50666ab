"""Settings of the evaluator and the generator, searched for around a config's: `tune`; and read back: `tuned`."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable

import keras_tuner
import numpy as np
import tqdm

from pnag_tf import config as config_lib
from pnag_tf.search import evaluator as evaluator_lib
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import proposals as search
from pnag_tf.search import records as records_lib
from pnag_tf.search import reinforce
from pnag_tf.tuning import trials
from pnag_tf.util import errors, files

# What `tune` varies: a factor up and down for fractions (sampled evenly in their logarithm) and for whole numbers
# (the value and the two ends), 0 for one sampled evenly from 0 to its double. What is 0 in the recipe stays 0.
EVALUATOR = {"learning_rate": 4, "weight_decay": 10, "hidden": 2, "batch_size": 2}
GENERATOR = {"learning_rate": 4, "entropy_weight": 4, "final_entropy_weight": 4, "aim": 0, "hidden": 2, "samples": 2}


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
      UserError: no held-out record keeps a budget, or the trials in the folder cannot be read.
    """
    folder = pathlib.Path(folder)
    budgets_ms = search.training_budgets(records, config.generator)

    @functools.cache
    def train(settings: config_lib.Evaluator) -> tuple[evaluator_lib.Evaluator, list[dict[str, float]]]:
        return search.train_evaluator(records, predictors, settings, budgets_ms, config.seed)

    def evaluator_score(settings: config_lib.Evaluator) -> float:
        tau = train(settings)[1][-1]["tau"]
        if np.isnan(tau):
            raise errors.UserError(f"tune: expected records enough to rank the held-out ones, found {len(records)}")
        return tau

    def generator_score(settings: config_lib.Generator) -> float:
        made, _ = reinforce.train_generator(settings, predictors, train(best_evaluator)[0], budgets_ms, config.seed)
        found = search.propose(made, predictors, budgets_ms, config.eval.samples, config.seed, config.eval.pessimism)
        feasible = [proposal for proposal in found if proposal.latency_ms[0] <= proposal.budget_ms]
        return search.volume(feasible, budgets_ms[-1], float(records.top1.min()))

    vary = functools.partial(_vary, seed=config.seed + 1, progress=progress)  # KerasTuner takes 0 for no seed
    best_evaluator, rows = vary(
        folder / "evaluator", config.evaluator, EVALUATOR, evaluator_score, -1.0, config.tune.evaluator_trials
    )
    best_generator, more = vary(
        folder / "generator", config.generator, GENERATOR, generator_score, 0.0, config.tune.generator_trials
    )
    rows += more
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
        raise errors.UserError(f"{path}: expected settings of evaluator and generator, found {found[:100]}")
    for part, names in (("evaluator", EVALUATOR), ("generator", GENERATOR)):
        values, settings = parts.get(part, {}), getattr(config, part)
        if not isinstance(values, dict):
            raise errors.UserError(f"{path}: expected the settings of the {part}, found {str(values)[:100]}")
        for name, value in values.items():
            _check(f"{path}: {part}", settings, (*names, "final_learning_rate"), name, value)
        config = dataclasses.replace(config, **{part: dataclasses.replace(settings, **values)})
    return config


def _check(source: str, settings, names: tuple[str, ...], name: str, value) -> None:
    """Raises UserError unless a setting is among those that `tune` varies and may have the value."""
    if name not in names:
        raise errors.UserError(f"{source} has no setting '{name}'; choose from {', '.join(names)}")
    if isinstance(getattr(settings, name), int):
        least = _least(settings, name)
        if not (type(value) is int and value >= least):
            raise errors.UserError(f"{source}.{name}: expected a whole number from {least}, found {value!r}")
        return
    zero = not name.endswith("learning_rate")
    if not (type(value) in (int, float) and (0 < value or zero and value == 0) and value < float("inf")):
        raise errors.UserError(f"{source}.{name}: expected a number {'from' if zero else 'above'} 0, found {value!r}")


def _least(settings, name: str) -> int:
    return 2 if name == "samples" and settings.advantage == "normalised" else 1


def _vary(
    folder: pathlib.Path,
    settings,
    names: dict[str, int],
    score: Callable[..., float],
    worst: float,
    count: int,
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
    _suggest(settings, names, hyperparameters)
    objective = keras_tuner.Objective("objective", "max")
    # A third of the trials is random; the first one is the recipe, so that the best is never worse.
    oracle = trials.Bayesian(
        objective, count, max(count // 3, 2), seed=seed, hyperparameters=hyperparameters, defaults_first=True
    )
    tuner = trials.Tuner(oracle, directory=folder.parent, project_name=folder.name)

    def measure(hp):
        start = time.perf_counter()
        try:
            with trials.no_warnings():
                value = score(_suggest(settings, names, hp))
        except FloatingPointError:
            value = worst
        bar.update()
        return {"objective": value, "seconds": time.perf_counter() - start}

    done = sum(trial.status == "COMPLETED" for trial in oracle.trials.values())
    with tqdm.tqdm(
        total=count, initial=done, desc=f"tune {folder.name}", unit="trial", disable=not progress or done >= count
    ) as bar:
        tuner.run(measure)
    rows = []
    for number, trial in enumerate(oracle.trials.values()):
        seconds = trial.metrics.get_last_value("seconds")
        rows.append(
            {"part": folder.name, "trial": number, "objective": f"{trial.score:.6g}", "seconds": f"{seconds:.1f}"}
            | _values(_suggest(settings, names, trial.hyperparameters), names)
        )
    best = oracle.get_best_trials(1)[0].hyperparameters
    return _suggest(settings, names, best), rows


def _suggest(settings, names: dict[str, int], hp: keras_tuner.HyperParameters):
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
