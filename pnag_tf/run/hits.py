"""Which validation images each architecture gets right, kept while records are measured: a bit for each image."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from pnag_tf.util import files


@dataclasses.dataclass
class Hits:
    """Bits of architectures by the bytes of their choices, as `numpy.packbits` makes them.

    Attributes:
      images: how many images; 0 as long as there is no architecture.
      packed: bytes of int32 [tokens] -> uint8 ``[ceil(images / 8)]``.
    """

    images: int
    packed: dict[bytes, np.ndarray]

    def add(self, choices: np.ndarray, right: np.ndarray) -> None:
        """Takes up an architecture, int32 ``[tokens]``, and which images it gets right, bool ``[images]``."""
        self.images = len(right)
        self.packed[choices.tobytes()] = np.packbits(right)

    def of(self, choices: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(places of the choices ``[n, tokens]`` that are known, their bits ``[known, ceil(images / 8)]``)."""
        places = [place for place, row in enumerate(choices) if row.tobytes() in self.packed]
        rows = [self.packed[choices[place].tobytes()] for place in places]
        return np.array(places, int), np.array(rows, np.uint8).reshape(len(rows), -1)


def write(path: pathlib.Path, choices: np.ndarray, known: Hits) -> None:
    """A file with some of the architectures, int32 ``[n, tokens]``; written atomically."""
    places, packed = known.of(choices)
    with files.replacing(path) as beside:
        np.savez(beside, choices=choices[places], packed=packed, images=known.images)


def read(folder: pathlib.Path) -> Hits:
    """All that `write` has put into the files of a folder; nothing where there is none."""
    known = Hits(0, {})
    for path in sorted(path for path in folder.glob("*.npz") if not files.is_temporary(path)):
        stored = files.read_npz(path)
        known.images = int(stored["images"])
        known.packed |= {row.tobytes(): bits for row, bits in zip(stored["choices"], stored["packed"], strict=True)}
    return known
