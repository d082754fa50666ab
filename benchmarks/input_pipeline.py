"""Images per second of the input pipelines: Fashion-MNIST in memory, and JPEG files that this script makes itself.

Usage: python benchmarks/input_pipeline.py [--seconds=5] [--height=375 --width=500]
The figures per core divide by the process's CPU seconds, so that other load on the machine matters little.
"""

import argparse
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from pnag_tf import config, data
from pnag_tf.util import errors


def photograph(rng: np.random.Generator, height: int, width: int) -> bytes:
    """A JPEG with structure at all scales, at quality 90: about as many bytes per pixel as a photograph."""
    image = np.zeros((height, width, 3), np.float32)
    for size in (4, 16, 64, 256):
        noise = rng.normal(size=(size * height // width + 1, size, 3)).astype(np.float32)
        image += 60 / size**0.4 * tf.image.resize(noise, (height, width), "bicubic").numpy()
    return tf.io.encode_jpeg(np.clip(image + 128, 0, 255).astype(np.uint8), quality=90).numpy()


def write_folder(folder: pathlib.Path, images: int, height: int, width: int) -> float:
    """Two classes of `images` files in all; returns the mean size in bytes."""
    rng, sizes = np.random.default_rng(0), []
    contents = [photograph(rng, height, width) for _ in range(min(images, 64))]
    for number in range(images):
        path = folder / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        sizes.append(path.write_bytes(contents[number % len(contents)]))
    return float(np.mean(sizes))


def measure(dataset: tf.data.Dataset, batch: int, seconds: float) -> tuple[float, float]:
    """Images per second of wall-clock time and per second of CPU time, after a warm-up of five batches."""
    iterator = iter(dataset)
    for _ in range(5):
        next(iterator)
    wall, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        next(iterator)
        count += batch
    return count / (time.perf_counter() - wall), count / (time.process_time() - cpu)


def report(title: str, settings: config.Data, resolution: int, batch: int, seconds: float) -> None:
    dataset = data.load(settings, resolution, seed=0).train(batch)
    wall, cpu = measure(dataset, batch, seconds)
    print(f"{title:44s} {wall:10,.0f} images/s {cpu:10,.0f} images per CPU second", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="duration of each measurement")
    parser.add_argument("--images", type=int, default=512, help="JPEG files to make")
    parser.add_argument("--height", type=int, default=375)
    parser.add_argument("--width", type=int, default=500)
    arguments = parser.parse_args()
    try:
        for kind in ("none", "flip", "shift", "crop"):
            settings = config.Data(augmentation=kind)
            report(f"fashion_mnist, 32 px, batch 64, {kind}", settings, 32, 64, arguments.seconds)
    except errors.UserError as error:
        print(f"fashion_mnist left out: {error}")
    with tempfile.TemporaryDirectory() as temporary:
        size = write_folder(pathlib.Path(temporary), arguments.images, arguments.height, arguments.width)
        print(f"{arguments.images} JPEG files of {arguments.width} x {arguments.height} px, {size / 1000:.0f} kB each")
        for kind in ("none", "crop"):
            for deterministic in (True, False):
                settings = config.Data(
                    dataset="folder", data_dir=temporary, augmentation=kind, deterministic=deterministic
                )
                order = "in order" if deterministic else "in any order"
                report(f"JPEG, 224 px, batch 64, {kind}, {order}", settings, 224, 64, arguments.seconds)


if __name__ == "__main__":
    main()
