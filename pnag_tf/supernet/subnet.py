"""Subnets of a trained supernet: batch norm recalibration, accuracy, and extraction into a plain Keras model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from pnag_tf.space import network
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import blocks, elastic
from pnag_tf.supernet import model as supernet_lib

SHARED_PASS = 10  # architectures that share a pass over the images: decoding them costs each a tenth


class Subnets:
    """Measures subnets of one supernet; each function is traced once, whatever the architecture.

    Args:
      net: the supernet; later changes of its weights are seen.
      calibration: batches of images float32 [b, r, r, 3], iterated anew for each pass: training images.
    """

    def __init__(self, net: supernet_lib.Supernet, calibration: Iterable):
        self.net, self.calibration = net, calibration
        resolution, tokens = net.backbone.resolution, net.space.tokens
        images = tf.TensorSpec([None, resolution, resolution, 3], tf.float32)
        choices, labels = tf.TensorSpec([tokens], tf.int32), tf.TensorSpec([None], tf.int32)
        statistics = tf.TensorSpec(net.moving.shape, tf.float32)
        self._moments = tf.function(self._moments, input_signature=[images, choices], autograph=False)
        self._hits = tf.function(self._hits, input_signature=[images, labels, choices, statistics], autograph=False)

    def statistics(self, choices: np.ndarray) -> np.ndarray:
        """Recalibrated batch norm statistics of one subnet, float32 [2, channels].

        Each batch is normalised by itself, as in training; the means and variances are those of all calibration
        images together.

        Args:
          choices: int32 [tokens].
        """
        return self._statistics([choices])[0]

    def _statistics(self, choices: Sequence[np.ndarray]) -> list[np.ndarray]:
        """`statistics` of several subnets, in one pass over the images."""
        rows, count = [tf.constant(row, tf.int32) for row in choices], 0
        totals = [0.0] * len(rows)
        for images in self.calibration:
            for place, row in enumerate(rows):
                totals[place] = totals[place] + self._moments(images, row) * float(len(images))
            count += len(images)
        means = [np.asarray(total, np.float64) / count for total in totals]
        return [np.stack([mean, np.maximum(square - mean**2, 0.0)]).astype(np.float32) for mean, square in means]

    def accuracy(self, choices: np.ndarray, batches: Iterable, statistics: np.ndarray | None = None) -> tuple:
        """Top-1 and top-5 of one subnet, fractions.

        Args:
          choices: int32 [tokens].
          batches: (images float32 [b, r, r, 3], labels int32 [b]) pairs.
          statistics: float32 [2, channels]; recalibrated here where not given.
        """
        return next(self.accuracies([choices], batches, None if statistics is None else [statistics]))

    def accuracies(
        self, choices: Sequence[np.ndarray], batches: Iterable, statistics: Sequence[np.ndarray] | None = None
    ) -> Iterator[tuple[float, float]]:
        """Yields top-1 and top-5 of each subnet in turn; the arguments are those of `hits`."""
        return (tuple(each.mean(1).tolist()) for each in self.hits(choices, batches, statistics))

    def hits(
        self, choices: Sequence[np.ndarray], batches: Iterable, statistics: Sequence[np.ndarray] | None = None
    ) -> Iterator[np.ndarray]:
        """Yields for each subnet whether an image's label is the first, and among the first five: bool [2, images].

        SHARED_PASS of them share a pass over the images.

        Args:
          choices: int32 [n, tokens].
          batches: as for `accuracy`, iterated anew for each pass.
          statistics: one float32 [2, channels] a subnet; recalibrated here where not given.
        """
        for start in range(0, len(choices), SHARED_PASS):
            rows = [tf.constant(row, tf.int32) for row in choices[start : start + SHARED_PASS]]
            known = self._statistics(rows) if statistics is None else statistics[start : start + SHARED_PASS]
            known, found = [tf.constant(each) for each in known], [[] for _ in rows]
            for images, labels in batches:
                for place, (row, each) in enumerate(zip(rows, known, strict=True)):
                    found[place].append(self._hits(images, labels, row, each))
            yield from (np.concatenate(each, 1) for each in found)

    def extract(self, choices: np.ndarray) -> keras.Model:
        """The subnet as a plain Keras model with recalibrated batch norm."""
        return extract(self.net, self.net.space.decode(choices)[0], self.statistics(choices))

    def _moments(self, images, choices):
        """Mean and mean square of every normalised channel over one batch: float32 [2, channels]."""
        mean, variance = tf.unstack(self.net.forward(images, choices)[1])
        return tf.stack([mean, variance + tf.square(mean)])

    def _hits(self, images, labels, choices, statistics):
        """`hits` of one batch by one subnet: bool [2, b]."""
        logits, _ = self.net.forward(images, choices, statistics)
        return right(logits, labels)


def right(logits, labels):
    """Whether the label is the first, and among the first five, of logits [b, classes]: bool [2, b]."""
    return tf.stack([tf.math.in_top_k(labels, logits, k) for k in (1, min(5, logits.shape[-1]))])


def extract(
    net: supernet_lib.Supernet, arch: space_lib.Architecture, statistics: np.ndarray | None = None
) -> keras.Model:
    """A plain Keras model whose outputs equal the supernet's for one architecture.

    Args:
      net: the supernet.
      arch: an architecture of its space.
      statistics: batch norm statistics float32 [2, channels]; the supernet's moving ones where not given.

    Returns:
      A model of standard layers: images float32 [n, r, r, 3] -> logits [n, classes].
    """
    model = network.build(net.backbone, arch, net.dropout)
    statistics = np.array(net.moving) if statistics is None else np.asarray(statistics)
    parts = np.split(statistics, np.cumsum([norm.channels for norm in net.norms])[:-1], axis=1)
    parts = dict(zip(map(id, net.norms), parts, strict=True))

    def put(name, *weights):
        model.get_layer(name).set_weights([np.asarray(weight) for weight in weights])

    def put_norm(name, norm):
        channels = model.get_layer(name).gamma.shape[0]
        mean, variance = parts[id(norm)]
        put(name, *(np.array(value)[:channels] for value in (norm.scale, norm.offset, mean, variance)))

    put("stem_conv", net.stem)
    put_norm("stem_bn", net.stem_norm)
    slots = [unit * net.space.max_depth + layer for unit, depth in enumerate(arch.depths) for layer in range(depth)]
    elastics = [(net.first, 3)] if net.backbone.base_first else []
    elastics += [(net.blocks[slot], arch.kernels[slot]) for slot in slots]
    for block, (source, kernel) in zip(net.backbone.blocks(arch), elastics, strict=True):
        _put_block(block, source, kernel, put, put_norm)
    if net.backbone.final_expand:
        put("final_expand_conv", np.array(net.final_expand)[None, None])
        put_norm("final_expand_bn", net.final_norm)
    if net.backbone.feature_mix:
        put("feature_mix_conv", np.array(net.feature_mix)[None, None])
    put("classifier", *net.classifier.get_weights())
    return model


def _put_block(block, source: blocks.Block, kernel: int, put, put_norm) -> None:
    """Copies the active part of an elastic block, with the kernel chosen, into the plain layers of `block`."""
    name, hidden, squeeze = block.name, block.hidden, block.squeeze
    if block.expands:
        put(f"{name}_expand_conv", np.array(source.expand)[None, None, :, :hidden])
        put_norm(f"{name}_expand_bn", source.expand_norm)
    filters = np.array(elastic.centre(source.filters(source.kernels.index(kernel), hidden), block.kernel))
    if block.kind == "fused":
        put(f"{name}_fused_conv", filters)
        put_norm(f"{name}_fused_bn", source.fused_norm)
    else:
        put(f"{name}_depthwise_conv", filters[..., None])
        put_norm(f"{name}_depthwise_bn", source.depthwise_norm)
    if squeeze:
        reduce, excite = np.array(source.reduce)[:hidden, :squeeze], np.array(source.excite)[:squeeze, :hidden]
        put(f"{name}_squeeze_reduce", reduce[None, None], np.array(source.reduce_bias)[:squeeze])
        put(f"{name}_squeeze_expand", excite[None, None], np.array(source.excite_bias)[:hidden])
    put(f"{name}_project_conv", np.array(source.project)[None, None, :hidden])
    put_norm(f"{name}_project_bn", source.project_norm)
