"""Rounds, which add to the records, and the stages that learn from records alone: predictors, evaluator, generator."""

from __future__ import annotations

import dataclasses
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
from pnag_tf.util import errors, files, frozen

BUDGETS = 5  # where none are asked for


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far the rounds are: rounds.json.

    Attributes:
      records: how many there were before the first round.
      begun: how many there were when the measurements asked for were planned.
      measurements, rounds: as they were asked for then.
      done: rounds of this plan.
      climbers: architectures that the next round's evolution goes on from.
    """

    records: int
    begun: int
    measurements: int
    rounds: int
    done: int = 0
    climbers: tuple[str, ...] = ()


def drawn(context: context_lib.Context, table: records_lib.Records) -> records_lib.Records:
    """The records that were there before any round."""
    known = _progress(context)
    return table[: known.records] if known else table


def _progress(context: context_lib.Context) -> Progress | None:
    """What rounds.json says; None without."""
    path = context.layout.rounds
    if not path.exists():
        return None
    saved = files.read_json(path)
    if "begun" not in saved:
        raise errors.UserError(f"{path}: expected rounds of this version, found an earlier one's; begin a new run")
    return frozen.restore(Progress, saved)


def _plan(context: context_lib.Context) -> Progress:
    """The rounds under way; a new plan where none is, or where another number of measurements is asked for."""
    known, how = _progress(context), context.config.eval
    if known and (known.measurements, known.rounds) == (how.measurements, how.rounds):
        return known
    there = context.layout.records.exists()
    begun = len(measure.read_records(context)) if there else context.config.measure.architectures
    return Progress(known.records if known else begun, begun, how.measurements, how.rounds)


def rounds_left(context: context_lib.Context) -> list[int]:
    """How many networks each round that is still to come measures."""
    return _left(context, _plan(context)) if context.config.eval.measurements else []


def _left(context: context_lib.Context, plan: Progress) -> list[int]:
    """`rounds_left` of a plan."""
    own = plan.begun - (plan.records if context.records_file else 0)  # given records were measured by others
    budgets = len(context.config.eval.budgets) or BUDGETS
    return rounds_lib.sizes(plan.measurements - own, budgets, plan.rounds)[plan.done :]


def rounds(context: context_lib.Context) -> None:
    """Measures where it counts; what was learned from fewer records goes, to be learned anew."""
    config, layout = context.config, context.layout
    plan = _plan(context)
    left = _left(context, plan)
    for folder in (layout.predictors, layout.evaluator, layout.generator):
        shutil.rmtree(folder, ignore_errors=True)
    table, climbers = measure.read_records(context), config.space.encode(plan.climbers)
    measuring = functools.partial(measure.measure, context)
    for number, count in enumerate(left, plan.done):
        with context.timed("rounds"):
            table, climbers = rounds_lib.grow(
                table,
                measure.latency_model(context, table),
                np.array(budgets_ms(config, table)),
                count,
                np.random.default_rng([config.seed, 4, plan.begun, number]),
                measuring,
                rounds_lib.spread(number, plan.done + len(left)),
                climbers,
            )
        records_lib.write(layout.records, table)
        kept = tuple(map(str, config.space.decode(climbers)))
        files.write_json(layout.rounds, dataclasses.asdict(dataclasses.replace(plan, done=number + 1, climbers=kept)))


def predictors(context: context_lib.Context) -> None:
    """Trains the predictors: accuracy and latency of any architecture."""
    config, layout = context.config, context.layout
    table = measure.read_records(context)
    with context.timed("predictors"):
        made = predictor.train(table, config.predictors, config.seed, True, context.log("predictors"))
    files.write_json(layout.predictors_report, made.report)
    made.save(layout.predictors)


def read_predictors(context: context_lib.Context) -> predictor.Predictors:
    """What `predictors` made."""
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


def budgets_ms(config: config_lib.Config, table: records_lib.Records) -> list[float]:
    """The budgets asked for; five in equal ratios over the range of the records where none are.

    The smallest leaves a choice; the largest leaves the slowest network room for the noise of a measurement.
    """
    if config.eval.budgets:
        return list(config.eval.budgets)
    latency_ms = table.latency_ms
    found = [
        float(f"{budget:.3g}") for budget in np.geomspace(1.1 * latency_ms.min(), 1.06 * latency_ms.max(), BUDGETS)
    ]
    return list(dict.fromkeys(found))  # a narrow range has fewer
