"""How long it takes until photos of any size are ready to train on.

    python benchmarks/photos.py [--count 2000] [--resolution 160]

The photos are synthetic JPEG files of quality 90 in four classes, 500 to 4,000 pixels wide, in equal shares of the
logarithm; a tenth of them are turned by EXIF. There are DISTINCT pictures; the files differ in a comment, so that each
is read and decoded. Printed are seconds for the first look, with which copies are made, and for the second.
"""

import argparse
import io
import pathlib
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from pnag_tf import config, data
from pnag_tf.data import photos

DISTINCT = 40


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--resolution", type=int, default=160)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        size = write(root / "photos", arguments.count)
        print(f"{arguments.count} photos, {size / 1e6:.0f} MB")
        settings = config.Data("folder", str(root / "photos"))
        for what in ("first look", "second look"):
            start = time.monotonic()
            splits = data.load(settings, arguments.resolution, 0, root / "copies")
            print(f"{what}: {time.monotonic() - start:.1f} s, {splits.info.train_images} training images")
    return 0


def write(folder, count):
    """Writes the photos; returns how many bytes they take."""
    contents = [content(number) for number in range(min(count, DISTINCT))]
    for number in range(count):
        comment = b"%08d" % number
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        jpeg = contents[number % len(contents)]
        path = folder / "abcd"[number % 4] / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg[:2] + segment + jpeg[2:])
    return sum(len(contents[number % len(contents)]) for number in range(count))


def content(number):
    """A JPEG with coarse structure and fine noise, about as large as a camera's of its size."""
    rng = np.random.default_rng(number)
    width = round(500 * 8 ** ((number % DISTINCT) / (DISTINCT - 1)))
    height = round(width * 0.75)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((width, height), Image.BICUBIC)
    noise = rng.normal(0, 6, (height, width, 1)).astype(np.float32)
    pixels = np.clip(np.asarray(coarse, np.float32) + noise, 0, 255).astype(np.uint8)
    exif = Image.Exif()
    if number % 10 == 0:
        exif[photos.ORIENTATION] = 6
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90, exif=exif)
    return stream.getvalue()


if __name__ == "__main__":
    sys.exit(main())
