"""What random networks and rounds find in a space that was measured whole.

    python -m pnag_tf.main --workdir=RUN --stage=records --architectures=1728 --set measure.draw=uniform --rounds=0
    python benchmarks/whole_space.py RUN [--plans 160+0,80+0,40+40] [--seeds 6]

A plan is so many random networks and so many in rounds. The truth is the mean of a Gaussian process given all networks,
which averages the noise of each away. Printed are, as means of the seeds: regret in points of top-1, mean of the five
default budgets, of the measured network that a process given the measured ones holds the best, and of the best network
of the whole space by such a process; Kendall's tau between its mean and the measurements that it was not given.
"""

import argparse
import dataclasses
import pathlib
import sys

import numpy as np
import peers
from scipy import stats

from pnag_tf import presets
from pnag_tf.run import folder, layout, learn, measure
from pnag_tf.search import process, records
from pnag_tf.space import space as space_lib
from pnag_tf.util import frozen


def planned(config, seed, count):
    """The settings of a run that draws `count` random networks."""
    return dataclasses.replace(config, seed=seed, measure=dataclasses.replace(config.measure, architectures=count))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--plans", default="160+0,120+0,80+0,40+40,40+60,40+80,40+120")
    parser.add_argument("--seeds", type=int, default=6)
    arguments = parser.parse_args()
    home = layout.Layout(arguments.run)
    space = frozen.restore(space_lib.SearchSpace, folder.read_settings(home)["space"])
    config = dataclasses.replace(presets.preset("demo"), space=space)  # fitted to the run's images
    table = records.read(arguments.run / "records.csv", config.space)
    place = {row.tobytes(): number for number, row in enumerate(table.choices)}
    budgets_ms = np.array(learn.usual_budgets(table.latency_ms))

    def at(choices):
        return table[np.array([place[row.tobytes()] for row in choices])]

    def latency(choices):
        return at(choices).latency_ms

    def best(values):
        """Places of the best within each budget, of values of all networks."""
        return [int(np.argmax(np.where(table.latency_ms <= each, values, -1))) for each in budgets_ms]

    truth = process.fit(table, np.random.default_rng(0)).top1(table.choices)
    top = truth[best(truth)]
    print(f"{len(table)} networks; top-1 {table.top1.std():.4f} apart, standard error {table.top1_se.mean():.4f}")
    print("| random + in rounds | regret, measured | anywhere | tau |\n|---|---|---|---|")
    for plan in arguments.plans.split(","):
        first, later = map(int, plan.split("+"))
        rows = []
        for seed in range(arguments.seeds):
            rng, start = np.random.default_rng([seed, 1]), at(measure.draw(planned(config, seed, first)))
            known = peers.pnag(start, at, latency, budgets_ms, later, rng)
            values, new = process.fit(known, rng).top1(table.choices), known.lacks(table.choices)
            measured, anywhere = best(np.where(new, 0, values)), best(values)
            tau = stats.kendalltau(values[new], table.top1[new]).statistic
            rows.append((100 * np.mean(top - truth[measured]), 100 * np.mean(top - truth[anywhere]), tau))
        means, spreads = np.mean(rows, 0), np.std(rows, 0)
        cells = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(means[:2], spreads[:2], strict=True)]
        print(f"| {first} + {later} | {cells[0]} | {cells[1]} | {means[2]:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
