"""Decoding, augmentation and normalisation as seeded TensorFlow operations; one seed, one picture.

Batches are augmented as a whole: at 32 px the cost of an operation is its call, not its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

KINDS = ("none", "flip", "shift", "crop")
EVAL_FRACTION = 0.875  # side of the central square that photographs are judged on (256 -> 224), unless they are small
CROP_AREA = 0.08  # Inception's random crop: the least share of the area, and width / height
CROP_ASPECT = (3 / 4, 4 / 3)
BRIGHTNESS = 32 / 255  # once-for-all's colour jitter on ImageNet ('tf')
SATURATION = 0.5
GREY = (0.2989, 0.587, 0.114)


def decode(path: tf.Tensor, resolution: int) -> tf.Tensor:
    """The central square of a file, float32 [r, r, 3] in 0–255."""
    return _decode_window(tf.io.read_file(path), resolution, lambda shape: _central_window(shape, resolution))


def decode_random(path: tf.Tensor, resolution: int, seed: tf.Tensor, area: float = CROP_AREA) -> tf.Tensor:
    """Inception's random crop of a file, float32 [r, r, 3] in 0–255.

    Args:
      area: the least share of the picture.
    """
    return _decode_window(tf.io.read_file(path), resolution, lambda shape: _random_window(shape, seed, area))


def _decode_window(content: tf.Tensor, resolution: int, window) -> tf.Tensor:
    """Decodes the window [y, x, height, width] of an image and resizes it; of a JPEG only the window is decoded."""

    def jpeg():
        box = window(tf.image.extract_jpeg_shape(content))
        return tf.image.decode_and_crop_jpeg(content, box, channels=3, dct_method="INTEGER_FAST")

    def png():
        image = tf.io.decode_png(content, channels=3)
        y, x, height, width = tf.unstack(window(tf.shape(image)))
        return image[y : y + height, x : x + width]

    image = tf.cond(tf.io.is_jpeg(content), jpeg, png)
    # The antialiasing filter costs as much as the decoding; up to a factor of two, bilinear weights do without it.
    image = tf.cond(
        tf.reduce_max(tf.shape(image)) > 2 * resolution,
        lambda: tf.image.resize(image, (resolution, resolution), antialias=True),
        lambda: tf.image.resize(image, (resolution, resolution)),
    )
    return tf.ensure_shape(image, (resolution, resolution, 3))


def _central_window(shape: tf.Tensor, resolution: int) -> tf.Tensor:
    """The central square [y, x, side, side]; never less of a picture than can be shown without enlarging it."""
    height, width = shape[0], shape[1]
    shorter = tf.minimum(height, width)
    side = tf.cast(tf.round(EVAL_FRACTION * tf.cast(shorter, tf.float32)), tf.int32)
    side = tf.maximum(side, tf.minimum(shorter, resolution))
    return tf.stack([(height - side) // 2, (width - side) // 2, side, side])


def _random_window(shape: tf.Tensor, seed: tf.Tensor, area: float) -> tf.Tensor:
    whole = tf.zeros((1, 0, 4))
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        whole,
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=CROP_ASPECT,
        area_range=(area, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.stack([begin[0], begin[1], size[0], size[1]])


def fit(images: tf.Tensor, resolution: int) -> tf.Tensor:
    """Images [n, h, w, c] in memory brought to [n, r, r, c]: black borders where they are a little small, else resized.

    28 px become 32 px by 2 px on each side, which leaves the pixels as they are.
    """
    height, width = images.shape[1:3]
    if resolution * 3 // 4 <= min(height, width) and max(height, width) <= resolution:
        top, left = (resolution - height) // 2, (resolution - width) // 2
        borders = [[0, 0], [top, resolution - height - top], [left, resolution - width - left], [0, 0]]
        return tf.pad(images, borders)
    return tf.image.resize(images, (resolution, resolution), antialias=True)


def whole(images: tf.Tensor) -> tf.Tensor:
    """Pixels in 0–255 as uint8, to the nearest."""
    if images.dtype == tf.uint8:
        return images
    return tf.cast(tf.clip_by_value(tf.round(images), 0.0, 255.0), tf.uint8)


def pixels(images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Normalised images [n, r, r, 3] as pixels again, uint8: what undoes `normalise`."""
    return np.clip(np.round((images * np.array(std) + np.array(mean)) * 255), 0, 255).astype(np.uint8)


def alternating(indices: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
    """Whether to mirror each image in an epoch, bool [n]: half of them, and the other half in the next epoch.

    So two epochs hold each image both ways (Jordan 2024, arXiv:2404.00498, section 3.6), where chance shows half of the
    images the same way twice.

    Args:
      indices: int32 [n], of the images among all.
      epoch: int64 scalar.
    """
    scattered = tf.cast(indices, tf.int64) * 2654435761 // 2**16  # Knuth's multiplicative hash: no pattern of the order
    return (scattered + epoch) % 2 == 1


def flip_and_shift(images: tf.Tensor, mirrored: tf.Tensor, shift: int, seed: tf.Tensor) -> tf.Tensor:
    """Images [n, r, r, c] mirrored where bool [n] says so, moved by up to `shift` pixels, black where nothing was."""
    count, side = tf.shape(images)[0], images.shape[1]
    if images.shape[0] == 1 and not shift:  # a picture of a file: half of them need no copy
        return tf.cond(mirrored[0], lambda: tf.reverse(images, [2]), lambda: images)
    columns = tf.range(side)
    columns = tf.where(mirrored[:, None], side - 1 - columns, columns)
    if shift:
        images = tf.pad(images, [[0, 0], [shift, shift], [shift, shift], [0, 0]])
        moves = tf.random.stateless_uniform((2, count, 1), seed, 0, 2 * shift + 1, tf.int32)
        images = tf.gather(images, tf.range(side) + moves[0], axis=1, batch_dims=1)
        columns += moves[1]
    return tf.gather(images, columns, axis=2, batch_dims=1)


def random_crops(images: tf.Tensor, resolution: int, seed: tf.Tensor, least_area: float = CROP_AREA) -> tf.Tensor:
    """Inception's random crop of images in memory: [n, h, w, c] -> float32 [n, r, r, c]."""
    count = tf.shape(images)[0]
    area = tf.random.stateless_uniform((count,), seed, least_area, 1.0)
    logs = [float(tf.math.log(ratio)) for ratio in CROP_ASPECT]
    aspect = tf.exp(tf.random.stateless_uniform((count,), seed + 1, *logs))
    height = tf.minimum(tf.sqrt(area / aspect), 1.0)
    width = tf.minimum(tf.sqrt(area * aspect), 1.0)
    place = tf.random.stateless_uniform((2, count), seed + 2)
    top, left = place[0] * (1 - height), place[1] * (1 - width)
    boxes = tf.stack([top, left, top + height, left + width], axis=1)
    return tf.image.crop_and_resize(tf.cast(images, tf.float32), boxes, tf.range(count), (resolution, resolution))


def colour_jitter(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Brightness and saturation of each RGB image [n, r, r, 3] in 0–255 scaled by chance, as once-for-all does."""
    count, side = tf.shape(images)[0], images.shape[1]
    bright = tf.random.stateless_uniform((count, 1, 1), seed, 1 - BRIGHTNESS, 1 + BRIGHTNESS)
    saturation = tf.random.stateless_uniform((count, 1, 1), seed + 1, 1 - SATURATION, 1 + SATURATION)
    # Both are linear in the pixel: bright · (saturation · x + (1 − saturation) · grey(x)) is one 3 × 3 matrix an image.
    to_grey = tf.constant([[weight] * 3 for weight in GREY])
    matrices = bright * (saturation * tf.eye(3) + (1 - saturation) * to_grey)
    images = tf.reshape(tf.reshape(images, (count, side * side, 3)) @ matrices, (count, side, side, 3))
    return tf.clip_by_value(images, 0.0, 255.0)


def one_hot(labels: tf.Tensor, classes: int) -> tf.Tensor:
    """Labels int32 [b] as float32 [b, classes]; those of mixed images, which are that already, as they are."""
    return labels if labels.dtype.is_floating else tf.one_hot(labels, classes)


def normalise(images: tf.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> tf.Tensor:
    """Pixels [n, r, r, 1 or 3] in 0–255 -> float32 [n, r, r, 3], (pixel / 255 − mean) / std; grey repeated."""
    if images.shape[-1] < len(mean):
        images = tf.repeat(images, 3, axis=-1)
    scale = [1 / (255 * value) for value in std]
    offset = [centre / value for centre, value in zip(mean, std, strict=True)]
    height, width, channels = images.shape[1:]
    # Whole rows at a time: broadcasting over three channels is several times slower.
    rows = tf.reshape(tf.cast(images, tf.float32), (-1, height, width * channels))
    rows = rows * tf.constant(scale * (width * channels // len(scale)))
    rows -= tf.constant(offset * (width * channels // len(offset)))
    images = tf.reshape(rows, (-1, height, width, channels))
    return tf.repeat(images, 3, axis=-1) if channels == 1 else images
