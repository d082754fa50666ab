"""Rounds, which add to the records, and the stages that learn from records alone: predictors, evaluator, generator."""

from __future__ import annotations

import dataclasses
import functools
import math
import shutil

import numpy as np

from pnag_tf.run import context as context_lib
from pnag_tf.run import measure
from pnag_tf.search import evaluator as evaluator_lib
from pnag_tf.search import generator as generator_lib
from pnag_tf.search import predictor, proposals, reinforce
from pnag_tf.search import records as records_lib
from pnag_tf.search import rounds as rounds_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors, files, frozen

BUDGETS = 5  # where none are asked for


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far the rounds are: rounds.json.

    Attributes:
      records: how many there were before the first round.
      begun: how many there were when the measurements asked for were planned.
      measurements, rounds, minutes: as they were asked for then.
      done, measured, seconds, first, since, climbers: a `rounds.State` of this plan, its architectures as strings.
    """

    records: int
    begun: int
    measurements: int
    rounds: int
    minutes: float = 0.0
    done: int = 0
    measured: int = 0
    seconds: float = 0.0
    first: int = 0
    since: int = 0
    climbers: tuple[str, ...] = ()

    def state(self, space: space_lib.SearchSpace) -> rounds_lib.State:
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(rounds_lib.State)}
        return rounds_lib.State(**found | {"climbers": space.encode(self.climbers)})

    def at(self, state: rounds_lib.State, space: space_lib.SearchSpace) -> Progress:
        """The same plan, further on."""
        return dataclasses.replace(self, **vars(state) | {"climbers": tuple(map(str, space.decode(state.climbers)))})


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
    if "since" not in saved:
        raise errors.UserError(f"{path}: expected rounds of this version, found an earlier one's; begin a new run")
    return frozen.restore(Progress, saved)


def _planned(context: context_lib.Context) -> Progress:
    """The rounds under way; a new plan where none is, or where something else is asked for."""
    known, how = _progress(context), context.config.eval
    if known and (known.measurements, known.rounds, known.minutes) == (how.measurements, how.rounds, how.minutes):
        return known
    there = context.layout.records.exists()
    begun = len(measure.read_records(context)) if there else context.config.measure.architectures
    return Progress(known.records if known else begun, begun, how.measurements, how.rounds, how.minutes)


def _plan(context: context_lib.Context, progress: Progress) -> rounds_lib.Plan:
    """What its rounds may spend: records count, but those that were given, which others measured."""
    own = progress.begun - (progress.records if context.records_file else 0)
    return rounds_lib.Plan(progress.measurements - own, progress.rounds, 60 * progress.minutes or math.inf)


def rounds_left(context: context_lib.Context) -> list[int]:
    """How many networks each round that is still to come measures, by what is known so far."""
    config = context.config
    if not config.eval.measurements:
        return []
    progress, budgets = _planned(context), len(config.eval.budgets) or BUDGETS
    left = rounds_lib.left(_plan(context, progress), budgets, progress.state(config.space))
    return [each.count for each in left]


def rounds(context: context_lib.Context) -> None:
    """Measures where it counts; what was learned from fewer records goes, to be learned anew."""
    config, layout = context.config, context.layout
    progress = _planned(context)
    for folder in (layout.predictors, layout.evaluator, layout.generator):
        shutil.rmtree(folder, ignore_errors=True)
    table = measure.read_records(context)

    def keep(grown: records_lib.Records, state: rounds_lib.State) -> None:
        records_lib.write(layout.records, grown)
        files.write_json(layout.rounds, dataclasses.asdict(progress.at(state, config.space)))

    with context.timed("rounds"):
        rounds_lib.grow(
            _plan(context, progress),
            table,
            functools.partial(measure.latency_model, context),
            np.array(budgets_ms(context, table)),
            lambda number: np.random.default_rng([config.seed, 4, progress.begun, number]),
            functools.partial(measure.measure, context),
            progress.state(config.space),
            keep,
        )


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


def budgets_ms(context: context_lib.Context, table: records_lib.Records) -> list[float]:
    """The budgets asked for; five in equal ratios over the range of the records where none are.

    The smallest leaves a choice; the largest leaves the slowest network room for the noise of a measurement. Records of
    rounds, which aim at these budgets, do not count.
    """
    if context.config.eval.budgets:
        return list(context.config.eval.budgets)
    latency_ms = drawn(context, table).latency_ms
    found = [
        float(f"{budget:.3g}") for budget in np.geomspace(1.1 * latency_ms.min(), 1.06 * latency_ms.max(), BUDGETS)
    ]
    return list(dict.fromkeys(found))  # a narrow range has fewer
