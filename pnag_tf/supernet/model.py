"""The supernet: one Keras model that computes any architecture of the space, which it takes as an int32 argument.

Nothing is ever "active" inside the model. One traced graph serves every architecture, and a call pays only for the
layers, channels and kernels it asks for: channels are sliced by a tensor, the kernel is cut out of a stack of filters,
layers beyond the depth are skipped by `tf.cond`.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib
from pnag_tf.supernet import blocks as blocks_lib
from pnag_tf.supernet import elastic
from pnag_tf.util import frozen

BATCH_NORM_MOMENTUM = 0.9  # of the moving statistics, once-for-all's 0.1 the other way round


@keras.saving.register_keras_serializable("pnag_tf")
class Supernet(keras.Model):
    """A network with elastic depth, width and kernel (once-for-all), by default its MobileNetV3.

    ```
    logits = supernet({"images": images, "choices": choices})
    ```

    Args:
      space: which depths, kernels and ratios there are.
      backbone: widths, strides, resolution, classes.
      dropout: rate before the classifier, in training.

    Shapes: images float32 [b, r, r, 3] of the backbone's resolution, which is the largest where it is searched;
    choices int32 [tokens], see `space`; logits float32 [b, classes]. A network of a smaller resolution scales the
    images down first.

    Batch norm statistics are one array, float32 [2, channels]: means and variances of all batch norms one after the
    other, in network order. `forward` takes them as an argument, so a subnet's own statistics are data like its
    choices. The moving ones are what `call` uses without training. In training every subnet that goes through `call`
    moves them, in the channels and layers that it has: they are the largest network's only while no other is drawn,
    as in the first phase of progressive shrinking, and later a mixture that is right for none. Nothing recalibrates
    them. They serve the teacher, which is the network of such a first phase; whatever measures or extracts a subnet
    takes statistics of its own, from `subnet.Subnets.statistics`.

    Activations have the type of the images: with bfloat16 ones it computes in mixed precision, where weights,
    statistics and everything behind the pooling stay float32.
    """

    def __init__(self, space: space_lib.SearchSpace, backbone: backbone_lib.Backbone, dropout: float = 0.1, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if space.units != backbone.units:
            raise ValueError(f"the space has {space.units} units, the backbone {backbone.units}")
        self.space, self.backbone, self.dropout = space, backbone, dropout
        he = keras.initializers.VarianceScaling(2.0, "fan_out")
        self.stem = self.add_weight(shape=(3, 3, 3, backbone.stem), initializer=he, name="stem")
        self.stem_norm = blocks_lib.BatchNorm(backbone.stem, name="stem_norm")
        if block := backbone.first_block():
            self.first = blocks_lib.make(block, (3,), (block.hidden,), (0,))
        self.blocks = [
            _elastic_block(space, backbone, unit, layer)
            for unit in range(space.units)
            for layer in range(space.max_depth)
        ]
        last, wide, mix = backbone.widths[-1], backbone.final_expand, backbone.feature_mix
        if wide:
            self.final_expand = self.add_weight(shape=(last, wide), initializer=he, name="final_expand")
            self.final_norm = blocks_lib.BatchNorm(wide, name="final_norm")
        if mix:
            self.feature_mix = self.add_weight(shape=(wide or last, mix), initializer=he, name="feature_mix")
        self.drop = keras.layers.Dropout(dropout, seed=0, name="dropout")
        self.classifier = keras.layers.Dense(
            backbone.classes, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), name="classifier"
        )
        self.classifier.build((None, backbone.head_channels))
        channels = sum(norm.channels for norm in self.norms)
        self.moving = self.add_weight(
            shape=(2, channels),
            initializer=_fresh_statistics,
            trainable=False,
            name="moving_statistics",
            aggregation="mean",  # over replicas, each of which sees its part of a batch
        )
        self.built = True

    def all_blocks(self) -> list[blocks_lib.Block]:
        """The fixed block, where there is one, and those of all layer slots."""
        return [*([self.first] if self.backbone.base_first else []), *self.blocks]

    def _norm_groups(self) -> list[list[blocks_lib.BatchNorm]]:
        """The batch norms of the stem, of each block, and of the head."""
        blocks = [block.norms for block in self.all_blocks()]
        return [[self.stem_norm], *blocks, [self.final_norm] if self.backbone.final_expand else []]

    @property
    def norms(self) -> list[blocks_lib.BatchNorm]:
        """All batch norms in the order of their statistics."""
        return [norm for group in self._norm_groups() for norm in group]

    def matrices(self) -> list[keras.Variable]:
        """Weights [..., output channels] of the full convolutions in front of a batch norm, but for the stem's."""
        wide = [self.final_expand] if self.backbone.final_expand else []
        return [matrix for block in self.all_blocks() for matrix in block.matrices()] + wide

    def get_config(self):
        return {
            **super().get_config(),
            "space": dataclasses.asdict(self.space),
            "backbone": dataclasses.asdict(self.backbone),
            "dropout": self.dropout,
        }

    @classmethod
    def from_config(cls, config):
        space = frozen.restore(space_lib.SearchSpace, config.pop("space"))
        return cls(space, frozen.restore(backbone_lib.Backbone, config.pop("backbone")), **config)

    def call(self, inputs, training=False):
        """Logits [b, classes]; with training=True by the batch's statistics, which also enter the moving ones."""
        if not training:
            return self.forward(inputs["images"], inputs["choices"], self.moving)[0]
        logits, measured = self.forward(inputs["images"], inputs["choices"], training=True)
        self.moving.assign(self.moved(measured))
        return logits

    def forward(self, images, choices, statistics=None, training=False):
        """The network of `choices`, as a function of nothing but its arguments and the weights.

        Args:
          images: float32 or bfloat16 [b, r, r, 3].
          choices: int32 [tokens].
          statistics: float32 [2, channels]; None normalises by the batch's own.
          training: whether dropout acts.

        Returns:
          logits float32 [b, classes], and the batch's statistics [2, channels] or None where they were given.
          Entries of layers and channels that took no part have variance 0.
        """
        if not self.space.resolutions:
            return self._forward(images, choices, statistics, training)
        branches = [
            lambda size=size: self._forward(_scaled(images, size), choices, statistics, training)
            for size in self.space.resolutions
        ]
        known = tf.get_static_value(choices)
        # A branch each: what is traced for a known size is faster, on small maps several times.
        return tf.switch_case(choices[-1], branches) if known is None else branches[known[-1]]()

    def _forward(self, images, choices, statistics, training):
        """`forward` at the resolution that the images have."""
        stem, *parts, final = self._divide(statistics)
        x, found = self._bound(self.stem_norm, functools.partial(self._stem, images), stem)
        measured, x = [found], elastic.activate(x, self.backbone.edge_activation)
        if self.backbone.base_first:
            x, found = self.first(x, ratio=0, kernel=0, statistics=parts.pop(0))
            measured.append(found)
        for index, (block, part) in enumerate(zip(self.blocks, parts, strict=True)):
            unit, layer = divmod(index, self.space.max_depth)
            x, found = self._layer(block, unit, layer, x, choices, part)
            measured.append(found)
        x, found = self._head(x, final)
        logits = self.classifier(self.drop(x, training=training))
        if statistics is not None:
            return logits, None
        return logits, tf.concat([part for parts in [*measured, found] for part in parts], 1)

    @staticmethod
    def _bound(norm, linear, statistics):
        """(a fixed linear operation with its batch norm, [its statistics])."""
        y, found = norm.bind(linear, None if statistics is None else statistics[0])
        return y, [found]

    def _head(self, x, statistics):
        """([b, h, h, c] -> [b, channels that the classifier reads], [statistics of the final expand])."""
        activation, found = self.backbone.edge_activation, []
        if self.backbone.final_expand:
            weights, before = tf.convert_to_tensor(self.final_expand), x

            def expand(factor):
                return elastic.pointwise(before, weights if factor is None else weights * factor)

            x, found = self._bound(self.final_norm, expand, statistics)
            x = elastic.activate(x, activation)
        x = tf.reduce_mean(tf.cast(x, tf.float32), [1, 2])
        if self.backbone.feature_mix:
            x = elastic.activate(tf.matmul(x, self.feature_mix), activation)
        return x, found

    def _stem(self, images, factor):
        filters = tf.convert_to_tensor(self.stem) if factor is None else self.stem * factor
        pad = [[0, 0], [1, 1], [1, 1], [0, 0]]
        return tf.nn.conv2d(images, tf.cast(filters, images.dtype), self.backbone.stem_stride, padding=pad)

    def _layer(self, block, unit, layer, x, choices, statistics):
        """One layer slot; skipped, at no cost, when it lies beyond the unit's depth."""
        ratio = choices[self.space.ratio_columns[unit, layer]]
        kernel = choices[self.space.kernel_columns[unit, layer]]
        if layer < self.space.depths[0]:
            return block(x, ratio=ratio, kernel=kernel, statistics=statistics)
        depth = tf.gather(tf.constant(self.space.depths), choices[self.space.depth_columns[unit]])
        nothing = [] if statistics is not None else [tf.zeros([2, norm.channels]) for norm in block.norms]
        compute = functools.partial(block, x, ratio=ratio, kernel=kernel, statistics=statistics)
        return tf.cond(layer < depth, compute, lambda: (x, nothing))

    def _divide(self, statistics):
        """Statistics [2, channels] as a list of lists, for stem, blocks and head, or Nones."""
        groups = self._norm_groups()
        if statistics is None:
            return [None] * len(groups)
        parts = iter(tf.split(statistics, [norm.channels for group in groups for norm in group], axis=1))
        return [[next(parts) for _ in group] for group in groups]

    def moved(self, measured):
        """Moving statistics after one batch: those of channels that took part move, the others stay."""
        part = tf.cast(measured[1:] > 0, measured.dtype) * (1 - BATCH_NORM_MOMENTUM)
        return self.moving + part * (measured - self.moving)

    def sort_channels(self) -> None:
        """Orders every block's hidden channels by importance, so that the first ones are the best to keep.

        Importance is the L1 norm of a channel's outgoing weights (once-for-all, section 3.3). The largest network
        computes the same function as before.
        """
        moving = np.array(self.moving)
        start = self.stem_norm.channels
        for block in self.all_blocks():
            if block.block.unit < 0:
                start += sum(norm.channels for norm in block.norms)
                continue
            order = np.argsort(-np.abs(np.array(block.project)).sum(1), kind="stable")
            block.permute(order)
            for norm in block.hidden_norms():
                moving[:, start : start + norm.channels] = moving[:, start + order]
                start += norm.channels
            start += block.project_norm.channels
        self.moving.assign(moving)


def _elastic_block(space, backbone, unit: int, layer: int) -> blocks_lib.Block:
    options = [backbone.block(unit, layer, ratio, space.kernels[-1]) for ratio in space.ratios]
    return blocks_lib.make(
        options[-1],
        space.kernels,
        tuple(option.hidden for option in options),
        tuple(option.squeeze for option in options),
    )


def _scaled(images, size: int):
    """Images [b, r, r, 3] at `size` pixels, as the data pipeline scales them."""
    if images.shape[1] == size:
        return images
    return tf.cast(tf.image.resize(images, (size, size), antialias=True), images.dtype)


def _fresh_statistics(shape, dtype=None):
    """Mean 0, variance 1."""
    return tf.constant(np.stack([np.zeros(shape[1]), np.ones(shape[1])]), dtype or "float32")
