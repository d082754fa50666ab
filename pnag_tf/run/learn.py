"""The stages that learn from records alone: predictors, evaluator, generator; and rounds that add to the records."""

from __future__ import annotations

import functools
import shutil

import numpy as np

from pnag_tf import config as config_lib
from pnag_tf.run import context as context_lib
from pnag_tf.run import measure
from pnag_tf.search import evaluator as evaluator_lib
from pnag_tf.search import generator as generator_lib
from pnag_tf.search import predictor, proposals, reinforce
from pnag_tf.search import records as records_lib
from pnag_tf.search import rounds as rounds_lib
from pnag_tf.util import files


def predictors(context: context_lib.Context) -> None:
    """Trains the predictors: accuracy and latency of any architecture."""
    config, layout = context.config, context.layout
    table = measure.read_records(context)
    with context.timed("predictors"):
        made = predictor.train(table, config.predictors, config.seed, True, context.log("predictors"))
    files.write_json(layout.predictors_report, made.report)
    made.save(layout.predictors)


def read_predictors(context: context_lib.Context) -> predictor.Predictors:
    """What `predictors` made, and what rounds have corrected."""
    return predictor.load(context.layout.predictors, context.config.space)


def evaluator(context: context_lib.Context) -> None:
    """Trains R(α|B; w); its history, and how it ranks held-out records, stand beside it."""
    config, layout = context.config, context.layout
    table = measure.read_records(context)
    budgets_ms = proposals.training_budgets(table, config.generator)
    with context.timed("evaluator"):
        made, history = proposals.train_evaluator(
            table,
            read_predictors(context),
            config.evaluator,
            budgets_ms,
            config.seed,
            progress=True,
            log=context.log("evaluator"),
        )
    context_lib.write_history(layout.history(layout.evaluator), history)
    held_out = table.split(np.random.default_rng(config.seed), config.evaluator.held_out)[1]
    context_lib.write_history(layout.ranking, evaluator_lib.ranking(made, held_out))
    made.save(layout.evaluator)


def generator(context: context_lib.Context) -> None:
    """Trains f(B; θ) under the evaluator; its history stands beside it."""
    config, layout = context.config, context.layout
    known = read_predictors(context)
    judge = evaluator_lib.load(layout.evaluator, config.space, known)
    with context.timed("generator"):
        made, history = reinforce.train_generator(
            config.generator,
            known,
            judge,
            judge.budgets_ms,
            config.seed,
            layout.generator,
            progress=True,
            log=context.log("generator"),
        )
    context_lib.write_history(layout.history(layout.generator), history)
    made.save(layout.generator)
    (layout.generator / reinforce.CHECKPOINT).unlink(missing_ok=True)


def read_generator(context: context_lib.Context) -> generator_lib.Generator:
    """What `generator` made."""
    return generator_lib.load(context.layout.generator, context.config.space)


def rounds_left(context: context_lib.Context) -> range:
    """The rounds that were asked for and are not done."""
    path = context.layout.rounds
    return range(files.read_json(path)["done"] if path.exists() else 0, context.config.eval.rounds)


def rounds(context: context_lib.Context) -> None:
    """Proposes and measures: the records grow, and correct the predictors.

    After the last round evaluator and generator, which learnt from the predictors before, are gone, to be made anew.
    """
    config, layout, left = context.config, context.layout, rounds_left(context)
    table, known, made = measure.read_records(context), read_predictors(context), read_generator(context)
    share = config.eval.measurements // config.eval.rounds
    for number in left:
        with context.timed("rounds"):
            targets_ms = np.array(budgets_ms(config, table))
            measuring = functools.partial(measure.measure, context)
            table = rounds_lib.grow(made, known, table, targets_ms, share, config.seed + number, measuring)
            records_lib.write(layout.records, table)
            known = predictor.correct(known, table)
            known.save(layout.predictors)
        if number + 1 == config.eval.rounds:
            for folder in (layout.evaluator, layout.generator):
                shutil.rmtree(folder, ignore_errors=True)  # gone after a crash at this very place
        files.write_json(layout.rounds, {"done": number + 1})


def budgets_ms(config: config_lib.Config, table: records_lib.Records) -> list[float]:
    """The budgets asked for; five in equal ratios over the range of the records where none are.

    The smallest leaves a choice; the largest leaves the slowest network room for the noise of a measurement.
    """
    if config.eval.budgets:
        return list(config.eval.budgets)
    latency_ms = table.latency_ms
    found = [float(f"{budget:.3g}") for budget in np.geomspace(1.1 * latency_ms.min(), 1.06 * latency_ms.max(), 5)]
    return list(dict.fromkeys(found))  # a narrow range has fewer
