"""Peak memory (RSS) at 224 px with many classes of synthetic JPEG files: of each stage of a run, and of its parts.

    python benchmarks/memory.py [--only stages] [--classes 1000] [--images 20] [--training_batch 32]

Each line is a process of its own, whose folder of files is temporary. A stage is what `--preset=paper --stage=...`
makes, with the preset's batches where networks are measured (250), its 2,000 records and its 2,000 + 5,000 images held
for them. Training batches are smaller than the preset's 256, which a small machine does not hold; and what memory does
not grow with is few: steps, epochs, iterations, budgets, and images elsewhere (a batch).
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
from pnag_tf.run import context, learn, measure, stages
from pnag_tf.search import records as records_lib
from pnag_tf.space import cost
from pnag_tf.supernet import shrinking, subnet
from pnag_tf.util import files

PARTS = ("nothing", "training images", "records held", "records streamed", "passes streamed", "list of float32")
STAGES = {
    "supernet": "a step of the full network, one of four subnets with a teacher; largest and smallest judged",
    "latency_table": "all blocks, and 4 networks instead of the preset's 18",
    "records": "one architecture with the widest first layer; 1,999 are there",
    "predictors": "2,000 records, 3 epochs",
    "evaluator": "2,000 records, 3 epochs",
    "generator": "200 iterations",
    "rounds": "one round of two measurements",
    "eval": "evaluator and generator anew, one budget, four finalists, exported, timed, tested",
    "finetune": "one network, two steps, exported, timed, tested",
}
STEPS = 1  # of each phase of the supernet
FEW = 250  # images of a pass where memory does not grow with them: a batch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("stages", "parts"), default="")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=20, help="of each class, and one more to test")
    parser.add_argument("--batch", type=int, default=32, help="of the parts")
    parser.add_argument("--training_batch", type=int, default=32, help="of the stages")
    parser.add_argument("--record_images", type=int, default=0, help="calibrate and judge a record; 0: the preset's")
    parser.add_argument("--alone", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        alone(args)
        return 0
    print(f"machine: {host.describe()}; {args.classes} classes x {args.images} JPEG files, 224 px")
    with tempfile.TemporaryDirectory() as folder:
        write(pathlib.Path(folder), args.classes, args.images)
        if args.only != "stages":
            print(f"parts, batch {args.batch}")
            for part in PARTS:
                subprocess.run([sys.executable, *sys.argv, f"--alone={part}", f"--folder={folder}"], check=True)
        if args.only != "parts":
            print(f"stages, batch {args.training_batch} in training")
            for stage in STAGES:
                subprocess.run([sys.executable, *sys.argv, f"--alone={stage}", f"--folder={folder}"], check=True)
    return 0


def alone(args):
    """What a process of its own does: one part or stage, and its line."""
    folder, name = pathlib.Path(args.folder), args.alone
    if name in PARTS:
        run_part(name, folder / "images", args.batch)
    else:
        run_stage(name, folder, args.training_batch, args.record_images)
    print(f"{name:<20} {peak_gib():6.2f} GiB  {STAGES.get(name, '')}".rstrip(), flush=True)


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
        for part, count in (("train", images), ("test", 1)):
            target = folder / "images" / part / f"{label:04}"
            target.mkdir(parents=True)
            for number in range(count):
                jpeg, comment = contents[(label + number) % len(contents)], f"{part} {label} {number}".encode()
                # Copies would be left out.
                segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
                (target / f"{number}.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(classes)))


# ---- stages of a run -------------------------------------------------------------------------------------------------


def run_stage(stage, folder, training_batch, record_images):
    shrinking.CHUNK_STEPS = STEPS  # a phase has no fewer than one chunk
    images = record_images if stage == "records" else FEW
    config = settings(stage, folder / "images", training_batch, images)
    run = context.make(config, folder / "run")
    if stage == "records":
        fill_records(run)
    if stage == "finetune":
        given = dataclasses.replace(config.finetune, archs=one_arch(config, folder))
        config = dataclasses.replace(config, finetune=given)
        run = dataclasses.replace(run, config=config)
    if stage == "eval":
        budgets = (sorted(learn.budgets_ms(run.config, measure.read_records(run)))[2],)
        config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, budgets=budgets))
        run = dataclasses.replace(run, config=config)
    stages.make(run, stage)


def settings(stage, folder, training_batch, images):
    """Preset paper; see the top for what is smaller. `images` are those of a pass, 0 for the preset's."""
    config = presets.preset("paper")
    photos = config_lib.Data("folder", str(folder), augmentation="crop", batch_size=training_batch)
    if stage == "finetune":  # its epochs and validations are whole ones
        photos = dataclasses.replace(photos, train_limit=2 * training_batch, validation_fraction=0.05)
    measured = config.measure
    if images:
        measured = dataclasses.replace(
            measured, calibration_images=images, validation_images=images, finalist_images=images
        )
    first, *_, last = config.supernet.phases
    return dataclasses.replace(
        config,
        data=photos,
        backbone=dataclasses.replace(config.backbone, classes=len(data.class_names(photos, config.seed))),
        supernet=dataclasses.replace(
            config.supernet, phases=tuple(dataclasses.replace(phase, epochs=0.0) for phase in (first, last))
        ),
        measure=measured,
        latency=dataclasses.replace(config.latency, calibration_networks=3, check_networks=1),
        predictors=dataclasses.replace(config.predictors, epochs=3),
        evaluator=dataclasses.replace(config.evaluator, epochs=3),
        generator=dataclasses.replace(config.generator, iterations=200),
        eval=dataclasses.replace(config.eval, measurements=measured.architectures + 2),
        finetune=dataclasses.replace(config.finetune, epochs=int(stage == "finetune")),
    )


def one_arch(config, folder):
    """The file of architectures that stage finetune trains: the largest network."""
    path = folder / "archs.csv"
    row = {"budget_ms": "1000", "arch": str(config.space.decode(config.space.largest())[0])}
    files.write_csv(path, [row], row)
    return str(path)


def fill_records(run):
    """Leaves one architecture to measure, as if a run had been stopped before its last.

    Of those whose first layer is the widest, which settles the peak, it is the one with the least to compute.
    """
    space, choices = run.config.space, measure.draw(run.config)
    archs = space.decode(choices)
    madds = np.array([cost.madds(run.config.backbone, arch) for arch in archs], float)
    wide = np.array([arch.ratios[0] == max(space.ratios) and arch.kernels[0] == max(space.kernels) for arch in archs])
    known = np.arange(len(choices)) != np.argmin(np.where(wide, madds, np.inf))
    table = records_lib.Records(space, choices, 0.1 * np.log(madds / 1e6), measure.latencies_ms(run, choices))
    records_lib.write(run.layout.unfinished_records, table[known])


# ---- parts -----------------------------------------------------------------------------------------------------------


def run_part(part, images, batch):
    if part == "nothing":
        return
    config = presets.preset("paper")
    photos = config_lib.Data("folder", str(images), augmentation="crop", batch_size=batch)
    splits = data.load(photos, 224, 0)
    measured = dataclasses.replace(config.measure, batch_size=batch, calibration_images=8 * batch)
    memory = config_lib.Memory(0.0 if "streamed" in part else config.memory.images_gib)
    backbone = dataclasses.replace(config.backbone, classes=splits.info.classes)
    config = dataclasses.replace(config, data=photos, measure=measured, memory=memory, backbone=backbone)
    if part == "training images":
        for _ in splits.train(batch, steps=40):
            pass
    elif part == "list of float32":  # what a list of all batches would take
        list(splits.validation(batch))
    elif part == "passes streamed":  # the whole validation set without a network
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
