"""RandAugment and MixUp: one seed, one picture; each image its own operations; labels mixed like images."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pnag_tf import config, data
from pnag_tf.data import rand_augment


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label in "abc":
        (folder / label).mkdir()
        for number in range(12):
            pixels = rng.integers(0, 256, (6, 6, 3), np.uint8)
            Image.fromarray(pixels).resize((24, 24)).save(folder / label / f"{number}.png")
    return config.Data("folder", str(folder), augmentation="flip", batch_size=8)


@pytest.fixture(scope="module")
def augmented():
    return tf.function(lambda image, seed: rand_augment.augmented(image, 2, 0.5, seed), autograph=False)


def test_a_seed_is_a_picture(augmented):
    image = tf.constant(np.random.default_rng(1).uniform(0, 255, (24, 24, 3)), tf.float32)
    found = [augmented(image, tf.constant([7, number], tf.int64)).numpy() for number in range(40)]
    again = augmented(image, tf.constant([7, 3], tf.int64)).numpy()
    np.testing.assert_array_equal(found[3], again)
    assert len({each.tobytes() for each in found}) > 35
    assert all(each.min() >= 0 and each.max() <= 255 and np.isfinite(each).all() for each in found)


def test_every_operation_is_drawn_and_keeps_the_shape():
    """Each of them alone does something to a picture at full magnitude."""
    layers, seeds = rand_augment._layers(1.0)
    image = tf.constant(np.random.default_rng(1).uniform(20, 235, (24, 24, 3)), tf.float32)
    assert len(layers) == 12
    for layer in layers:
        seeds.begin(tf.constant([1, 2], tf.int64))
        changed = layer(image, training=True)
        assert changed.shape == image.shape and np.abs(changed - image).max() > 1, layer.name


@pytest.mark.parametrize("in_memory_gib", [1.0, 0.0])
def test_training_goes_on_where_it_was(photos, in_memory_gib):
    """With images that are held and with files; validation images stay as they are."""
    settings = dataclasses.replace(photos, rand_augment=2, mixup=0.4, in_memory_gib=in_memory_gib)
    splits, plain = data.load(settings, 24, 0), data.load(photos, 24, 0)
    whole = [(images.numpy(), labels.numpy()) for images, labels in splits.train(8, steps=5)]
    later = [(images.numpy(), labels.numpy()) for images, labels in splits.train(8, first_step=3, steps=2)]
    for (images, labels), (same, also) in zip(whole[3:], later, strict=True):
        np.testing.assert_allclose(images, same, atol=1e-5)
        np.testing.assert_array_equal(labels, also)
    assert np.any(whole[0][0] != next(iter(plain.train(8)))[0].numpy())
    for (images, _), (same, _) in zip(splits.validation(8), plain.validation(8), strict=True):
        np.testing.assert_array_equal(images, same)


def test_labels_are_mixed_like_images(photos):
    splits = data.load(dataclasses.replace(photos, augmentation="none", mixup=1.0), 24, 0)
    plain = data.load(dataclasses.replace(photos, augmentation="none"), 24, 0)
    (images, labels), (given, numbers) = next(iter(splits.train(8))), next(iter(plain.train(8)))
    np.testing.assert_allclose(labels.numpy().sum(1), 1, rtol=1e-5)
    assert labels.shape == (8, 3)
    flat, pixels = given.numpy().reshape(8, -1), images.numpy().reshape(8, -1)
    weights = np.linalg.lstsq(flat.T, pixels.T, rcond=None)[0].T  # which two images each one is made of
    np.testing.assert_allclose(weights @ np.eye(3)[numbers.numpy()], labels, atol=1e-3)


def test_grey_images_stay_grey(tmp_path, photos):
    splits = data.load(dataclasses.replace(photos, rand_augment=1), 24, 0)
    grey = tf.constant(np.random.default_rng(0).uniform(0, 255, (4, 24, 24, 1)), tf.float32)
    assert splits._rand_augmented(grey, tf.constant([1, 2], tf.int64)).shape == (4, 24, 24, 1)
