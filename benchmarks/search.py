"""Compares the searches on a table of records: method × budget, predicted and true, regret and seconds.

    python benchmarks/search.py --records FILE [--judge "CMD"] [--seeds 3] [--methods pnag,evo] [--noise_images 2000]

CMD scores a CSV with columns budget_ms and arch, named as its last argument, and prints one line a budget with
`true top-1 A%`, `true latency L ms` and `regret R points`, and a last one with the mean regret.

PNAG has a row without the refinement of its samples. What measurements beyond the table are worth, `few.py` says.
"""

import argparse
import dataclasses
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

from pnag_tf import presets
from pnag_tf.search import baselines, predictor, records, reinforce
from pnag_tf.search import proposals as search
from pnag_tf.space import space as space_lib
from pnag_tf.util import digits, files


def pnag(table, predictors, settings, budgets_ms, seed):
    """Candidates per budget without and with refinement."""
    _, evaluating, generating, how = settings
    trained_ms = search.training_budgets(table, generating)
    times = [time.perf_counter()]
    evaluator, ranking = search.train_evaluator(table, predictors, evaluating, trained_ms, seed)
    times.append(time.perf_counter())
    generator, _ = reinforce.train_generator(generating, predictors, evaluator, trained_ms, seed)
    times.append(time.perf_counter())
    plain, refined = (
        search.propose(generator, predictors, budgets_ms, how.samples, seed, how.pessimism, generations)
        for generations in (0, how.refinement)
    )
    times.append(time.perf_counter())
    kept = search.satisfaction(generator, predictors, budgets_ms, 1000, seed + 1)
    seconds = np.diff(times).round(1)
    print(f"  tau {ranking[-1]['tau']:.3f}; raw samples within budget {kept.round(3)}; seconds {seconds}", flush=True)
    return plain, refined


def judge(command, space, found):
    """(regret per budget or NaN, printed lines) of the best candidate of every budget."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "found.csv"
        rows = [{"budget_ms": digits.shortest(c.budget_ms), "arch": str(space.decode(c.choices[:1])[0])} for c in found]
        files.write_csv(path, rows, ("budget_ms", "arch"))
        lines = subprocess.run(f"{command} {path}", shell=True, text=True, capture_output=True, check=True).stdout
    regrets = [10.0 if "OVER" in line else float(value) for line in lines.splitlines()
               for value in re.findall(r"regret (\S+) points", line) if line.startswith("budget")]  # fmt: skip
    return np.array(regrets), lines.splitlines()


def noisy(table, images, rng):
    """The records as a test on so many images would have them: top-1 drawn from the binomial distribution."""
    return dataclasses.replace(table, top1=rng.binomial(images, table.top1) / images) if images else table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", required=True)
    parser.add_argument("--judge", default="")
    parser.add_argument("--budgets", default="21,25,29,33,37")
    parser.add_argument("--preset", default="search")
    parser.add_argument("--methods", default="pnag,evo")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--limit", type=int, default=0, help="use only the first so many records")
    parser.add_argument("--noise_images", type=int, default=0, help="every top-1 is that of so many images; 0: exact")
    arguments = parser.parse_args()
    space = space_lib.SearchSpace()
    exact = records.read(arguments.records, space)
    exact = exact[: arguments.limit or len(exact)]
    budgets_ms = np.array([float(b) for b in arguments.budgets.split(",")])
    whole = presets.preset(arguments.preset)
    settings = whole.predictors, whole.evaluator, whole.generator, whole.eval
    results = {}
    for seed in range(arguments.seeds):
        start = time.perf_counter()
        table = noisy(exact, arguments.noise_images, np.random.default_rng([seed, 6]))
        predictors = predictor.train(table, settings[0], seed)
        report = {name: round(value, 5) for name, value in predictors.report.items()}
        print(f"seed {seed}: predictors {time.perf_counter() - start:.1f} s {report}", flush=True)
        for method in arguments.methods.split(","):
            start = time.perf_counter()
            if method == "pnag":
                plain, found = pnag(table, predictors, settings, budgets_ms, seed)
                show(results, "pnag, unrefined", plain, space, arguments, table, time.perf_counter() - start)
            else:
                search_one = getattr(baselines, method)
                found = search_one(space, predictors, budgets_ms, np.random.default_rng(seed), whole)
            show(results, method, found, space, arguments, table, time.perf_counter() - start)
    for method, rows in results.items():
        regrets = np.array([row[0] for row in rows])
        means, volumes, seconds = regrets.mean(1), [row[1] for row in rows], [row[2] for row in rows]
        print(
            f"{method:20s} mean regret {np.mean(means):.3f} ± {np.std(means):.3f}  per budget "
            f"{regrets.mean(0).round(2)} ± {regrets.std(0).round(2)}  hypervolume {np.mean(volumes):.4f} "
            f"seconds {np.mean(seconds):.1f}"
        )
    return 0


def show(results, method, found, space, arguments, table, seconds):
    volume = search.volume(found, float(table.latency_ms.max()), float(table.top1.min()))
    regrets = np.full(len(found), np.nan)
    lines = [""] * len(found)
    if arguments.judge:
        regrets, lines = judge(arguments.judge, space, found)
    for proposal, line in zip(found, lines, strict=False):
        predicted = f"predicted top-1 {100 * proposal.top1[0]:.2f}% latency {proposal.latency_ms[0]:.2f} ms"
        print(f"  {method:20s} {predicted}  {line}")
    print(f"  {method}: mean regret {regrets.mean():.3f}, {seconds:.1f} s", flush=True)
    results.setdefault(method, []).append((regrets, volume, seconds))


if __name__ == "__main__":
    sys.exit(main())
