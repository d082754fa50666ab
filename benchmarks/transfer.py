"""What a pretrained supernet is worth on few images, against training from scratch.

    python benchmarks/transfer.py --workdir runs/transfer [--target 5,6,7,8,9] [--images 50,500,0] [--seed 0] [-- FLAGS]

Fashion-MNIST as image folders of 28 px: a supernet is trained on the classes that are not the target's, then for each
number of training images a class (0: all) the target's classes are learned in three ways: by a supernet adapted from
that one, by one from scratch in the same time, and by one from scratch as the preset trains it. From each, five
networks of fixed architectures, in equal ratios of multiply-adds, are trained alone and tested on all test images of
these classes. What is behind `--` goes to the commands with which the target's classes are learned. `--pretrained FILE`
takes a supernet that is there, of the same space. Finished parts are kept: called again, it goes on.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys

import numpy as np
from PIL import Image

from pnag_tf import presets
from pnag_tf.data import idx
from pnag_tf.run import layout as layout_lib
from pnag_tf.space import cost
from pnag_tf.util import files

NETWORKS = 5
RESOLUTION = 28


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--target", default="5,6,7,8,9", help="classes by their numbers")
    parser.add_argument("--images", default="50,500,0", help="training images a class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pretrained", default="")
    parser.add_argument("flags", nargs="*")
    args = parser.parse_args()
    target = [int(text) for text in args.target.split(",")]
    root, others = args.workdir, [label for label in range(10) if label not in target]
    pretrained = args.pretrained or pretrain(root, others, args.seed)
    architectures(root / "archs.csv", args.seed)
    print("| images a class | supernet | supernet, s | test top-1 of the networks, smallest first | mean |")
    print("|---|---|---|---|---|")
    for images in map(int, args.images.split(",")):
        name = f"{images or 'all'}"
        folder = write(root / f"images_{name}", target, images, args.seed)
        common = [f"--data_dir={folder}", f"--archs={root / 'archs.csv'}", *args.flags]
        scratch = learn(root / f"{name}_scratch", args.seed, *common)
        adapted = learn(root / f"{name}_adapted", args.seed, *common, f"--supernet={pretrained}", "--adapt_epochs=2")
        shorter = in_the_time_of(scratch, adapted, len(list(folder.glob("train/*/*"))))
        short = learn(root / f"{name}_short", args.seed, *common, *shorter)
        for what, run in (
            ("adapted", adapted),
            ("from scratch, as long", short),
            ("from scratch, the preset", scratch),
        ):
            show(name, what, run)
    return 0


def write(folder, classes, images, seed):
    """Fashion-MNIST's images of some classes as files; `images` of each for training, 0 for all."""
    if (folder / "test").exists():
        return folder
    source, rng = idx.load(idx.DEBIAN_FOLDER), np.random.default_rng(seed)
    for part, examples in (("train", source.train), ("test", source.test)):
        beside = folder / f"{part}.part"
        for label in classes:
            (beside / str(label)).mkdir(parents=True, exist_ok=True)
            places = rng.permutation(np.flatnonzero(examples.labels == label))
            for place in places[: images or None] if part == "train" else places:
                Image.fromarray(examples.images[place][..., 0]).save(beside / str(label) / f"{place:05d}.png")
        beside.rename(folder / part)
    return folder


def call(workdir, seed, *flags):
    command = [sys.executable, "-m", "pnag_tf.main", "--preset=demo", "--dataset=folder", f"--resolution={RESOLUTION}"]
    subprocess.run([*command, f"--workdir={workdir}", f"--seed={seed}", "--latency=measured", *flags], check=True)


def pretrain(root, classes, seed):
    folder = write(root / "images_pretraining", classes, 0, seed)
    call(root / "pretraining", seed, f"--data_dir={folder}", "--stage=supernet")
    return max((root / "pretraining/supernet").glob("*.keras"))


def architectures(path, seed):
    """Five of the space, in equal ratios of multiply-adds."""
    config = presets.preset("demo", resolution=RESOLUTION)
    space, rng = config.space, np.random.default_rng(seed)
    pool = space.decode(np.concatenate([[space.smallest(), space.largest()], space.sample(rng, 2000)]))
    madds = np.log([cost.madds(config.backbone, arch) for arch in pool])
    chosen = [pool[np.argmin(abs(madds - value))] for value in np.linspace(madds.min(), madds.max(), NETWORKS)]
    rows = [{"budget_ms": 1000 + place, "arch": str(arch)} for place, arch in enumerate(chosen)]
    files.write_csv(path, rows, rows[0])


def learn(workdir, seed, *flags):
    """A supernet, and from it the five networks."""
    layout = layout_lib.Layout(workdir)
    if not layout.table("pnag_finetuned").exists():
        call(workdir, seed, "--stage=supernet", *[flag for flag in flags if not flag.startswith("--archs")])
        call(workdir, seed, "--stage=finetune", *flags)
    return layout


def steps_s(layout):
    """Phase -> (steps, median seconds of one)."""
    found = {}
    batch = files.read_json(layout.config)["data"]["batch_size"]
    for row in files.read_csv(layout.history(layout.supernet), ("phase", "step", "images_per_s")):
        steps, seconds = found.setdefault(row["phase"], (0, []))
        found[row["phase"]] = int(row["step"]), [*seconds, batch / float(row["images_per_s"])]
    return {phase: (steps, statistics.median(seconds)) for phase, (steps, seconds) in found.items()}


def in_the_time_of(scratch, other, files_for_training):
    """Flags by which training from scratch takes as long as another: steps cost what they did in `scratch`."""
    planned = steps_s(scratch)
    share = sum(n * s for n, s in steps_s(other).values()) / sum(n * s for n, s in planned.values())
    settings = files.read_json(scratch.config)["data"]
    held_out = max(settings["validation_fraction"], min(0.2, settings["least_validation"] / files_for_training))
    per_epoch = max(1, int(files_for_training * (1 - held_out)) // settings["batch_size"])
    flags = ["--set=supernet.least_steps=0"]
    for number, (steps, _) in enumerate(planned.values()):
        flags.append(f"--set=supernet.phases.{number}.epochs={share * steps / per_epoch:.3f}")
    return flags


def show(name, what, layout):
    top1 = [float(row["test_top1"]) for row in files.read_csv(layout.table("pnag_finetuned"), ("test_top1",))]
    seconds = sum(n * s for n, s in steps_s(layout).values())
    listed = " ".join(f"{each:.4f}" for each in top1)
    print(f"| {name} | {what} | {seconds:.0f} | {listed} | {np.mean(top1):.4f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
