"""What a trained generator answers for any budget, beside an evolution of two seconds on the same predictors.

    python benchmarks/any_budget.py RUN [RUN ...] [--budgets 20] [--seconds 2]

Each RUN is the folder of a run of preset `search` that has its generator. Budgets lie in equal ratios over the trained
range; none of them was aimed at. The gap is in points of predicted top-1: what the evolution finds less what the
generator answers, 0 or below where the generator is as good. Milliseconds are of one call for one budget. Beside the
preset's answer, for which samples are refined together with the best of the run's records, stand its parts.
"""

import argparse
import pathlib
import sys
import time

import numpy as np

from pnag_tf import presets
from pnag_tf.search import candidates, generator, predictor, records, rounds
from pnag_tf.search import proposals as search
from pnag_tf.space import space as space_lib

PLAIN = 1000  # samples of the row without refinement


def evolve(predictors, budget_ms, seconds, rng):
    """The best predicted top-1 that an evolution from random architectures finds in so many seconds."""
    found, end = predictors.space.sample(rng, 500), time.perf_counter() + seconds
    while time.perf_counter() < end:
        pool = np.concatenate([found, *search.offspring(predictors.space, found[None], search.MUTATION, rng)])
        best = candidates.within(predictors, [budget_ms], pool)[0]
        found = best.choices[: search.PARENTS]
    return best.top1[0]


def timed(policy, predictors, budget_ms, seed, samples, generations, measured=None):
    """(predicted top-1 of the answer, NaN where it misses the budget; milliseconds of the call).

    Of the best records alone where no samples are asked for.
    """
    start, budgets_ms = time.perf_counter(), np.array([budget_ms])
    if samples:
        (found,) = search.propose(policy, predictors, budgets_ms, samples, seed, 0.0, generations, measured)
    else:
        best = rounds.from_records(measured, budgets_ms, search.MEASURED)
        (found,) = search.refine(best, predictors, generations, np.random.default_rng([seed, 5]))
    took = 1e3 * (time.perf_counter() - start)
    return (found.top1[0] if found.latency_ms[0] <= found.budget_ms else np.nan), took


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--budgets", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    space, preset = space_lib.SearchSpace(), presets.preset("search").eval
    ways = {  # samples, generations, with the records
        "as the preset asks": (preset.samples, preset.refinement, True),
        "without the records": (preset.samples, preset.refinement, False),
        "without the samples": (0, preset.refinement, True),
        f"{PLAIN} samples, unrefined": (PLAIN, 0, False),
    }
    gaps, times = {name: [] for name in ways}, {name: [] for name in ways}
    for seed, run in enumerate(arguments.runs):
        predictors, policy = predictor.load(run / "predictors", space), generator.load(run / "generator", space)
        table = records.read(run / "records.csv", space)
        low, high = policy.budgets_ms[[0, -1]]
        budgets_ms = np.geomspace(low, high, arguments.budgets + 2)[1:-1]
        for samples, generations, _ in ways.values():  # traces
            timed(policy, predictors, budgets_ms[0], seed, samples, generations, table)
        for budget_ms in budgets_ms:
            best = evolve(predictors, budget_ms, arguments.seconds, np.random.default_rng([seed, 1]))
            line = f"{run} {budget_ms:7.3f} ms: evolution {100 * best:.3f}"
            for name, (*how, known) in ways.items():
                top1, took = timed(policy, predictors, budget_ms, seed, *how, table if known else None)
                gaps[name].append(100 * (best - top1))
                times[name].append(took)
                line += f"; {name}: gap {gaps[name][-1]:+.3f}, {took:.0f} ms"
            print(line, flush=True)
    for name in ways:
        gap, ms = np.array(gaps[name]), np.median(times[name])
        missed = f", {np.isnan(gap).sum()} of {len(gap)} budgets missed" if np.isnan(gap).any() else ""
        within = np.mean(gap <= 0.05)
        print(
            f"{name}: gap mean {np.nanmean(gap):+.3f}, largest {np.nanmax(gap):+.3f}, within 0.05 points {within:.0%}, "
            f"median {ms:.0f} ms{missed}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
