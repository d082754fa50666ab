"""What each deviation of preset `search` from the paper is worth: one setting at a time back to the paper's.

    python benchmarks/recipe.py --records FILE [--judge "CMD"] [--only name,name]

All rows share the predictors. Proposals are 1,000 samples a budget without refinement. For --judge see search.py.
"""

import argparse
import dataclasses
import sys
import time

import numpy as np
import search as search_benchmark

from pnag_tf import config, presets
from pnag_tf.search import predictor, records, reinforce
from pnag_tf.search import proposals as search
from pnag_tf.space import space as space_lib

PAPER_EVALUATOR, PAPER_GENERATOR = config.Evaluator(), config.Generator()
EVALUATOR = {
    "one-hot encoding, no slack": ("encoding",),
    "hinge of margin 1": ("loss",),
    "no pseudo-labels": ("pseudo_labels",),
    "SGD 0.1 to 1e-3": ("optimizer", "learning_rate", "final_learning_rate", "weight_decay"),
    "batch of 256": ("batch_size",),
    "512 hidden units": ("hidden",),
    "evaluator: K budgets only": ("between",),
}
GENERATOR = {
    "moving average": ("advantage",),
    "learning rate 3e-4": ("learning_rate", "final_learning_rate"),
    "entropy weight 1e-3": ("entropy_weight", "final_entropy_weight"),
    "heads per kind": ("heads",),
    "generator: K budgets only": ("between",),
    "no aim": ("aim",),
    "1 sample a budget with moving average": ("samples", "advantage"),
}


def reverted(settings, paper, names):
    return dataclasses.replace(settings, **{name: getattr(paper, name) for name in names})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", required=True)
    parser.add_argument("--judge", default="")
    parser.add_argument("--budgets", default="21,25,29,33,37")
    parser.add_argument("--only", default="", help="names of rows; all where empty")
    arguments = parser.parse_args()
    space = space_lib.SearchSpace()
    table = records.read(arguments.records, space)
    budgets_ms = np.array([float(b) for b in arguments.budgets.split(",")])
    recipe = presets.preset("search")
    fitting, evaluating, generating, evaluation = recipe.predictors, recipe.evaluator, recipe.generator, recipe.eval
    predictors = predictor.train(table, fitting, 0)
    rows = {"preset search": (evaluating, generating)}
    rows |= {name: (reverted(evaluating, PAPER_EVALUATOR, keys), generating) for name, keys in EVALUATOR.items()}
    rows |= {name: (evaluating, reverted(generating, PAPER_GENERATOR, keys)) for name, keys in GENERATOR.items()}
    rows["the paper's evaluator"] = (dataclasses.replace(PAPER_EVALUATOR, epochs=evaluating.epochs), generating)
    trained_ms = search.training_budgets(table, generating)
    judges = {}
    print(f"{'':36s} top-1, %  regret  within  entropy  seconds")
    for name, (ranking, policy) in rows.items():
        if arguments.only and name not in arguments.only.split(","):
            continue
        start = time.perf_counter()
        if ranking not in judges:
            judges[ranking] = search.train_evaluator(table, predictors, ranking, trained_ms, 0)[0]
        made, history = reinforce.train_generator(policy, predictors, judges[ranking], trained_ms)
        seconds = time.perf_counter() - start
        found = search.propose(made, predictors, budgets_ms, evaluation.samples, 0)
        kept = search.satisfaction(made, predictors, budgets_ms, 1000, 1).mean()
        regret = float("nan")
        if arguments.judge:
            regret = search_benchmark.judge(arguments.judge, space, found)[0].mean()
        top1 = 100 * np.mean([proposal.top1[0] for proposal in found])
        print(
            f"{name:36s} {top1:8.2f}  {regret:6.3f}  {kept:6.3f}  {history[-1]['entropy']:7.1f}  {seconds:7.1f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
