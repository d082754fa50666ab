"""A surrogate of measured accuracies, as a measuring command: what `few.py` measures in the place of real networks.

    python benchmarks/surrogate.py TABLE.csv FITTED [--width 1.0] [--resolution 224] [--random N --seed S]

TABLE.csv has columns `arch,top1` (others are ignored). Networks are fitted to it once and kept in the file FITTED, with
their error on held-out rows printed to stderr, as in NAS-Bench-301 (Siems et al. 2020, arXiv:2008.09777): the mean of
five, each of which left out a fifth of the rows. Reads architectures on stdin, or draws N uniform ones, and writes CSV
`arch,top1,latency_ms` with 1e-7 of the multiply-adds in the place of a latency.
"""

import argparse
import csv
import pathlib
import sys

import joblib
import numpy as np
from scipy import stats
from sklearn import compose, model_selection, neural_network, preprocessing

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import cost
from pnag_tf.space import space as space_lib
from pnag_tf.util import files


def fit(inputs, top1, folds=5):
    """Five networks, and what they predict of the rows that each left out."""
    made, held_out = [], np.zeros(len(top1))
    for rows, others in model_selection.KFold(folds, shuffle=True, random_state=0).split(inputs):
        network = neural_network.MLPRegressor(
            hidden_layer_sizes=(200, 200), alpha=0.1, max_iter=300, random_state=len(made)
        )
        network = compose.TransformedTargetRegressor(network, transformer=preprocessing.StandardScaler())
        made.append(network.fit(inputs[rows], top1[rows]))
        held_out[others] = made[-1].predict(inputs[others])
    return made, held_out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table")
    parser.add_argument("fitted", type=pathlib.Path)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--random", type=int, default=0, help="architectures to draw instead of reading them")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    space = space_lib.SearchSpace()
    if not arguments.fitted.exists():
        with open(arguments.table, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        inputs, top1 = (
            space.one_hot(space.encode(row["arch"] for row in rows)),
            np.array([*map(float, (r["top1"] for r in rows))]),
        )
        made, held_out = fit(inputs, top1)
        error, tau = np.sqrt(np.mean((held_out - top1) ** 2)), stats.kendalltau(held_out, top1).statistic
        print(f"{len(rows)} rows, held out: error {100 * error:.3f} points, Kendall tau {tau:.3f}", file=sys.stderr)
        with files.replacing(arguments.fitted) as beside:
            joblib.dump(made, beside)
    networks = joblib.load(arguments.fitted)
    if arguments.random:
        choices = np.unique(space.sample(np.random.default_rng(arguments.seed), arguments.random), axis=0)
    else:
        choices = space.encode(line.strip() for line in sys.stdin if line.strip())
    found = space.decode(choices)
    top1 = np.mean([network.predict(space.one_hot(choices)) for network in networks], 0)
    backbone = backbone_lib.Backbone(width_multiplier=arguments.width, resolution=arguments.resolution)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("arch", "top1", "latency_ms"))
    for arch, accuracy in zip(found, top1, strict=True):
        writer.writerow((arch, f"{accuracy:.6f}", f"{1e-7 * cost.madds(backbone, arch):.5f}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
