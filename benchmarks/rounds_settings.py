"""Chooses the rounds' evolution on another table than the figures are reported on: multiply-adds as latency.

    python benchmarks/rounds_settings.py --records FILE --measure_command CMD
        [--generations 30,60] [--mutation 0.05,0.1]

The records' accuracies stay, and so do the measuring command's; the latency of every network is 1e-7 of its
multiply-adds in the paper's backbone at `--width` and `--resolution`. Printed is the best top-1 measured within each
budget after all rounds, by setting, and its mean.
"""

import argparse
import dataclasses
import itertools
import sys
import time

import numpy as np

from pnag_tf import presets
from pnag_tf.search import predictor, records, reinforce, rounds
from pnag_tf.search import proposals as search
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib

UNIT = 1e-7  # so that budgets are numbers as they are in ms


def counted(table, backbone):
    """Records with multiply-adds in the place of latencies."""
    madds = [cost.madds(backbone, arch) for arch in table.space.decode(table.choices)]
    return dataclasses.replace(table, latency_ms=UNIT * np.array(madds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", required=True)
    parser.add_argument("--measure_command", required=True)
    parser.add_argument("--budgets", default="21.5,25.4,29.9,33.4,38.7")
    parser.add_argument("--generations", default="30,60")
    parser.add_argument("--mutation", default="0.05,0.1")
    parser.add_argument("--width", type=float, default=1.2)
    parser.add_argument("--resolution", type=int, default=192)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--measurements", type=int, default=2000)
    parser.add_argument("--limit", type=int, default=0, help="use only the first so many records")
    arguments = parser.parse_args()
    backbone = backbone_lib.Backbone(width_multiplier=arguments.width, resolution=arguments.resolution)
    recipe = presets.preset("search")
    predicting, evaluating, generating, how = recipe.predictors, recipe.evaluator, recipe.generator, recipe.eval
    whole = records.read(arguments.records, space_lib.SearchSpace())
    whole = counted(whole[: arguments.limit or len(whole)], backbone)
    budgets_ms = np.array([float(budget) for budget in arguments.budgets.split(",")])
    grid = [map(float, text.split(",")) for text in (arguments.generations, arguments.mutation)]
    settings = [(int(generations), mutation) for generations, mutation in itertools.product(*grid)]
    measure = rounds.command(arguments.measure_command, whole.space, how.measure_timeout_s)
    results = {setting: [] for setting in settings}
    for seed in range(arguments.seeds):
        trained = predictor.train(whole, predicting, seed)
        trained_ms = search.training_budgets(whole, generating)
        judge, _ = search.train_evaluator(whole, trained, evaluating, trained_ms, seed)
        generator, _ = reinforce.train_generator(generating, trained, judge, trained_ms, seed)
        for generations, mutation in settings:
            start, table, predictors = time.perf_counter(), whole, trained
            for number in range(arguments.rounds):
                share = arguments.measurements // arguments.rounds
                chosen = rounds.choose(
                    generator, predictors, table, budgets_ms, share, seed + number, generations, mutation
                )
                table = table.append(counted(measure(chosen), backbone))
                predictors = predictor.correct(predictors, table)
            best = np.array([100 * rounds.best_measured(table, budget_ms, 1).top1[0] for budget_ms in budgets_ms])
            results[generations, mutation].append(best)
            seconds = time.perf_counter() - start
            print(
                f"seed {seed}, {generations} generations, mutation {mutation}: {len(table)} records, {best.round(2)}, "
                f"mean {best.mean():.3f} %, {seconds:.0f} s",
                flush=True,
            )
    for (generations, mutation), rows in results.items():
        means = np.mean(rows, 1)
        print(f"{generations} generations, mutation {mutation}: {np.mean(means):.3f} ± {np.std(means):.3f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
