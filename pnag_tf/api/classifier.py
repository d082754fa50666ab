"""A deployed network on photos: a .tflite in, names and probabilities out."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from pnag_tf.data import single
from pnag_tf.latency import export, metadata
from pnag_tf.util import errors, files

TOGETHER = 64  # photos that are held as pixels at once

Named = list[tuple[str, float]]
"""(class, probability), the most probable first."""


class Classifier:
    """A network that a run has deployed, on photos.

    A photo is read as the test images of a folder are: turned upright, its central square cut out and scaled.

    Args:
      path: of the .tflite.
      threads: photos that are classified at the same time, by an interpreter each.

    Attributes:
      class_names: of the outputs, in their order.
      resolution: side in pixels of what the network sees.

    Raises:
      UserError: the file cannot be read, or is not such a network.

    Examples:
      >>> import pnag_tf as pnag
      >>> net = pnag.Classifier("net.tflite")
      >>> net.resolution, len(net.class_names)
      (16, 10)
      >>> net.predict("cat.jpg", top=2)  # doctest: +SKIP
      [('cat', 0.93), ('fox', 0.04)]
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        content = files.read_bytes(path)
        names = metadata.labels(content)
        if names is None:
            raise errors.UserError(f"{path} names no classes: expected a .tflite that a run has deployed")
        try:
            self._runner = export.Runner(content, threads)
        except ValueError as error:
            raise errors.UserError(f"{path}: expected a .tflite, found another kind of file ({error})") from None
        shape = self._runner.input_shape
        if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
            raise errors.UserError(f"{path}: expected a network of square RGB images, found one of {shape}")
        self.class_names, self.resolution = names, int(shape[1])

    def predict(self, photo: str | os.PathLike | np.ndarray, top: int = 1) -> Named:
        """The most probable classes of a photo.

        Args:
          photo: its file, or pixels `(resolution, resolution, 3)` from 0 to 255.
          top: how many.

        Raises:
          UserError: the photo cannot be read, or has another shape.
        """
        if not isinstance(photo, np.ndarray):
            (pixels,), (why,) = self.read([photo])
            if why:
                raise errors.UserError(f"{photo}: {why}")
        elif photo.shape != (self.resolution, self.resolution, 3):
            expected = (self.resolution, self.resolution, 3)
            raise errors.UserError(f"expected pixels of shape {expected}, found {photo.shape}")
        else:
            pixels = photo
        return self.named(self.probabilities(pixels[None])[0], top)

    def read(self, photos: Sequence[str | os.PathLike]) -> tuple[list[np.ndarray | None], list[str]]:
        """Pixels uint8 `(resolution, resolution, 3)` of each file, and why a file has none, else empty.

        Raises:
          UserError: a file is not there.
        """
        try:
            return single.read([os.fspath(photo) for photo in photos], self.resolution)
        except OSError as error:
            raise errors.UserError(f"cannot read {error.filename}: {error.strerror}") from None

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Of each class, float32 `(n, classes)`, for pixels from 0 to 255 `(n, resolution, resolution, 3)`; n >= 1."""
        return self._runner(np.asarray(pixels, np.float32))

    def named(self, probabilities: np.ndarray, top: int) -> Named:
        """The most probable of the probabilities `(classes,)` of one photo."""
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [(self.class_names[place], float(probabilities[place])) for place in order]
