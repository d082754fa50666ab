"""What a search finds by how many measured networks it may spend, the ones it starts with included.

    python benchmarks/few.py --records FILE --judge "CMD" --measure_command CMD
        [--totals 100,340,1000,2000,4000] [--methods pnag,evo] [--seeds 3] [--start 40] [--noise_images 2000]
        [--out FILE.csv] [--madds] [--picture FILE]

FILE holds what every method starts with, the same random networks for a seed; a regression on its latencies is what
they know without measuring. CMD of `--judge` scores a CSV as in `search.py`; `--measure_command` reads architectures on
stdin and writes CSV `arch,top1,latency_ms`. Every method measures as many more as make up the total, and answers each
budget with the best that it measured. With `--noise_images` each top-1 is that of so many images, and the answer is the
best by the posterior mean of a Gaussian process, for all methods. `--madds` puts multiply-adds in the place of latency.

Printed are regret (mean of the budgets) and hypervolume, mean and spread of the seeds, and seconds of the search beside
its measurements. Rows are kept in `--out` as they are finished: called again, it goes on.
"""

import argparse
import dataclasses
import pathlib
import sys
import time

import numpy as np
import peers
import search as search_benchmark
from matplotlib import ticker

from pnag_tf.figures import style
from pnag_tf.search import measuring, pareto, process, records, rounds
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib
from pnag_tf.util import files

TITLES = {  # of the methods, in the picture
    "pnag": "PNAG's rounds",
    "pnag_generator": "rounds and generator",
    "evo": "evolution, the same process",
    "nsganetv2": "NSGANetV2",
    "weaknas": "WeakNAS",
    "qnehvi": "BoTorch, qNEHVI",
    "tpe": "Optuna, TPE",
    "nsga2": "Optuna, NSGA-II",
    "random": "random",
}
COLUMNS = ("method", "total", "seed", "regret", "hypervolume", "seconds", "measured")


def counted(measure, backbone):
    """The same measurements with 1e-7 of the multiply-adds in the place of the latency."""

    def measured(choices):
        found = measure(choices)
        return dataclasses.replace(found, latency_ms=madds_of(found.space, choices, backbone))

    return measured


def madds_of(space, choices, backbone):
    return 1e-7 * np.array([cost.madds(backbone, arch) for arch in space.decode(choices)])


def noisy(measure, images, rng):
    """The same measurements on so many images; exact where that is 0."""

    def measured(choices):
        found = search_benchmark.noisy(measure(choices), images, rng)
        return dataclasses.replace(found, top1_se=np.sqrt(found.top1 * (1 - found.top1) / images))

    return measured if images else measure


def answers(table, budgets_ms, images, rng):
    """Places of the best within each budget: as measured, or by what a process makes of noisy measurements."""
    values = process.fit(table, rng).top1(table.choices) if images else table.top1
    return [int(np.argmax(np.where(table.latency_ms <= each, values, -table.latency_ms))) for each in budgets_ms]


def run(method, total, seed, start, exact, latency, budgets_ms, arguments):
    """A row of the table."""
    seconds = 0.0

    def timed(choices):
        nonlocal seconds
        begun = time.perf_counter()
        found = exact(choices)
        seconds += time.perf_counter() - begun
        return found

    rng = np.random.default_rng([seed, 8])
    measure = noisy(timed, arguments.noise_images, np.random.default_rng([seed, 9]))
    space = start.space
    drawn = start[np.random.default_rng([seed, 10]).permutation(len(start))[: min(arguments.start, total)]]
    first = noisy(lambda _: drawn, arguments.noise_images, np.random.default_rng([seed, 11]))(None)
    begun, before = time.perf_counter(), seconds
    table = peers.METHODS[method](first, measure, latency, budgets_ms, total - len(first), rng)
    took = time.perf_counter() - begun - (seconds - before)
    best = exact(table.choices[answers(table, budgets_ms, arguments.noise_images, rng)])
    found = [rounds.from_records(best[[place]], [each], 1)[0] for place, each in enumerate(budgets_ms)]
    regrets = search_benchmark.judge(arguments.judge, space, found)[0] if arguments.judge else -100 * best.top1
    volume = pareto.hypervolume(best.latency_ms, best.top1, float(max(budgets_ms)), arguments.worst_top1)
    values = (method, total, seed, f"{np.mean(regrets):.5f}", f"{volume:.5f}", f"{took:.2f}", len(table))
    return dict(zip(COLUMNS, values, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", required=True)
    parser.add_argument("--judge", default="")
    parser.add_argument("--measure_command", required=True)
    parser.add_argument("--totals", default="100,340,1000,2000,4000")
    parser.add_argument("--methods", default=",".join(peers.METHODS))
    parser.add_argument("--budgets", default="21,25,29,33,37")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--start", type=int, default=40, help="records that every method starts with")
    parser.add_argument("--noise_images", type=int, default=0)
    parser.add_argument("--worst_top1", type=float, default=0.7, help="of the hypervolume's corner")
    parser.add_argument("--madds", action="store_true", help="latency is 1e-7 times multiply-adds, width 1.2, 192 px")
    parser.add_argument("--picture", type=pathlib.Path, default=None, help="regret against measured networks")
    parser.add_argument("--out", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    space = space_lib.SearchSpace()
    table = records.read(arguments.records, space)
    budgets_ms = np.array([float(each) for each in arguments.budgets.split(",")])
    exact = measuring.by_command(arguments.measure_command, space, 3600)
    if arguments.madds:
        backbone = backbone_lib.Backbone(width_multiplier=1.2, resolution=192)
        exact = counted(exact, backbone)
        table = dataclasses.replace(table, latency_ms=madds_of(space, table.choices, backbone))
    latency = rounds.latency_of(table[:4000])
    rows = files.rows_left(arguments.out, COLUMNS) if arguments.out else []
    done = {(row["method"], int(row["total"]), int(row["seed"])) for row in rows}
    for total in map(int, arguments.totals.split(",")):
        for method in arguments.methods.split(","):
            for seed in range(arguments.seeds):
                if (method, total, seed) in done:
                    continue
                rows.append(run(method, total, seed, table, exact, latency, budgets_ms, arguments))
                print(rows[-1], flush=True)
                if arguments.out:
                    files.write_csv(arguments.out, rows, COLUMNS)
    show(rows)
    if arguments.picture:
        style.save(picture(rows), arguments.picture)
    return 0


@style.styled
def picture(rows):
    """Regret against the number of measured networks, mean and spread of the seeds, both axes logarithmic."""
    figure = style.new(5.5, 3.6, "Regret by the number of measured networks")
    axis, names, lowest = figure.subplots(), dict.fromkeys(row["method"] for row in rows), np.inf
    for method, look in style.appearance(list(names)).items():
        totals = sorted({int(row["total"]) for row in rows if row["method"] == method})
        regrets = [
            [float(row["regret"]) for row in rows if (row["method"], int(row["total"])) == (method, total)]
            for total in totals
        ]
        means, spreads = np.array([np.mean(each) for each in regrets]), [np.std(each) for each in regrets]
        lowest = min(lowest, means.min())
        axis.errorbar(totals, means, spreads, capsize=2, **look | {"label": TITLES.get(method, method)})
    axis.set(xscale="log", yscale="log", xlabel="networks measured in all", ylabel="regret, points of top-1")
    axis.set_ylim(bottom=0.1 * lowest)  # room for the legend; a spread may reach down to nothing
    ticks = sorted({int(row["total"]) for row in rows})
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], minor=False)
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.legend(frameon=False, loc="lower left")
    return figure


def show(rows):
    print("\n| measured | method | regret | hypervolume | seconds |\n|---|---|---|---|---|")
    for total in sorted({int(row["total"]) for row in rows}):
        for method in dict.fromkeys(row["method"] for row in rows):
            mine = [row for row in rows if (row["method"], int(row["total"])) == (method, total)]
            if mine:
                regret, volume, took = (
                    np.array([float(row[name]) for row in mine]) for name in ("regret", "hypervolume", "seconds")
                )
                spread = f"{regret.mean():.3f} ± {regret.std():.3f}"
                print(f"| {total} | {method} | {spread} | {volume.mean():.4f} | {took.mean():.0f} |")


if __name__ == "__main__":
    sys.exit(main())
