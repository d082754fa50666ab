"""Active rounds: a search proposes architectures, a command or function measures them, the records grow."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable

import numpy as np

from pnag_tf.search import candidates
from pnag_tf.search import generator as generator_lib
from pnag_tf.search import predictor as predictor_lib
from pnag_tf.search import proposals as search
from pnag_tf.search import records as records_lib
from pnag_tf.space import space as space_lib
from pnag_tf.util import errors

# What a round's evolution starts from, a budget: architectures drawn (and as many random records), and best records.
DRAWN, BEST, GENERATIONS = 500, 100, 60

# choices int32 [n, tokens] -> their records
Measure = Callable[[np.ndarray], records_lib.Records]


def command(text: str, space: space_lib.SearchSpace, timeout_s: float) -> Measure:
    """A measuring function out of a shell command: architectures on its stdin, one a line; CSV on its stdout.

    The CSV has columns ``arch,top1,latency_ms`` and a row for each architecture asked for, in any order.

    The function raises UserError when the command fails, takes longer than `timeout_s`, or answers anything else.
    """

    def measure(choices: np.ndarray) -> records_lib.Records:
        asked = [str(arch) for arch in space.decode(choices)]
        answer = _run(text, "".join(f"{arch}\n" for arch in asked), timeout_s)
        source = f"answer of '{text}'"
        rows = records_lib.csv_rows(answer, source)
        measured = records_lib.from_rows(rows, space, source)
        place = {row.tobytes(): number for number, row in enumerate(measured.choices)}
        order = [place.get(row.tobytes()) for row in space.canonical(choices)]
        if None in order:
            absent = asked[order.index(None)]
            raise errors.UserError(f"{source}: expected {len(asked)} architectures; {absent} is not among {len(rows)}")
        return measured[order]

    return measure


def _run(text: str, stdin: str, timeout_s: float) -> str:
    """Output of a shell command, which gets its own process group so that nothing it started outlives it."""
    process = subprocess.Popen(
        text, shell=True, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        answer, complaints = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise errors.UserError(f"'{text}': no answer within {timeout_s:g} s; stopped") from None
    except UnicodeDecodeError:
        raise errors.UserError(f"'{text}': expected text, found bytes that are none") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        last = (complaints.strip().splitlines() or ["no message"])[-1]
        raise errors.UserError(f"'{text}': exit code {process.returncode}, {last[:200]}")
    return answer


def choose(
    generator: generator_lib.Generator | None,
    predictors: predictor_lib.Predictors,
    records: records_lib.Records,
    budgets_ms: np.ndarray,
    count: int,
    seed: int,
    generations: int = GENERATIONS,
    mutation: float = search.MUTATION,
) -> np.ndarray:
    """Architectures worth measuring: int32 ``[<= count, tokens]``, none of them in the records.

    Every member of the ensemble takes part on its own: an evolution from the generator's samples, random records and
    the best of the records finds what it holds to be the best within each budget. The members of `predictor.correct`
    agree where much was measured, and differ where it pays to look.

    Args:
      generator: None leaves its samples out.
      predictors: corrected by what was measured before.
      budgets_ms: each gets an equal share of `count`.
      generations, mutation: of the evolution; see `search.climb`.
    """
    rng = np.random.default_rng([seed, 4])
    drawn = generator.sample(budgets_ms, DRAWN, seed)[0] if generator else []
    start = [*drawn, records.choices[rng.permutation(len(records))[:DRAWN]]]
    start += [best_measured(records, budget_ms, BEST).choices for budget_ms in budgets_ms]
    start = np.unique(np.concatenate(start), axis=0)
    met, values, latency_ms = search.climb(
        predictors.members, predictors, start, budgets_ms, generations, rng, mutation
    )
    share, left = -(-count // len(budgets_ms)), np.flatnonzero(records.lacks(met))
    chosen = left[:0]
    for budget_ms in budgets_ms:
        if len(left):
            best = left[_in_turn(search.best_within(values[left], latency_ms[left], budget_ms, share), share)]
            chosen, left = np.concatenate([chosen, best]), np.setdiff1d(left, best)
    return met[chosen[:count]]


def grow(
    generator: generator_lib.Generator | None,
    predictors: predictor_lib.Predictors,
    records: records_lib.Records,
    budgets_ms: np.ndarray,
    count: int,
    seed: int,
    measure: Measure,
) -> records_lib.Records:
    """The records with up to `count` new ones that `choose` finds worth measuring; the same where it finds none."""
    chosen = choose(generator, predictors, records, budgets_ms, count, seed)
    return records.append(measure(chosen)) if len(chosen) else records


def _in_turn(orders: list[np.ndarray], count: int) -> np.ndarray:
    """The first `count` different numbers of several orders, each in its turn."""
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

    What was measured of an architecture stands in place of what was predicted of it.
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
