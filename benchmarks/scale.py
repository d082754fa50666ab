"""Seconds and memory of the search on many records and candidates, in the paper's space.

    python benchmarks/scale.py [--records 16000,100000] [--candidates 1000000] [--parts predictors,evaluator]

Records are random architectures with made-up accuracies: a sum over the options and over pairs of neighbours. Each part
runs with the settings of preset `search` in a process of its own; its row has its seconds, without the start of
TensorFlow and what it needs of the parts before, and the largest resident memory of the process.
"""

import argparse
import multiprocessing
import pathlib
import resource
import sys
import tempfile
import time

import numpy as np

from pnag_tf import presets
from pnag_tf.search import evaluator, pareto, predictor, records, reinforce, rounds
from pnag_tf.search import proposals as search
from pnag_tf.space import space as space_lib

SPACE, BUDGETS_MS = space_lib.SearchSpace(), np.linspace(20, 45, 5)


def made_up(count):
    """`count` records."""
    rng = np.random.default_rng(0)
    choices = SPACE.sample_distinct(rng, count, beside=SPACE.smallest()[None])
    one_hot = SPACE.one_hot(choices)
    worth = rng.normal(size=one_hot.shape[1])
    neighbours = np.roll(one_hot, 1, 1) * one_hot
    value = one_hot @ worth + neighbours @ rng.normal(size=one_hot.shape[1])
    latency_ms = 10 + one_hot @ rng.uniform(0, 2, one_hot.shape[1])
    return records.Records(SPACE, choices, 0.8 + 0.01 * (value - value.mean()) / value.std(), latency_ms)


def write_records(folder, table, config):
    records.write(folder / "records.csv", table)


def read_records(folder, table, config):
    records.read(folder / "records.csv", SPACE)


def predictors(folder, table, config):
    predictor.train(table, config.predictors).save(folder)


def evaluating(folder, table, config):
    known = predictor.load(folder, SPACE)
    yield
    trained_ms = search.training_budgets(table, config.generator)
    search.train_evaluator(table, known, config.evaluator, trained_ms)[0].save(folder)


def generating(folder, table, config):
    known = predictor.load(folder, SPACE)
    judge = evaluator.load(folder, SPACE, known)
    yield
    reinforce.train_generator(config.generator, known, judge, judge.budgets_ms)


def one_round(folder, table, config):
    latency = rounds.latency_of(table)
    yield
    rounds.choose(table, latency, BUDGETS_MS, 30, np.random.default_rng(0))


def frontier(folder, table, config):
    pareto.frontier(table.latency_ms, table.top1)


def candidates(folder, table, config, count):
    known = predictor.load(folder, SPACE)
    choices = SPACE.sample(np.random.default_rng(1), count)
    yield
    known.predict(choices)


PARTS = {
    "write": write_records,
    "read": read_records,
    "frontier": frontier,
    "round": one_round,
    "predictors": predictors,
    "evaluator": evaluating,
    "generator": generating,
    "candidates": candidates,
}


def measure(name, folder, count, extra, answers):
    """Puts (seconds, GiB) of a part into a queue."""
    table, config = made_up(count), presets.preset("search")
    start = time.perf_counter()
    doing = PARTS[name](folder, table, config, *extra)
    if doing is not None:  # a generator: what comes before its `yield` is not counted
        next(doing)
        start = time.perf_counter()
        next(doing, None)
    seconds = time.perf_counter() - start
    answers.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", default="16000,100000")
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--parts", default=",".join(PARTS), help="in this order; later ones need the earlier ones")
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    print("| records | part | seconds | GiB |\n|---|---|---|---|")
    for count in map(int, arguments.records.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            for name in arguments.parts.split(","):
                answers, extra = spawn.Queue(), (arguments.candidates,) if name == "candidates" else ()
                child = spawn.Process(target=measure, args=(name, pathlib.Path(folder), count, extra, answers))
                child.start()
                child.join()
                if child.exitcode:
                    sys.exit(f"{name}: exit code {child.exitcode}")
                seconds, gib = answers.get()
                print(f"| {count:,} | {name} | {seconds:.1f} | {gib:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
