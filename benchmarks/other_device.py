"""What a generator is worth on a device that it was not trained for.

    python benchmarks/other_device.py RUN [--budgets 10] [--seconds 2] [--seed 0]

RUN is the folder of a run of preset `search` that has its generator. Its accuracies stay; devices are synthetic, a sum
of costs over the layers: in proportion to the multiply-adds, to their square root (each layer has an overhead), and to
the multiply-adds times the side of the kernel (large ones are slow). For each device and some budgets that no
generator was trained for, the gap in points of predicted top-1 to an evolution of so many seconds is printed of

* the run's generator, its samples over its whole range judged by the new device's latency and refined: no training;
* the same number of uniform architectures instead of samples, refined as well: what the generator adds;
* an evaluator and a generator of the device's own, with the seconds that their training takes.
"""

import argparse
import dataclasses
import pathlib
import sys
import time

import any_budget
import numpy as np

from pnag_tf import presets
from pnag_tf.search import candidates, generator, predictor, records, reinforce
from pnag_tf.search import proposals as search
from pnag_tf.space import cost

DEVICES = {
    "multiply-adds": lambda madds, kernel: madds,
    "overhead": lambda madds, kernel: np.sqrt(madds),
    "large kernels slow": lambda madds, kernel: madds * kernel,
}
LARGEST_MS = 60.0  # of the largest network, about


def latencies(config, table, of_block):
    """Latency in ms of the records on a synthetic device."""
    space, backbone = config.space, config.backbone
    blocks = [backbone.slot_block(slot) for slot in space.layer_slots()]
    costs = np.array([of_block(cost.block_madds(block), block.kernel) for block in blocks])
    largest = (space.layer_one_hot(space.largest()[None]) @ costs)[0]
    return 5.0 + LARGEST_MS / largest * (space.layer_one_hot(table.choices) @ costs)


def refined(predictors, budget_ms, choices, generations, seed):
    """The best predicted top-1 within the budget, of architectures and what refining them finds."""
    start = [candidates.rank(predictors, budget_ms, choices)]
    (found,) = search.refine(start, predictors, generations, np.random.default_rng([seed, 5]))
    return found.top1[0] if found.latency_ms[0] <= budget_ms else np.nan


def own(config, table, predictors, seed):
    """(a generator trained for the device, seconds)."""
    start, trained_ms = time.perf_counter(), search.training_budgets(table, config.generator)
    judge, _ = search.train_evaluator(table, predictors, config.evaluator, trained_ms, seed)
    policy, _ = reinforce.train_generator(config.generator, predictors, judge, trained_ms, seed)
    return policy, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--budgets", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config, seed = presets.preset("search"), arguments.seed
    space, how = config.space, config.eval
    known = records.read(arguments.run / "records.csv", space)
    policy = generator.load(arguments.run / "generator", space)
    each = np.linspace(*policy.budgets_ms[[0, -1]], 30)
    samples = policy.sample(each, -(-how.samples // len(each)), seed).reshape(-1, space.tokens)
    uniform = space.sample(np.random.default_rng([seed, 2]), len(samples))
    print("| device | no training | uniform architectures | own generator | its training, s |\n|---|---|---|---|---|")
    for device, of_block in DEVICES.items():
        table = dataclasses.replace(known, latency_ms=latencies(config, known, of_block))
        predictors = predictor.train(table, config.predictors, seed)
        trained, seconds = own(config, table, predictors, seed)
        gaps = []
        for budget_ms in np.geomspace(*trained.budgets_ms[[0, -1]], arguments.budgets + 2)[1:-1]:
            best = any_budget.evolve(predictors, budget_ms, arguments.seconds, np.random.default_rng([seed, 1]))
            found = [refined(predictors, budget_ms, start, how.refinement, seed) for start in (samples, uniform)]
            found.append(any_budget.timed(trained, predictors, budget_ms, seed, how.samples, how.refinement)[0])
            gaps.append(100 * (best - np.array(found)))
        cells = [
            f"{mean:+.3f}, largest {most:+.3f}" for mean, most in zip(np.mean(gaps, 0), np.max(gaps, 0), strict=True)
        ]
        print(f"| {device} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
