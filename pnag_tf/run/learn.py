"""Rounds, which add to the records, and the stages that learn from records alone: predictors, evaluator, generator."""

from __future__ import annotations

import dataclasses
import functools
import math
import shutil
from collections.abc import Callable

import numpy as np

from pnag_tf import config as config_lib
from pnag_tf.run import context as context_lib
from pnag_tf.run import limiting, measure
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
      budgets: in ms, that these rounds aim at, whatever others are asked for later; empty while no record tells them.
      grown: how many records the state knows.
      done, measured, seconds, first, since, climbers, gain: a `rounds.State` of this plan, architectures as strings.
    """

    records: int
    begun: int
    measurements: int
    rounds: int
    minutes: float = 0.0
    budgets: tuple[float, ...] = ()
    grown: int = 0
    done: int = 0
    measured: int = 0
    seconds: float = 0.0
    first: int = 0
    since: int = 0
    climbers: tuple[str, ...] = ()
    gain: float = 1.0

    def state(self, space: space_lib.SearchSpace) -> rounds_lib.State:
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(rounds_lib.State)}
        return rounds_lib.State(**found | {"climbers": space.encode(self.climbers)})

    def at(self, grown: records_lib.Records, state: rounds_lib.State) -> Progress:
        """The same plan, further on."""
        climbers = tuple(map(str, grown.space.decode(state.climbers)))
        return dataclasses.replace(self, **vars(state) | {"grown": len(grown), "climbers": climbers})

    def serves(self, how: config_lib.Eval) -> bool:
        """Whether this plan is what is asked for; more minutes go on with it."""
        timed = bool(self.minutes and how.minutes)
        return self.rounds == how.rounds and (
            timed or (self.measurements, self.minutes) == (how.measurements, how.minutes)
        )


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
    if "grown" not in saved:
        raise errors.UserError(f"{path}: expected rounds of this version, found an earlier one's; begin a new run")
    return frozen.restore(Progress, saved)


def _planned(context: context_lib.Context) -> Progress:
    """The rounds under way; a new plan where none is, or where something else is asked for."""
    known, how = _progress(context), context.config.eval
    if known and known.serves(how):
        return dataclasses.replace(known, measurements=how.measurements, minutes=how.minutes)
    begun, aims = context.config.measure.architectures, how.budgets
    if context.layout.records.exists():
        table = measure.read_records(context)
        begun, aims = len(table), budgets_ms(context, table)
    first = known.records if known else begun
    return Progress(first, begun, how.measurements, how.rounds, how.minutes, tuple(aims), begun)


def _plan(context: context_lib.Context, progress: Progress) -> rounds_lib.Plan:
    """What its rounds may spend: records count, but those that were given, which others measured."""
    own = progress.begun - (progress.records if context.records_file else 0)
    seconds, least_gain = 60 * progress.minutes or math.inf, context.config.eval.least_gain
    return rounds_lib.Plan(progress.measurements - own, progress.rounds, seconds, least_gain)


def rounds_left(context: context_lib.Context) -> list[int]:
    """How many networks each round that is still to come measures, by what is known so far."""
    return _left(context, _planned(context)) if context.config.eval.measurements else []


def _left(context: context_lib.Context, progress: Progress) -> list[int]:
    """The same of rounds under way."""
    budgets, state = len(progress.budgets) or BUDGETS, progress.state(context.config.space)
    return [each.count for each in rounds_lib.left(_plan(context, progress), budgets, state)]


def rounds(context: context_lib.Context) -> None:
    """Measures where it counts; what was learned from fewer records goes, to be learned anew."""
    config, layout = context.config, context.layout
    if not config.eval.measurements or not _left(context, progress := _planned(context)):
        return
    files.write_json(layout.rounds, dataclasses.asdict(progress))
    # A kill between the two writes below leaves records of a round that is not counted: it is repeated.
    table = measure.read_records(context)[: progress.grown]

    def keep(grown: records_lib.Records, state: rounds_lib.State) -> None:
        for folder in (layout.predictors, layout.evaluator, layout.generator):
            shutil.rmtree(folder, ignore_errors=True)
        records_lib.write(layout.records, grown)
        files.write_json(layout.rounds, dataclasses.asdict(progress.at(grown, state)))

    with context.timed("rounds"):
        rounds_lib.grow(
            _plan(context, progress),
            table,
            _latency(context),
            np.array(progress.budgets),
            lambda number: np.random.default_rng([config.seed, 4, progress.begun, number]),
            functools.partial(measure.measure, context),
            progress.state(config.space),
            keep,
        )


def _latency(context: context_lib.Context) -> rounds_lib.Latency:
    """As `measure.latency_model`; infinite beyond the limits on networks, so that rounds measure none of these."""
    limits = limiting.limits(context)

    def of_records(table: records_lib.Records) -> Callable[[np.ndarray], np.ndarray]:
        known = measure.latency_model(context, table)
        return lambda choices: limits.at_most(choices, known(choices))

    return of_records if limits else functools.partial(measure.latency_model, context)


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
    """The budgets asked for, or the usual ones; records of rounds, which aim at these budgets, do not count."""
    return list(context.config.eval.budgets) or usual_budgets(drawn(context, table).latency_ms)


def usual_budgets(latency_ms: np.ndarray) -> list[float]:
    """Five in equal ratios over the range of latencies.

    The smallest leaves a choice; the largest leaves the slowest network room for the noise of a measurement.
    """
    found = np.geomspace(1.1 * latency_ms.min(), 1.06 * latency_ms.max(), BUDGETS)
    return list(dict.fromkeys(float(f"{budget:.3g}") for budget in found))  # a narrow range has fewer
