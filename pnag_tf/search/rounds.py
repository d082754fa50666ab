"""Active rounds: a Gaussian process names what is worth measuring, and the records grow by it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable

import numpy as np

from pnag_tf.search import candidates, measuring, process
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import proposals as search
from pnag_tf.search import records as records_lib

# records -> a function of choices [n, tokens] that gives their latency in ms, [n], without measuring
Latency = Callable[[records_lib.Records], Callable[[np.ndarray], np.ndarray]]

MOST = 60  # rounds
STARTS, LEAST_TO_START_AGAIN = 3, 1500  # searches that begin alone; networks to measure, so that there are any
FUNCTIONS = 4  # drawn from the process in each round
FIRST_SPREAD, LAST_SPREAD = 1.0, 0.2  # of them around their mean
# Their evolution: best records of a budget that it starts from, and as in `proposals.climb`.
ELITE, PARENTS, GENERATIONS, MUTATION = 60, 30, 30, 0.05
CLIMBERS = 10  # that go on to the next round, of each function and budget


def sizes(count: int, budgets: int, rounds: int = 0) -> list[int]:
    """How many networks each round measures, `count` in all.

    Args:
      rounds: how many there are; 0 for as many as measure two networks a budget each, at most `MOST`. A process that is
        fitted anew after every few measurements knows where to look next; it costs a second.
    """
    rounds = min(rounds or max(1, min(MOST, count // (2 * budgets))), count)
    return [len(part) for part in np.array_split(np.arange(count), rounds)] if count > 0 else []


def choose(
    records: records_lib.Records,
    latency: Callable[[np.ndarray], np.ndarray],
    budgets_ms: np.ndarray,
    count: int,
    rng: np.random.Generator,
    spread: float = 1.0,
    climbers: np.ndarray | None = None,
    measured: records_lib.Records | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Architectures worth measuring, none of them in the records.

    Thompson sampling: an evolution from the best records climbs several functions that a Gaussian process given the
    records holds possible, each within every budget. They agree where much was measured, and differ where it pays to
    look.

    Args:
      latency: choices ``[n, tokens]`` -> ms, ``[n]``; infinite for what must not be chosen at all.
      budgets_ms: each gets an equal share of `count`.
      spread: of the functions around their mean, above 0; see `Process.draw`.
      climbers: of the round before: choices that the evolution goes on from.
      measured: what must not be chosen, `records` and more of which nothing is learned; `records` where not given.

    Returns:
      (chosen, int32 ``[<= count, tokens]``; climbers for the next round; the gain in top-1 that is expected of all that
      was not measured, see `_gain`; 1 where a budget has no record).
    """
    known = process.fit(_near(records, budgets_ms, rng), rng)
    functions, top1 = known.draw(FUNCTIONS, rng, spread), known.top1(records.choices)  # where noise is averaged away
    elites = search.best_within_each(top1[:, None], records.latency_ms, budgets_ms, ELITE)
    start = [records.choices[np.concatenate(elites)], *([] if climbers is None else [climbers])]
    start = np.unique(np.concatenate(start), axis=0)
    met, values, latency_ms = search.climb(
        records.space, functions, latency, start, budgets_ms, GENERATIONS, rng, MUTATION, PARENTS
    )
    new = np.flatnonzero((records if measured is None else measured).lacks(met) & np.isfinite(latency_ms))
    orders = search.best_within_each(values[new], latency_ms[new], budgets_ms, count)
    chosen = _in_turn([orders[place] for place in rng.permutation(len(orders))], count)
    climbers = new[np.unique(np.concatenate([order[:CLIMBERS] for order in orders]))]
    best = [rows[0] for rows in elites]
    rivals = np.concatenate([records.choices[best], met[climbers]])
    rivals_ms = np.concatenate([records.latency_ms[best], latency_ms[climbers]])
    mean = known.top1(rivals)[:, None]
    drawn = np.concatenate([functions(records.choices[best]), values[climbers]])
    gain = _gain(mean + (drawn - mean) / spread, rivals_ms, np.asarray(budgets_ms))
    return met[new[chosen]], met[climbers], gain


def _gain(values: np.ndarray, latency_ms: np.ndarray, budgets_ms: np.ndarray) -> float:
    """What knowing top-1 would add to the best record, in the mean of functions that may be the truth and of budgets.

    Args:
      values: of the functions, ``[n, functions]``, at the best record of each budget, and then at others.
      latency_ms: ``[n]``.
    """
    if np.any(latency_ms[: len(budgets_ms)] > budgets_ms):
        return 1.0  # nobody can tell
    inside = latency_ms <= budgets_ms[:, None]
    inside[:, : len(budgets_ms)] = np.eye(len(budgets_ms))
    best = np.where(inside[:, :, None], values, -np.inf).max(1)
    return float(np.mean(best - values[: len(budgets_ms)]))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all rounds together may spend.

    Attributes:
      count: networks to measure, at most.
      rounds: how many there are; see `sizes`.
      seconds: of measuring and choosing, where the next round is expected to take as long as those before; `rounds`
        is ignored then. The first one, a network a budget, shows how long that is, and is made in any case.
      least_gain: in top-1; the rounds end once less is expected of going on. What was never seen is expected to be
        worth less than it is: many measurements later, one can still find two or three times as much.
    """

    count: int
    rounds: int = 0
    seconds: float = math.inf
    least_gain: float = 0.0


@dataclasses.dataclass(frozen=True)
class State:
    """How far rounds are.

    Attributes:
      done: rounds.
      measured: networks that were asked for in them.
      seconds: that they took.
      first: how many records there were before any of them.
      since: how many there were when the present start was made.
      climbers: choices that the next one's evolution goes on from, ``[n, tokens]``; None before the first.
      gain: in top-1, that was expected before the last round; 1 where nobody can tell.
    """

    done: int = 0
    measured: int = 0
    seconds: float = 0.0
    first: int = 0
    since: int = 0
    climbers: np.ndarray | None = None
    gain: float = 1.0


BEGINNING = State()


@dataclasses.dataclass(frozen=True)
class Round:
    """What a round does.

    Attributes:
      count: networks to measure.
      spread: of the functions around their mean: the first rounds explore, the last ones take what is known.
      starts: it goes on from no other.
      alone: it knows the records before all rounds, and those since the last one that `starts`.
    """

    count: int
    spread: float
    starts: bool
    alone: bool


def left(plan: Plan, budgets: int, state: State) -> list[Round]:
    """The rounds to come, by what is known so far.

    Which hill a search climbs is chance, and no number of measurements brings it down again. Where there are enough,
    the first three quarters are shared among `STARTS` searches that know nothing of each other, and the last
    one goes on from what they all found.
    """
    if state.gain < plan.least_gain:
        return []
    if plan.seconds != math.inf:
        return _start(_sizes_in_time(plan, budgets, state), alone=False, done=state.done)
    if plan.rounds or plan.count < LEAST_TO_START_AGAIN:
        return _start(sizes(plan.count, budgets, plan.rounds), alone=False)[state.done :]
    parts = np.diff(np.linspace(0, plan.count, STARTS + 2).astype(int)).tolist()
    rounds = [each for part in parts[:-1] for each in _start(sizes(part, budgets), alone=True)]
    return (rounds + _start(sizes(parts[-1], budgets), alone=False))[state.done :]


def _start(counts: list[int], alone: bool, done: int = 0) -> list[Round]:
    """Rounds that go on from each other, after others of them that are `done`."""
    spreads = np.linspace(FIRST_SPREAD, LAST_SPREAD, done + len(counts)).tolist()
    rounds = enumerate(zip(counts, spreads[done:], strict=True), done)
    return [Round(count, spread, number == 0, alone) for number, (count, spread) in rounds]


def _sizes_in_time(plan: Plan, budgets: int, state: State) -> list[int]:
    """How many networks each round measures in the seconds that are left."""
    fit = budgets  # to begin with, to know what one takes
    if state.measured:
        fit = int((plan.seconds - state.seconds) * state.measured / state.seconds)
    count = min(plan.count - state.measured, fit)
    each = max(2 * budgets, -(-(state.measured + count) // MOST))
    return sizes(count, budgets, -(-count // each))


def step(
    plan: Plan,
    records: records_lib.Records,
    latency: Latency,
    budgets_ms: np.ndarray,
    rng: Callable[[int], np.random.Generator],
    measure: measuring.Measure,
    state: State,
) -> tuple[records_lib.Records, State]:
    """One round; as `grow`."""
    begun, now = time.monotonic(), left(plan, len(budgets_ms), state)[0]
    if now.starts:
        first = state.first if state.done else len(records)
        state = dataclasses.replace(state, first=first, since=len(records), climbers=None)
    rows = np.arange(len(records))
    known = records[(rows < state.first) | (rows >= state.since)] if now.alone else records
    chosen, climbers, gain = choose(
        known, latency(records), budgets_ms, now.count, rng(state.done), now.spread, state.climbers, records
    )
    if len(chosen):
        records = records.append(measure(chosen))
    seconds = state.seconds + time.monotonic() - begun
    done, measured = state.done + 1, state.measured + now.count
    gain = 1.0 if now.alone else gain  # others may be on better hills
    state = dataclasses.replace(state, done=done, measured=measured, seconds=seconds, climbers=climbers, gain=gain)
    return records, state


def grow(
    plan: Plan,
    records: records_lib.Records,
    latency: Latency,
    budgets_ms: np.ndarray,
    rng: Callable[[int], np.random.Generator],
    measure: measuring.Measure,
    state: State = BEGINNING,
    keep: Callable[[records_lib.Records, State], None] = lambda records, state: None,
) -> records_lib.Records:
    """The records with what all rounds of a plan measure.

    Args:
      rng: of a round by its number, so that rounds that go on from a state repeat those that were never interrupted.
      state: of the rounds of this plan that `records` has already.
      keep: called with records and state after each round.
    """
    while left(plan, len(budgets_ms), state):
        records, state = step(plan, records, latency, budgets_ms, rng, measure, state)
        keep(records, state)
    return records


def latency_of(records: records_lib.Records) -> Callable[[np.ndarray], np.ndarray]:
    """Latency in ms of any architecture by a regression on the records', where no table tells it."""
    fitted = predictor_lib.fit_latency(records)
    return lambda choices: fitted.by_ridge(records.space, choices)


def _near(records: records_lib.Records, budgets_ms: np.ndarray, rng: np.random.Generator) -> records_lib.Records:
    """Of very many records, whose covariances would take minutes: the best within each budget, and others by chance."""
    if len(records) <= process.MOST:
        return records
    orders = search.best_within_each(records.top1[:, None], records.latency_ms, budgets_ms, process.MOST // 2)
    best = _in_turn(orders, process.MOST // 2)
    others = rng.permutation(np.setdiff1d(np.arange(len(records)), best))[: process.MOST - len(best)]
    return records[np.sort(np.concatenate([best, others]))]


def _in_turn(orders: list[np.ndarray], count: int) -> np.ndarray:
    """The first `count` different numbers of several orders of one length, each in its turn."""
    mixed = np.stack(orders, 1).ravel()
    _, first = np.unique(mixed, return_index=True)
    return mixed[np.sort(first)][:count]


def best_measured(records: records_lib.Records, budget_ms: float, count: int) -> records_lib.Records:
    """The most accurate records within a budget, the best first; empty when none keeps it."""
    inside = np.flatnonzero(records.latency_ms <= budget_ms)
    return records[inside[np.argsort(-records.top1[inside], kind="stable")[:count]]]


def from_records(records: records_lib.Records, budgets_ms: Iterable[float], count: int) -> list[candidates.Candidates]:
    """The best `count` records within each budget as candidates; the fastest one alone where none keeps it."""
    found = []
    for budget_ms in budgets_ms:
        best = best_measured(records, budget_ms, count)
        if not len(best):
            best = records[[int(np.argmin(records.latency_ms))]]
        found.append(candidates.Candidates(float(budget_ms), best.choices, best.top1, best.latency_ms))
    return found


def confirm(found: list[candidates.Candidates], records: records_lib.Records) -> list[candidates.Candidates]:
    """Candidates with the best measured architecture of each budget in front, or second where the first is predicted
    to be better: for a budget that no measurement was aimed at it often is.

    What was measured of that one stands in place of what was predicted of it.
    """
    return [_confirmed(proposal, best_measured(records, proposal.budget_ms, 1)) for proposal in found]


def _confirmed(proposal: candidates.Candidates, best: records_lib.Records) -> candidates.Candidates:
    """`confirm` for one budget; `best` is empty where no record keeps it."""
    others = proposal[best.lacks(proposal.choices)]
    inside = len(best) and len(others) and others.latency_ms[0] <= proposal.budget_ms
    place = np.full(len(best), int(inside and others.top1[0] > best.top1[0]))
    return candidates.Candidates(
        proposal.budget_ms,
        np.insert(others.choices, place, best.choices, axis=0),
        np.insert(others.top1, place, best.top1),
        np.insert(others.latency_ms, place, best.latency_ms),
    )
