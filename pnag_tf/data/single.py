"""Single image files, read as the test images of a folder are."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pnag_tf.data import augment, photos


def read(paths: Sequence[str], resolution: int) -> tuple[list[np.ndarray | None], list[str]]:
    """The pixels of each file, and why a file has none.

    Args:
      resolution: side in pixels, r.

    Returns:
      (pixels, why): uint8 [r, r, 3] of each file, None where it cannot be used; the reason, empty where it can.
    """
    with tempfile.TemporaryDirectory() as folder:
        copies = pathlib.Path(folder)
        looked = photos.look(paths, copies, resolution)
        found = [None if each.why else _pixels(each, copies, resolution) for each in looked]
    return found, [each.why for each in looked]


def _pixels(photo: photos.Photo, copies: pathlib.Path, resolution: int) -> np.ndarray:
    path = str(copies / photo.copy) if photo.copy else photo.path
    return augment.whole(augment.decode(tf.constant(path), resolution)).numpy()
