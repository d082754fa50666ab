"""What of a network is deployed: RGB pixels in, probabilities out, with the names of the classes in the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

import pnag_tf
from pnag_tf import config as config_lib
from pnag_tf import data
from pnag_tf.latency import device as devices
from pnag_tf.latency import export, metadata
from pnag_tf.run import quantization
from pnag_tf.space import network

TFLITE = ".tflite"


class Exporter:
    """Networks of logits for normalised images -> what a device runs.

    With `Eval.raw_logits` the networks themselves, without labels.
    """

    def __init__(self, config: config_lib.Config, splits: data.Splits, device: devices.Device):
        self._raw, self._splits, self._device = config.eval.raw_logits, splits, device
        self._batch = config.measure.batch_size

    @property
    def device(self) -> devices.Device:
        """The device, whose `export` takes such networks."""
        return dataclasses.replace(self._device, export=self.export)

    def export(self, model: keras.Model) -> bytes:
        """The content of a network's file, in float32."""
        return self._labelled(self._device.export(self._deployed(model)), model)

    def quantized(self, model: keras.Model, kind: str) -> bytes:
        """The .tflite of another kind; 'int8' takes its ranges from training images."""
        count = quantization.CALIBRATION_IMAGES
        images = self._splits.at(model.input_shape[1]).calibration(count, count)
        representative = np.concatenate([self._as_taken(batch) for batch, _ in images])
        tflite = export.convert(self._deployed(model), quantization=kind, representative=representative)
        return self._labelled(tflite, model)

    def test(self, resolution: int) -> Iterator[tuple[np.ndarray, tf.Tensor]]:
        """The test images as the files take them, float32 [b, r, r, 3], and their labels."""
        batches = self._splits.at(resolution).test(self._batch)
        return ((self._as_taken(images), labels) for images, labels in batches)

    def _as_taken(self, images: tf.Tensor) -> np.ndarray:
        info = self._splits.info
        return images.numpy() if self._raw else data.pixels(images.numpy(), info.mean, info.std).astype(np.float32)

    def _deployed(self, model: keras.Model) -> keras.Model:
        info = self._splits.info
        return model if self._raw else network.classifier(model, info.mean, info.std)

    def _labelled(self, content: bytes, model: keras.Model) -> bytes:
        if self._raw or self._device.suffix != TFLITE:
            return content
        names, pixels = self._splits.info.class_names, model.input_shape[1]
        description = f"{len(names)} classes, {pixels} x {pixels} pixels; pnag_tf {pnag_tf.__version__}"
        return metadata.with_metadata(content, names, description)
