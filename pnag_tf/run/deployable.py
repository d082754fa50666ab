"""What of a network is deployed: RGB pixels in, probabilities out, with the names of the classes in the file."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

import pnag_tf
from pnag_tf import config as config_lib
from pnag_tf import data
from pnag_tf.latency import anatomy, export, metadata
from pnag_tf.latency import device as devices
from pnag_tf.run import answers as answers_lib
from pnag_tf.space import network
from pnag_tf.supernet import shrinking

TFLITE = ".tflite"
FLOAT32 = export.QUANTIZATIONS[0]
CALIBRATION_IMAGES = 100  # that 'int8' takes its ranges from


class Exporter:
    """Networks of logits for normalised images -> what a device runs, in the kind that the run is for.

    With `Eval.raw_logits` the networks themselves, without labels.
    """

    def __init__(self, config: config_lib.Config, splits: data.Splits, device: devices.Device):
        self._config, self._splits, self._device = config, splits, device
        self._raw, self._kind = config.eval.raw_logits, config.kind
        self._representative = functools.cache(self._representative)

    @property
    def device(self) -> devices.Device:
        """The device, whose `export` takes such networks."""
        return dataclasses.replace(self._device, export=self.export)

    def export(self, model: keras.Model) -> bytes:
        """The content of a network's file, in the run's kind."""
        if self._kind != FLOAT32:
            return self.quantized(model, self._kind)
        return self._labelled(self._device.export(self._deployed(model)), model)

    def quantized(self, model: keras.Model, kind: str) -> bytes:
        """The .tflite of any kind; 'int8' takes its ranges from training images."""
        representative = self._representative(model.input_shape[1]) if kind == "int8" else None
        tflite = export.convert(self._deployed(model), quantization=kind, representative=representative)
        return self._labelled(tflite, model)

    def tested(self, model: keras.Model, exported: bytes) -> answers_lib.Answers:
        """What a network answers on the test images as it is deployed; beside `test` the one place that reads them.

        A float32 file answers as the model does, which is faster in batches.

        Args:
          exported: the content of its file.
        """
        info, config = self._splits.info, self._config
        batches = self._splits.at(model.input_shape[1]).test(config.measure.batch_size)
        if self._kind == FLOAT32:
            return answers_lib.of(model, batches, info.mean, info.std)
        return answers_lib.by(functools.partial(self._run, _runner(exported)), batches, info.mean, info.std)

    def validated(self, exported: bytes) -> np.ndarray:
        """Which of the validation images that choose among finalists a .tflite gets right, bool [images]."""
        runner, config = _runner(exported), self._config
        splits = self._splits.at(runner.input_shape[1])
        batches = shrinking.validation_batches(config, splits, config.measure.finalist_images)
        named = [(self._run(runner, images).argmax(-1), labels) for images, labels in batches]
        return np.concatenate([classes == np.asarray(labels) for classes, labels in named])

    def anatomy(self, exported: bytes) -> dict[str, str | int]:
        """The columns of how XNNPACK takes a .tflite on this machine, and of its memory; none of other files."""
        if self._device.suffix != TFLITE:
            return {}
        return anatomy.delegation(exported).columns() | {"arena_mb": f"{anatomy.arena_bytes(exported) / 1e6:.4g}"}

    def test(self, resolution: int) -> Iterator[tuple[np.ndarray, tf.Tensor]]:
        """The test images as the files take them, float32 [b, r, r, 3], and their labels."""
        batches = self._splits.at(resolution).test(self._config.measure.batch_size)
        return ((self._as_taken(images), labels) for images, labels in batches)

    def _run(self, runner: export.Runner, images: tf.Tensor) -> np.ndarray:
        """Normalised images float32 [b, r, r, 3] -> probabilities [b, classes]."""
        found = runner(self._as_taken(images))
        return tf.nn.softmax(found).numpy() if self._raw else found

    def _representative(self, resolution: int) -> np.ndarray:
        images = self._splits.at(resolution).calibration(CALIBRATION_IMAGES, CALIBRATION_IMAGES)
        return np.concatenate([self._as_taken(batch) for batch, _ in images])

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


def _runner(exported: bytes) -> export.Runner:
    return export.Runner(exported, workers=os.cpu_count() or 1)
