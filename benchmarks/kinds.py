"""What choosing networks by their int8 latency is worth, against quantizing those that float32 latency has chosen.

    python -m pnag_tf.main --workdir=runs/demo --stage=eval --kind=float32,int8 --quantize=int8
    python benchmarks/kinds.py --float32 runs/demo --int8 runs/demo/devices/cpu_int8

All int8 files of both are timed in one call of the device, three times. Printed are both frontiers, and for each
network of the first how many times faster one of the second is at the same test top-1, interpolated between two of them
in log(latency).
"""

import argparse
import pathlib
import sys

import numpy as np

from pnag_tf.latency import host
from pnag_tf.run import layout as layout_lib
from pnag_tf.search import pareto
from pnag_tf.util import files

CALLS = 3


def networks(root, quantized):
    """(file, test top-1) of the different networks in int8, by budget."""
    layout = layout_lib.Layout(root)
    found = {}
    for row in files.read_csv(layout.table("pnag"), ("arch", "budget_ms", "test_top1")):
        path, top1 = layout.network("pnag", "cpu", row["budget_ms"]), row["test_top1"]
        if quantized:
            kinds = files.read_csv(layout.quantized("pnag", "cpu"), ("budget_ms", "quantization", "test_top1"))
            same = [each for each in kinds if (each["budget_ms"], each["quantization"]) == (row["budget_ms"], "int8")]
            top1 = same[0]["test_top1"]
        name = f"{path.name}_int8.tflite" if quantized else f"{path.name}.tflite"
        found.setdefault(row["arch"], (path.with_name(name), float(top1)))
    return found


def needed_ms(points, top1):
    """The latency at which the frontier of (ms, top-1) points has a top-1; NaN above it, that of the fastest below."""
    ms, reached = np.array(points).T
    best = pareto.frontier(ms, reached)
    return float(np.exp(np.interp(top1, reached[best], np.log(ms[best]), right=np.nan)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--float32", type=pathlib.Path, required=True)
    parser.add_argument("--int8", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    first, second = networks(arguments.float32, True), networks(arguments.int8, False)
    paths = [path for found in (first, second) for path, _ in found.values()]
    calls = [[latency.median_ms for latency in host.measure(paths)] for _ in range(CALLS)]
    ms = dict(zip(paths, np.median(calls, axis=0).tolist(), strict=True))
    print(
        "| chosen by | architecture | int8, ms | test top-1 | times faster at the same top-1 |\n|---|---|---|---|---|"
    )
    points = [(ms[path], top1) for path, top1 in second.values()]
    ratios = []
    for arch, (path, top1) in first.items():
        ratios.append(ms[path] / needed_ms(points, top1))
        print(f"| float32 | {arch} | {ms[path]:.4f} | {top1:.4f} | {ratios[-1]:.2f} |")
    for arch, (path, top1) in second.items():
        print(f"| int8 | {arch} | {ms[path]:.4f} | {top1:.4f} | |")
    print(f"\nMedian: {np.nanmedian(ratios):.2f} times; {np.isnan(ratios).sum()} of {len(ratios)} out of reach.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
