"""What a search is worth on a device that it was not trained for.

    python benchmarks/other_device.py RUN [--table TABLE.json] [--probes 50] [--budgets 10] [--seed 0]

RUN is the folder of a run of preset `search` that has its generator. Its accuracies stay; devices are synthetic, a sum
of costs over the layers: in proportion to the multiply-adds, to their square root (each layer has an overhead), and to
the multiply-adds times the side of the kernel (large ones are slow); one that is no sum; and, with TABLE, a real one by
its latency table (`latency_table.py --only 'width 1.2' --keep FOLDER`). For each device and some budgets that no
generator was trained for, the gap in points of predicted top-1 to an evolution of so many seconds is printed of

* no training: the generator's samples, refined by the device's latency, known of every architecture;
* probes: `Search.elsewhere` with so many latencies, and how far its networks exceed their budgets at most;
* again: the same once those networks were measured as well;
* the same number of uniform architectures instead of samples: what the generator adds;
* an evaluator and a generator of the device's own, with the seconds that their training takes.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import time

import any_budget
import numpy as np

from pnag_tf import presets
from pnag_tf.latency import table as latency_table
from pnag_tf.search import elsewhere, generator, predictor, records, reinforce
from pnag_tf.search import proposals as search
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import cost
from pnag_tf.util import frozen

DEVICES = {  # what a block costs, and to which power the share of the largest network is raised
    "multiply-adds": (lambda madds, kernel: madds, 1.0),
    "overhead": (lambda madds, kernel: np.sqrt(madds), 1.0),
    "large kernels slow": (lambda madds, kernel: madds * kernel, 1.0),
    "no sum": (lambda madds, kernel: np.sqrt(madds), 1.2),
}
LARGEST_MS = 60.0  # of the largest network, about


def synthetic(config, of_block, power):
    """Choices -> latency in ms on a synthetic device."""
    space, backbone = config.space, config.backbone
    blocks = [backbone.slot_block(slot) for slot in space.layer_slots()]
    costs = np.array([of_block(cost.block_madds(block), block.kernel) for block in blocks])
    largest = (space.layer_one_hot(space.largest()[None]) @ costs)[0]
    return lambda choices: 5.0 + LARGEST_MS * (space.layer_one_hot(choices) @ costs / largest) ** power


def refined(predictors, budget_ms, choices, generations, seed):
    """The best predicted top-1 within the budget, of architectures and what refining them finds."""
    (found,) = search.answer(predictors, [budget_ms], [choices], seed, refinement=generations)
    return found.top1[0] if found.latency_ms[0] <= budget_ms else np.nan


def asked(policy, here, latency_ms, budgets_ms, probes, seed, how):
    """Networks for each budget by so many latencies, and once they were measured as well: choices, twice."""
    chosen, found = elsewhere.probes(policy, probes, seed), []
    for _ in range(2):
        there = elsewhere.There(here, records.Records(here.space, chosen, np.zeros(len(chosen)), latency_ms(chosen)))
        proposed = elsewhere.propose(policy, there, budgets_ms, how.samples, seed, how.pessimism, how.refinement)
        found.append(np.stack([each.choices[0] for each in proposed]))
        chosen = np.unique(np.concatenate([chosen, found[-1]]), axis=0)
    return found


def own(config, table, predictors, seed):
    """(a generator trained for the device, seconds)."""
    start, trained_ms = time.perf_counter(), search.training_budgets(table, config.generator)
    judge, _ = search.train_evaluator(table, predictors, config.evaluator, trained_ms, seed)
    policy, _ = reinforce.train_generator(config.generator, predictors, judge, trained_ms, seed)
    return policy, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--table", type=pathlib.Path, default=None)
    parser.add_argument("--probes", type=int, default=50)
    parser.add_argument("--budgets", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config, seed = presets.preset("search"), arguments.seed
    space, how = config.space, config.eval
    known = records.read(arguments.run / "records.csv", space)
    policy = generator.load(arguments.run / "generator", space)
    here = predictor.load(arguments.run / "predictors", space)
    devices = {name: synthetic(config, *how) for name, how in DEVICES.items()}
    if arguments.table:
        saved = json.loads(arguments.table.read_text())
        backbone = frozen.restore(backbone_lib.Backbone, saved["backbone"])
        device = saved["device"]
        devices[device] = latency_table.load(arguments.table, space, backbone, device).latency_ms
    print("| device | no training | probes | over budget | again | over | uniform | own generator | its training, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for device, latency_ms in devices.items():
        table = dataclasses.replace(known, latency_ms=latency_ms(known.choices))
        predictors = predictor.train(table, config.predictors, seed)
        trained, seconds = own(config, table, predictors, seed)
        budgets_ms = np.geomspace(*trained.budgets_ms[[0, -1]], arguments.budgets + 2)[1:-1]
        by_probes, again = asked(policy, here, latency_ms, budgets_ms, arguments.probes, seed, how)
        drawn = [elsewhere.draw(policy, how.samples, seed)] * len(budgets_ms)
        by_all = search.answer(predictors, budgets_ms, drawn, seed, how.pessimism, how.refinement)
        uniform = space.sample(np.random.default_rng([seed, 2]), how.samples)
        gaps = []
        for number, budget_ms in enumerate(budgets_ms):
            best = any_budget.evolve(predictors, budget_ms, arguments.seconds, np.random.default_rng([seed, 1]))
            found = [by_all[number].top1[0], *predictors.top1(np.stack([by_probes[number], again[number]]))]
            found.append(refined(predictors, budget_ms, uniform, how.refinement, seed))
            found.append(any_budget.timed(trained, predictors, budget_ms, seed, how.samples, how.refinement)[0])
            gaps.append(100 * (best - np.array(found)))
        cells = [
            f"{mean:+.3f}, largest {most:+.3f}" for mean, most in zip(np.mean(gaps, 0), np.max(gaps, 0), strict=True)
        ]
        for place, chosen in ((2, by_probes), (4, again)):
            cells.insert(place, f"{max(latency_ms(chosen) / budgets_ms - 1):+.1%}")
        print(f"| {device} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
