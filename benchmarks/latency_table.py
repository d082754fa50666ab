"""How well the latency table predicts: Kendall tau and median error on held-out networks measured in the same run.

    python benchmarks/latency_table.py [--only 'width 1.2'] [--keep FOLDER]

Half of the networks are drawn uniformly, half are skewed to some options, as those are that a search finds.

Three backbones: width 1.0 at 224 px and 1.2 at 192 px with 1000 classes, and the demo's, width 0.5 at 32 px. Nothing
else should run.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
from scipy import stats

from pnag_tf import config
from pnag_tf.latency import host
from pnag_tf.latency import table as latency_table
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib

BACKBONES = {
    "width 1.0, 224 px": backbone_lib.Backbone(),
    "width 1.2, 192 px": backbone_lib.Backbone(width_multiplier=1.2, resolution=192),
    "demo: width 0.5, 32 px": backbone_lib.Backbone(width_multiplier=0.5, resolution=32, classes=10, stem_stride=2),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=30, help="held-out networks")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="only the backbones whose name holds this")
    parser.add_argument("--keep", default="", help="a folder for the tables")
    args = parser.parse_args()
    print(f"command: {' '.join(['python', *sys.argv])}")
    print(f"machine: {host.describe(args.threads)}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, backbone in BACKBONES.items():
        if args.only in name:
            run(name, backbone, args)


def run(name, backbone, args):
    spent = {}
    last = time.perf_counter()

    def progress(what, done, total):
        nonlocal last
        now = time.perf_counter()
        spent[what] = spent.get(what, 0.0) + now - last
        last = now

    settings = config.Latency(threads=args.threads, check_networks=args.networks)
    device = host.device(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(args.keep or folder) / f"{name}.json"
        table = latency_table.measure_table(
            space_lib.SearchSpace(), backbone, device, settings, np.random.default_rng(0), path, progress
        )
    print(f"{name}: {judge(table.check)}")
    uniform = args.networks - args.networks // 2
    print(f"  uniform: {judge(table.check[:uniform])}\n  skewed: {judge(table.check[uniform:])}")
    print("  " + ", ".join(f"{what} {seconds:.0f} s" for what, seconds in spent.items()), end="")
    curvature = ", ".join(f"{each:.4f}" for each in table.curvature)  # of each resolution
    print(f"; curvature {curvature} per ms; load {os.getloadavg()[0]:.1f}", flush=True)


def judge(nets):
    measured = np.array([net.measured_ms for net in nets])
    predicted = np.array([net.predicted_ms for net in nets])
    errors = 100 * np.abs(predicted / measured - 1)
    return (
        f"tau {stats.kendalltau(predicted, measured).statistic:.3f}, median error {np.median(errors):.1f} %, largest "
        f"{errors.max():.1f} % on {len(nets)} networks of {measured.min():.2f} to {measured.max():.2f} ms"
    )


if __name__ == "__main__":
    main()
