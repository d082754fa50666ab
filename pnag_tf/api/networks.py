"""Networks in Python: a saved supernet, plain models out of it, and .tflite files."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable

import keras
import numpy as np

from pnag_tf.latency import export as export_lib
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import model as supernet_lib
from pnag_tf.supernet import ofa, subnet
from pnag_tf.util import errors, files

BATCH = 250  # calibration images in one pass; each batch is normalised by itself


class TrainedSupernet:
    """A supernet from which networks are extracted; made by `load_supernet`.

    Attributes:
      network: the `keras.Model` with all weights.
      space: the `SearchSpace` of the architectures in it.
      image_shape: `(height, width, 3)` of the images that its networks take; where resolutions are searched, of the
        largest.
      classes: how many they tell apart.
    """

    def __init__(self, network: supernet_lib.Supernet):
        self.network, self.space = network, network.space
        self.image_shape = (network.backbone.resolution, network.backbone.resolution, 3)
        self.classes = network.backbone.classes
        self._subnets = subnet.Subnets(network, ())

    def extract(self, architecture: space_lib.Architecture | str, calibration: np.ndarray | Iterable) -> keras.Model:
        """One network of the supernet as a plain model, ready to predict, save or fine-tune.

        Weights are the supernet's. The batch norm statistics of a subnet are its own, so they are computed anew from
        images.

        Args:
          architecture: an `Architecture` of `space`, or its string `depths:kernels:ratios`.
          calibration: training images, normalised as the supernet was trained: a float array of shape
            `(n, height, width, 3)`, or an iterable of such batches, as `Run.calibration` gives. Some hundred are
            enough.

        Returns:
          A `keras.Model` of standard layers: images `(n, height, width, 3)` -> logits `(n, classes)`.

        Raises:
          UserError: the architecture is of another space, or the images have another shape.

        Examples:
          >>> import numpy as np
          >>> import pnag_tf as pnag
          >>> net = pnag.load_supernet("supernet.keras")
          >>> images = np.random.default_rng(0).normal(size=(8, *net.image_shape)).astype("float32")
          >>> smallest = net.space.decode(net.space.smallest())[0]
          >>> model = net.extract(smallest, calibration=images)
          >>> model.predict(images, verbose=0).shape
          (8, 10)
        """
        try:
            (choices,) = self.space.encode([architecture])
        except ValueError as error:
            raise errors.UserError(str(error)) from None
        if isinstance(calibration, np.ndarray):
            if calibration.shape[1:] != self.image_shape or not len(calibration):
                expected = f"expected calibration images of shape {('n', *self.image_shape)}"
                raise errors.UserError(f"{expected}, found {calibration.shape}")
            images = calibration.astype(np.float32)
            calibration = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        self._subnets.calibration = calibration  # its functions are traced once, for all calls
        return self._subnets.extract(choices)


def load_supernet(path: str | os.PathLike) -> TrainedSupernet:
    """Loads a supernet that a run has trained, or that `tools/import_ofa.py` has imported.

    Args:
      path: a `.keras` file.

    Returns:
      A `TrainedSupernet`.

    Raises:
      UserError: the file is missing, broken, or holds another kind of model.

    Examples:
      >>> import pnag_tf as pnag
      >>> net = pnag.load_supernet("supernet.keras")
      >>> net.image_shape, net.classes
      ((16, 16, 3), 10)
    """
    return TrainedSupernet(ofa.load(path))


def export(
    model: keras.Model,
    path: str | os.PathLike,
    quantize: str = "float32",
    representative: np.ndarray | None = None,
) -> pathlib.Path:
    """Writes a model as a .tflite for one image at a time, checked against the model before it is written.

    Args:
      model: a `keras.Model` with one input of fixed shape.
      path: the file to write.
      quantize: `"float32"`, `"float16"` (weights of half the size), `"dynamic_int8"` (weights in int8) or `"int8"`
        (activations as well). All of them take and give float32.
      representative: for `"int8"`: about a hundred images `(n, height, width, 3)` like those the model will see.

    Returns:
      The path.

    Raises:
      ExportError: the model cannot be converted, or the .tflite answers something else.

    Examples:
      >>> import keras
      >>> import pnag_tf as pnag
      >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
      >>> pnag.export(model, "net.tflite").name
      'net.tflite'
    """
    path = pathlib.Path(path)
    files.write_bytes(path, export_lib.convert(model, quantization=quantize, representative=representative))
    return path
