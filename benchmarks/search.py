"""Compares the searches on a table of records: method × budget, predicted and true, regret and seconds.

    python benchmarks/search.py --records FILE [--judge "CMD"] [--seeds 3] [--rounds R] [--methods pnag,evo]

CMD scores a CSV with columns budget_ms and arch, named as its last argument, and prints one line a budget with
`true top-1 A%`, `true latency L ms` and `regret R points`, and a last one with the mean regret.
`--measure_command` (for `--rounds`) reads architectures on stdin and writes CSV `arch,top1,latency_ms`.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

from pnag_tf import baselines, config, files, predictor, recipes, records, reinforce, rounds, search
from pnag_tf import space as space_lib


def pnag(table, predictors, settings, budgets_ms, seed):
    """(candidates per budget, generator, seconds of evaluator, generator and proposals)."""
    _, evaluating, generating, evaluation = settings
    trained_ms = search.training_budgets(table, generating)
    times = [time.perf_counter()]
    evaluator, ranking = search.train_evaluator(table, predictors, evaluating, trained_ms, seed)
    times.append(time.perf_counter())
    rewards = reinforce.reward(generating, trained_ms, evaluator, predictors)
    generator, _ = reinforce.train(table.space, rewards, generating, trained_ms, seed, predictors=predictors)
    times.append(time.perf_counter())
    found = search.propose(
        generator, predictors, budgets_ms, evaluation.samples, seed, evaluation.pessimism, evaluation.refinement
    )
    times.append(time.perf_counter())
    kept = search.satisfaction(generator, predictors, budgets_ms, 1000, seed + 1)
    seconds = np.diff(times).round(1)
    print(f"  tau {ranking[-1]['tau']:.3f}; raw samples within budget {kept.round(3)}; seconds {seconds}", flush=True)
    return found, generator


def judged(command, space, found):
    """(regret per budget or NaN, printed lines) of the best candidate of every budget."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "found.csv"
        rows = [{"budget_ms": f"{c.budget_ms:g}", "arch": str(space.decode(c.choices[:1])[0])} for c in found]
        files.write_csv(path, rows, ("budget_ms", "arch"))
        lines = subprocess.run(f"{command} {path}", shell=True, text=True, capture_output=True, check=True).stdout
    regrets = [10.0 if "OVER" in line else float(value) for line in lines.splitlines()
               for value in re.findall(r"regret (\S+) points", line) if line.startswith("budget")]  # fmt: skip
    return np.array(regrets), lines.splitlines()


def active(table, predictors, generator, settings, budgets_ms, arguments, measure, seed):
    """The rounds: choose, measure, correct; the candidates after the last."""
    share = arguments.measurements // arguments.rounds
    for number in range(arguments.rounds):
        chosen = rounds.choose(generator, predictors, table, budgets_ms, share, seed + number)
        table = table.append(measure(chosen))
        predictors = predictor.corrected(predictors, table)
        best = [100 * rounds.best_measured(table, budget_ms, 1).top1[0] for budget_ms in budgets_ms]
        print(f"  round {number + 1}: {len(table)} records, best top-1 {np.round(best, 2)}", flush=True)
    found, _ = pnag(table, predictors, settings, budgets_ms, seed)
    return rounds.confirmed(found, table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", required=True)
    parser.add_argument("--judge", default="")
    parser.add_argument("--budgets", default="21,25,29,33,37")
    parser.add_argument("--preset", default="search")
    parser.add_argument("--methods", default="pnag,evo")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--measurements", type=int, default=2000)
    parser.add_argument("--measure_command", default="")
    parser.add_argument("--limit", type=int, default=0, help="use only the first so many records")
    arguments = parser.parse_args()
    space = space_lib.SearchSpace()
    table = records.read(arguments.records, space)
    table = table[: arguments.limit or len(table)]
    budgets_ms = np.array([float(b) for b in arguments.budgets.split(",")])
    settings = recipes.SEARCH[arguments.preset]
    whole = config.Config(arguments.preset, predictors=settings[0], generator=settings[2], eval=settings[3])
    results = {}
    for seed in range(arguments.seeds):
        start = time.perf_counter()
        predictors = predictor.train(table, settings[0], seed)
        report = {name: round(value, 5) for name, value in predictors.report.items()}
        print(f"seed {seed}: predictors {time.perf_counter() - start:.1f} s {report}", flush=True)
        for method in arguments.methods.split(","):
            start = time.perf_counter()
            if method == "pnag":
                found, generator = pnag(table, predictors, settings, budgets_ms, seed)
            else:
                search_one = getattr(baselines, method)
                found = search_one(space, predictors, budgets_ms, np.random.default_rng(seed), whole)
            show(results, method, found, space, arguments, table, time.perf_counter() - start)
            if method == "pnag" and arguments.rounds:
                measure = rounds.command(arguments.measure_command, space, settings[3].measure_timeout_s)
                start = time.perf_counter()
                found = active(table, predictors, generator, settings, budgets_ms, arguments, measure, seed)
                show(results, "pnag+rounds", found, space, arguments, table, time.perf_counter() - start)
    for method, rows in results.items():
        means = [np.mean(regrets) for regrets, *_ in rows]
        volumes, seconds = [row[1] for row in rows], [row[2] for row in rows]
        print(
            f"{method:12s} mean regret {np.mean(means):.3f} ± {np.std(means):.3f}  per budget "
            f"{np.mean([row[0] for row in rows], 0).round(2)}  hypervolume {np.mean(volumes):.4f} "
            f"seconds {np.mean(seconds):.1f}"
        )
    return 0


def show(results, method, found, space, arguments, table, seconds):
    volume = search.volume(found, float(table.latency_ms.max()), float(table.top1.min()))
    regrets = np.full(len(found), np.nan)
    lines = [""] * len(found)
    if arguments.judge:
        regrets, lines = judged(arguments.judge, space, found)
    for proposal, line in zip(found, lines, strict=False):
        predicted = f"predicted top-1 {100 * proposal.top1[0]:.2f}% latency {proposal.latency_ms[0]:.2f} ms"
        print(f"  {method:12s} {predicted}  {line}")
    print(f"  {method}: mean regret {regrets.mean():.3f}, {seconds:.1f} s", flush=True)
    results.setdefault(method, []).append((regrets, volume, seconds))


if __name__ == "__main__":
    sys.exit(main())
