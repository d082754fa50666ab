"""Active rounds: a search proposes architectures, a command or function measures them, the records grow."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
from collections.abc import Callable

import numpy as np

from pnag_tf import candidates, files, search
from pnag_tf import generator as generator_lib
from pnag_tf import predictor as predictor_lib
from pnag_tf import records as records_lib
from pnag_tf import space as space_lib

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
        reader = csv.DictReader(answer.splitlines())
        missing = [column for column in records_lib.COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            found = ",".join(reader.fieldnames or ("nothing",))[:100]
            raise files.UserError(f"{source}: expected a CSV with columns arch,top1,latency_ms, found {found}")
        rows = [tuple(row[column] for column in records_lib.COLUMNS) for row in reader]
        measured = records_lib.from_rows(rows, space, source)
        place = {row.tobytes(): number for number, row in enumerate(measured.choices)}
        order = [place.get(row.tobytes()) for row in space.canonical(choices)]
        if None in order:
            absent = asked[order.index(None)]
            raise files.UserError(f"{source}: expected {len(asked)} architectures; {absent} is not among {len(rows)}")
        return measured[order]

    return measure


def _run(text: str, stdin: str, timeout_s: float) -> str:
    """Output of a shell command, which gets its own process group so that nothing it started outlives it."""
    process = subprocess.Popen(
        text, shell=True, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        answer, errors = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise files.UserError(f"'{text}': no answer within {timeout_s:g} s; stopped") from None
    except UnicodeDecodeError:
        raise files.UserError(f"'{text}': expected text, found bytes that are none") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        raise files.UserError(f"'{text}': exit code {process.returncode}, {last[:200]}")
    return answer


def choose(
    generator: generator_lib.Generator,
    predictors: predictor_lib.Predictors,
    records: records_lib.Records,
    budgets_ms: np.ndarray,
    count: int,
    seed: int,
    optimism: float = 1.0,
) -> np.ndarray:
    """Architectures worth measuring: int32 ``[<= count, tokens]``, none of them in the records.

    For each budget the generator's samples and, because measured ones are certain, mutants and crossings of the best
    measured within it; of those the best by predicted top-1 plus `optimism` × disagreement.
    """
    space, rng = predictors.space, np.random.default_rng([seed, 4])
    share = -(-count // len(budgets_ms))
    drawn, _, _ = generator.sample(budgets_ms, max(500, 2 * share), seed)
    known = {row.tobytes() for row in records.choices}
    chosen = []
    for budget_ms, samples in zip(budgets_ms, drawn, strict=True):
        pool = search.near_frontier(
            predictors, np.concatenate([samples, best_measured(records, budget_ms, 50).choices]), [budget_ms], 3000, rng
        ).choices
        pool = np.unique(np.concatenate([samples, pool]), axis=0)
        pool = pool[[row.tobytes() not in known for row in pool]] if len(pool) else pool
        top1, disagreement, latency_ms = predictors.predict(pool)
        value = np.where(latency_ms <= budget_ms, top1 + optimism * disagreement, -latency_ms)
        best = pool[np.argsort(-value, kind="stable")[:share]]
        known |= {row.tobytes() for row in best}
        chosen.append(best)
    return space.canonical(np.concatenate(chosen))[:count]


def best_measured(records: records_lib.Records, budget_ms: float, count: int) -> records_lib.Records:
    """The most accurate records within a budget, the best first; empty when none keeps it."""
    inside = np.flatnonzero(records.latency_ms <= budget_ms)
    return records[inside[np.argsort(-records.top1[inside], kind="stable")[:count]]]


def confirmed(found: list[candidates.Candidates], records: records_lib.Records) -> list[candidates.Candidates]:
    """Candidates with the best measured architecture of each budget in front: measured beats predicted."""
    result = []
    for proposal in found:
        best = best_measured(records, proposal.budget_ms, 1)
        result.append(
            candidates.Candidates(
                proposal.budget_ms,
                np.concatenate([best.choices, proposal.choices]),
                np.concatenate([best.top1, proposal.top1]),
                np.concatenate([best.latency_ms, proposal.latency_ms]),
            )
        )
    return result
