"""Peak memory (RSS) of what looks at images, at 224 px with many classes of synthetic JPEG files.

    python benchmarks/memory.py [--classes 1000] [--images 20] [--batch 32]

Each line is a process of its own; its folder of files is temporary. Steps and architectures are few: memory does not
grow with them.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from pnag_tf import config as config_lib
from pnag_tf import data, presets
from pnag_tf.latency import host
from pnag_tf.supernet import shrinking, subnet

STAGES = ("nothing", "training images", "records held", "records streamed", "passes streamed", "list of float32")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=20, help="of each class")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--stage", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        run(args.stage, args.folder, args.batch)
        print(f"{args.stage:<20} {peak_gib():6.2f} GiB", flush=True)
        return 0
    print(f"machine: {host.describe()}; {args.classes} classes x {args.images} JPEG files, batch {args.batch}")
    with tempfile.TemporaryDirectory() as folder:
        write(pathlib.Path(folder), args.classes, args.images)
        for stage in STAGES:
            same = [f"--classes={args.classes}", f"--images={args.images}", f"--batch={args.batch}"]
            subprocess.run([sys.executable, __file__, f"--stage={stage}", f"--folder={folder}", *same], check=True)
    return 0


def peak_gib():
    """Of this program alone: what getrusage tells is never less than the parent had when it started this one."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def write(folder, classes, images):
    """Smooth random pictures with a little noise, so that a file is about as large as a photo's."""
    rng = np.random.default_rng(0)
    coarse = tf.constant(rng.uniform(0, 255, (64, 12, 16, 3)), tf.float32)
    smooth = tf.image.resize(coarse, (300, 400)).numpy() + rng.normal(0, 8, (64, 300, 400, 3))
    contents = [tf.io.encode_jpeg(np.clip(each, 0, 255).astype(np.uint8)).numpy() for each in smooth]

    def fill(label):
        (folder / f"{label:04}").mkdir()
        for number in range(images):
            (folder / f"{label:04}" / f"{number}.jpg").write_bytes(contents[(label + number) % len(contents)])

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(classes)))


def run(stage, folder, batch):
    if stage == "nothing":
        return
    config = presets.preset("paper")
    images = config_lib.Data("folder", folder, augmentation="crop", batch_size=batch)
    splits = data.load(images, 224, 0)
    measure = dataclasses.replace(config.measure, batch_size=batch, calibration_images=8 * batch)
    memory = config_lib.Memory(0.0 if "streamed" in stage else config.memory.images_gib)
    backbone = dataclasses.replace(config.backbone, classes=splits.info.classes)
    config = dataclasses.replace(config, data=images, measure=measure, memory=memory, backbone=backbone)
    if stage == "training images":
        for _ in splits.train(batch, steps=40):
            pass
    elif stage == "list of float32":  # what a list of all batches would take
        list(splits.validation(batch))
    elif stage == "passes streamed":  # the whole validation set without a network
        for _ in range(2):
            for _ in shrinking.validation_batches(config, splits, 0):
                pass
    else:
        for _ in shrinking.validation_batches(config, splits, 0):  # as much held as there is
            pass
        judged = subnet.Subnets(shrinking.fresh(config), shrinking.calibration_batches(config, splits))
        choices = config.space.sample(np.random.default_rng(0), 2)
        list(judged.accuracies(choices, shrinking.validation_batches(config, splits, 8 * batch)))


if __name__ == "__main__":
    sys.exit(main())
