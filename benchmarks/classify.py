"""How fast `pnag.Classifier` is from a photo's file to its answer, and how much of that is reading the photo.

    python benchmarks/classify.py NET.tflite [--count 200] [--threads 1]

The photos are those of benchmarks/photos.py: synthetic JPEG files of quality 90, 500 to 4,000 pixels wide, in equal
shares of the logarithm.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import photos

import pnag_tf as pnag


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    net = pnag.Classifier(args.network, args.threads)
    with tempfile.TemporaryDirectory() as folder:
        photos.write(pathlib.Path(folder), args.count)
        paths = sorted(pathlib.Path(folder).glob("*/*.jpg"))
        net.predict(paths[0])
        start = time.monotonic()
        pixels, _ = net.read(paths)
        read_s = time.monotonic() - start
        start = time.monotonic()
        net.probabilities(pixels)
        network_s = time.monotonic() - start
        start = time.monotonic()
        for path in paths[: args.count // 4]:
            net.predict(path)
        one_s = (time.monotonic() - start) / (args.count // 4)
    print(f"{len(paths)} photos at {net.resolution} px: {len(paths) / (read_s + network_s):.1f} a second together,")
    print(f"{1 / one_s:.1f} one by one; reading takes {100 * read_s / (read_s + network_s):.1f} % of the time,")
    print(f"the network {1e6 * network_s / len(paths):.0f} us a photo")
    return 0


if __name__ == "__main__":
    sys.exit(main())
