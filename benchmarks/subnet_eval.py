"""How many subnets a supernet evaluates in a second: batch norm recalibrated, then validation images judged.

    python benchmarks/subnet_eval.py [--subnets 6] [--only 32]

The share outside of the network is what is left of the time when that of the same forward passes alone, on one batch
that stays where it is, is taken off: feeding images, moving choices and statistics, adding up.
"""

import argparse
import os
import sys
import time

import numpy as np
import tensorflow as tf

from pnag_tf.latency import host
from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import subnet

# resolution -> (width, classes, batch, images that recalibrate, images that judge); the demo's, and the paper's recipe
# with a tenth of its images.
SETTINGS = {32: (0.5, 10, 250, 500, 1500), 224: (1.2, 100, 50, 200, 200)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subnets", type=int, default=6)
    parser.add_argument("--only", type=int, default=0, help="only this resolution")
    args = parser.parse_args()
    print(f"machine: {host.describe()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for resolution in SETTINGS:
        if args.only in (0, resolution):
            run(resolution, args.subnets)
    return 0


def run(resolution, count):
    width, classes, batch, calibrating, judging = SETTINGS[resolution]
    space = space_lib.SearchSpace()
    backbone = backbone_lib.Backbone(width_multiplier=width, resolution=resolution, classes=classes)
    net = supernet_lib.Supernet(space, backbone)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(batch, resolution, resolution, 3)).astype(np.float32))
    labels = tf.constant(rng.integers(0, classes, batch, np.int32))
    made = subnet.Subnets(net, [images] * (calibrating // batch))
    validation = tf.data.Dataset.from_tensors((images, labels)).repeat(judging // batch).prefetch(2)
    choices = space.sample(rng, count)
    made.accuracy(choices[0], validation)  # traces
    whole, inside = [], []
    for row in choices:
        start = time.perf_counter()
        made.accuracy(row, validation)
        whole.append(time.perf_counter() - start)
        statistics, row = tf.zeros(net.moving.shape) + 1.0, tf.constant(row, tf.int32)
        start = time.perf_counter()
        for _ in range(calibrating // batch):
            made._moments(images, row).numpy()
        for _ in range(judging // batch):
            made._hits(images, labels, row, statistics).numpy()
        inside.append(time.perf_counter() - start)
    seconds = float(np.median(whole))
    outside = 1 - float(np.median(np.array(inside) / np.array(whole)))
    print(
        f"{resolution} px, width {width}: {1 / seconds:.2f} subnets/s ({calibrating} + {judging} images, "
        f"{1e3 * seconds / (calibrating + judging) * 64:.0f} ms for 64), {100 * outside:.0f} % outside of the network",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
