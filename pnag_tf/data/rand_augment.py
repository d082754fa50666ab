"""RandAugment and MixUp by Keras's preprocessing layers, as functions of a seed: one seed, one picture.

`keras.layers.RandAugment` computes all its operations for every batch and keeps one; here an image pays for those it
gets. Keras's layers draw from generators with a state of their own, so that a run that was killed could not go on with
the pictures that it would have seen; here they draw from the seed of the image.
"""

from __future__ import annotations

import functools

import keras
import tensorflow as tf

# At magnitude 1, about the strongest that the paper tries (Cubuk et al. 2020, section 4.1); as shares of a picture's
# side, of a full turn, or of the range of pixels.
SHEAR, TRANSLATION, ROTATION, COLOUR, BITS = 0.3, 0.33, 30 / 360, 0.9, 4
RANGE = (0, 255)


class _Seeds(keras.random.SeedGenerator):
    """What Keras's layers draw seeds from: those that follow from the one of an image."""

    def __init__(self):
        super().__init__(0, name="seeds")
        self._seed, self._drawn = tf.zeros((2,), tf.int64), 0

    def begin(self, seed: tf.Tensor) -> None:
        """From here on seeds follow from `seed`, int64 [2]; called while a graph is traced, like `next`."""
        self._seed, self._drawn = seed, 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        self._drawn += 1
        folded = tf.random.experimental.stateless_fold_in(self._seed, self._drawn)
        return tf.cast(folded, self.state.dtype)


@functools.cache
def _layers(magnitude: float) -> tuple[list[keras.Layer], _Seeds]:
    """The operations at a magnitude, and what they all draw from."""
    with tf.init_scope():  # their variables must not belong to the graph of one dataset
        return _made(magnitude)


def _made(magnitude: float) -> tuple[list[keras.Layer], _Seeds]:
    kinds, seeds = keras.layers, _Seeds()
    colour = {"factor": COLOUR * magnitude, "value_range": RANGE}
    layers = [
        kinds.RandomShear(x_factor=SHEAR * magnitude),
        kinds.RandomShear(y_factor=SHEAR * magnitude),
        kinds.RandomTranslation(TRANSLATION * magnitude, TRANSLATION * magnitude),
        kinds.RandomRotation(ROTATION * magnitude),
        kinds.RandomBrightness(COLOUR * magnitude, value_range=RANGE),
        kinds.RandomColorDegeneration(COLOUR * magnitude, value_range=RANGE),
        kinds.RandomContrast(COLOUR * magnitude, value_range=RANGE),
        kinds.RandomSharpness(**colour),
        kinds.Solarization(threshold_factor=magnitude, value_range=RANGE),
        kinds.RandomPosterization(round(8 - BITS * magnitude), value_range=RANGE),
        kinds.AutoContrast(value_range=RANGE),
        kinds.Equalization(value_range=RANGE),
    ]
    for layer in layers:
        if hasattr(layer, "generator"):
            layer.generator = seeds
    return layers, seeds


def augmented(image: tf.Tensor, operations: int, magnitude: float, seed: tf.Tensor) -> tf.Tensor:
    """RandAugment of one image, float32 [r, r, 3] in 0–255.

    Args:
      operations: how many, drawn one after the other.
      magnitude: of all of them, from 0 to 1.
      seed: int64 [2].
    """
    layers, seeds = _layers(magnitude)
    shape = image.shape
    for number in range(operations):
        own = tf.random.experimental.stateless_fold_in(seed, number)
        place = tf.random.stateless_uniform((), own, 0, len(layers), tf.int32)

        def one(layer, image=image, own=own):
            seeds.begin(own)
            return tf.cast(layer(image, training=True), tf.float32)

        image = tf.switch_case(place, [functools.partial(one, layer) for layer in layers])
        image = tf.clip_by_value(tf.ensure_shape(image, shape), *map(float, RANGE))
    return image


@functools.cache
def _mixing(alpha: float) -> keras.layers.MixUp:
    with tf.init_scope():
        layer = keras.layers.MixUp(alpha)
        layer.generator = _Seeds()
    return layer


def mixed(images: tf.Tensor, labels: tf.Tensor, alpha: float, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """MixUp (Zhang et al. 2018) of a batch: images float32 [b, r, r, 3] and one-hot labels [b, classes].

    Args:
      alpha: of the beta distribution that the weights come from; large values mix more.
      seed: int64 [2].
    """
    layer = _mixing(alpha)
    layer.generator.begin(seed)
    found = layer({"images": images, "labels": labels}, training=True)
    return tf.ensure_shape(found["images"], images.shape), tf.ensure_shape(found["labels"], labels.shape)
