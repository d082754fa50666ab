"""Names what photos show, with a network that a run has deployed.

    pnag classify NET.tflite PHOTO [PHOTO ...] [--top 3]

Prints a row a photo. A file that is no photo gets a line on stderr, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pnag_tf.util import errors, terminal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with terminal.quiet():  # as in `main`
    import tensorflow as tf

    tf.config.list_logical_devices()

from pnag_tf.api import classifier


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        sys.exit(terminal.fail(message))


def main(given: Sequence[str]) -> int:
    parser = _Parser("pnag classify", description=__doc__.splitlines()[0])
    parser.add_argument("network", help="a .tflite that a run has deployed")
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--top", type=int, default=1, help="classes to name for each photo")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="photos to classify at the same time")
    asked = parser.parse_args(given)
    try:
        for name in ("top", "threads"):
            if (found := getattr(asked, name)) < 1:
                raise errors.UserError(f"--{name}: expected 1 or more, found {found}")
        net = classifier.Classifier(asked.network, asked.threads)
        return _classify(net, asked.photos, asked.top)
    except errors.UserError as error:
        return terminal.fail(error)
    except KeyboardInterrupt:
        return 130


def _classify(net: classifier.Classifier, photos: Sequence[str], top: int) -> int:
    """Prints the table; returns the exit code. Raises UserError where a file is not there."""
    rows = []
    for start in range(0, len(photos), classifier.TOGETHER):
        rows += _rows(net, photos[start : start + classifier.TOGETHER], top)
    if rows:
        terminal.print_table(rows)
    return 0 if len(rows) == len(photos) else 2


def _rows(net: classifier.Classifier, paths: Sequence[str], top: int) -> list[dict]:
    """A row for each photo; files that are none are named on stderr."""
    pixels, why = net.read(paths)
    for path, reason in zip(paths, why, strict=True):
        if reason:
            terminal.fail(f"{path}: {reason}")
    shown = [path for path, reason in zip(paths, why, strict=True) if not reason]
    if not shown:
        return []
    answers, rows = net.probabilities([each for each in pixels if each is not None]), []
    for path, probabilities in zip(shown, answers, strict=True):
        row = {"photo": path}
        for place, (name, probability) in enumerate(net.named(probabilities, top), 1):
            row |= {f"class_{place}": name, f"probability_{place}": f"{probability:.4f}"}
        rows.append(row)
    return rows


def run() -> None:
    """``pnag classify``, and ``python -m pnag_tf.classify``."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
