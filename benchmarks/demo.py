"""What the demo's networks are worth on images, beside what one would have trained instead.

    python benchmarks/demo.py --workdir runs/bench [--seeds 3] [--readings each,shared] [-- FLAGS OF pnag_tf.main]

For each seed: the whole demo, then best_record (the best of the random networks that its rounds begin with), EVO and
random subnets with the same fine-tuning, then networks off the shelf, each trained as long as the demo took ('each'),
or all together ('shared'). What is behind `--` goes to every command, such as `--dataset=folder --data_dir=photos`.
Finished parts are kept: called again, it goes on.

Printed are mean and spread over the seeds: per budget and method test top-1 and latency, the networks off the shelf,
who is dominated by whom, how much of the records' differences is signal, and the minutes of each stage.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np

from pnag_tf.run import dominance, signal, timing
from pnag_tf.run import layout as layout_lib
from pnag_tf.util import files

METHODS = ("pnag", "best_record", "evo", "random_subnet")
DEVICE = "cpu"


def call(root, seed, flags, *more):
    command = [sys.executable, "-m", "pnag_tf.main", "--preset=demo", f"--workdir={root}", f"--seed={seed}"]
    subprocess.run([*command, *flags, *more], check=True)


def once(result, make):
    """Makes a file of results unless it is there."""
    if not result.exists():
        make()


def run_seed(root, seed, flags, readings):
    """Everything of one seed; `root` keeps the run, and beside it the minutes and the tables of the baselines."""
    layout, minutes = layout_lib.Layout(root), root.with_suffix(".minutes.json")

    def demo():
        start = time.monotonic()
        call(root, seed, flags, "--stage=report")
        files.write_json(minutes, {"minutes": (time.monotonic() - start) / 60})

    once(minutes, demo)
    for method in METHODS[1:]:
        once(layout.table(method), lambda method=method: call(root, seed, flags, f"--method={method}", "--stage=eval"))
    for reading in readings:
        kept = root.with_suffix(f".{reading}.csv")

        def baselines(reading=reading, kept=kept):
            call(root, seed, flags, f"--baseline_time={reading}", "--stage=baselines")
            shutil.copy(layout.baselines_table(DEVICE), kept)

        once(kept, baselines)


def spread(values):
    """Mean and spread of a figure over the seeds."""
    values = np.array(values, float)
    return f"{values.mean():.4f} ± {values.std():.4f}"


def show_methods(roots):
    print("\n| method | budget | test top-1 | latency, ms | different networks |\n|---|---|---|---|---|")
    for method in METHODS:
        tables = [files.read_csv(layout_lib.Layout(root).table(method), ("test_top1",)) for root in roots]
        distinct = "/".join(str(len({row["arch"] for row in table})) for table in tables)
        for place, rows in enumerate(zip(*tables, strict=True)):
            top1, ms = ([row[name] for row in rows] for name in ("test_top1", "latency_at_table_ms"))
            print(f"| {method} | {place + 1} | {spread(top1)} | {spread(ms)} | {distinct if not place else ''} |")


def reaches(mine, other):
    """Whether a network is at least as accurate as another one, and at most as slow."""
    more, faster = (float(mine[name]) - float(other[name]) for name in ("test_top1", "latency_ms"))
    return more >= 0 >= faster


def show_baselines(roots, reading):
    tables = [files.read_csv(root.with_suffix(f".{reading}.csv"), dominance.COLUMNS) for root in roots]
    print(f"\n'{reading}':\n\n| network | minutes | test top-1 | latency, ms |\n|---|---|---|---|")
    for name in [row["network"] for row in tables[0] if not row["method"]]:
        rows = [row for table in tables for row in table if row["network"] == name]
        keys = ("test_top1", "latency_at_table_ms", "minutes")
        top1, ms, minutes = ([float(row[key]) for row in rows] for key in keys)
        print(f"| {name} | {np.mean(minutes):.1f} | {spread(top1)} | {spread(ms)} |")
    for root, table in zip(roots, tables, strict=True):
        print(f"\n{root.name}: {dominance.verdict(table)}.")
        own, other = ([row for row in table if bool(row["method"]) == mine] for mine in (True, False))
        left = [row["network"] for row in other if not any(reaches(mine, row) for mine in own)]
        print(f"Neither dominated nor equalled by the run's networks: {', '.join(left) or 'none'}.")


def show_runs(roots):
    print("\n| seed | minutes | by stage | Kendall tau, held out | least budget's and largest's ratio in ms |")
    print("|---|---|---|---|---|")
    for root in roots:
        layout = layout_lib.Layout(root)
        seconds = timing.read(layout.seconds)
        parts = timing.by_stage({name: took for name, took in seconds.items() if not name.startswith("baselines")})
        said = ", ".join(f"{stage} {took / 60:.1f}" for stage, took in parts.items())
        tau = np.nanmean([float(row["tau"]) for row in files.read_csv(layout.ranking, ("tau",))])
        ms = [float(row["latency_ms"]) for row in files.read_csv(layout.table("pnag"), ("latency_ms",))]
        minutes = files.read_json(root.with_suffix(".minutes.json"))["minutes"]
        print(f"| {root.name} | {minutes:.1f} | {said} | {tau:.3f} | {max(ms) / min(ms):.1f} |")


def show_signal(roots):
    for root in roots:
        for note in signal.notes(layout_lib.Layout(root)):
            print(f"\n{root.name}: {note}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--readings", default="each,shared", help="of the baselines; empty for none")
    parser.add_argument("flags", nargs="*", help="behind --, for pnag_tf.main")
    arguments = parser.parse_args()
    readings = [reading for reading in arguments.readings.split(",") if reading]
    roots = [arguments.workdir / f"seed_{seed}" for seed in range(arguments.seeds)]
    for seed, root in enumerate(roots):
        run_seed(root, seed, arguments.flags, readings)
    show_runs(roots)
    show_signal(roots)
    show_methods(roots)
    for reading in readings:
        show_baselines(roots, reading)
    return 0


if __name__ == "__main__":
    sys.exit(main())
