"""Plain convolutional networks for small images: TensorFlow's tutorial CNN, and a tiny one."""

from __future__ import annotations

import keras

TUTORIAL = "tensorflow.org/tutorials/images/cnn"


def tutorial_cnn(classes: int, resolution: int) -> keras.Model:
    """Three 3x3 convolutions without padding, 2x2 pooling between them, and two dense layers.

    The images have at least 18 pixels a side: the third convolution needs a 3x3 map.
    """
    images = keras.Input((resolution, resolution, 3), name="images")
    x = keras.layers.Conv2D(32, 3, activation="relu", name="conv1")(images)
    x = keras.layers.MaxPooling2D(2, name="pool1")(x)
    x = keras.layers.Conv2D(64, 3, activation="relu", name="conv2")(x)
    x = keras.layers.MaxPooling2D(2, name="pool2")(x)
    x = keras.layers.Conv2D(64, 3, activation="relu", name="conv3")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(64, activation="relu", name="dense")(x)
    return keras.Model(images, keras.layers.Dense(classes, name="classifier")(x), name="tutorial_cnn")


def tiny_cnn(classes: int, resolution: int) -> keras.Model:
    """Convolutions of 8, 16 and 32 channels that shrink the map eightfold: 8.9k parameters for 10 classes at 28 px."""
    images = keras.Input((resolution, resolution, 3), name="images")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="conv1")(images)
    for number, channels in ((2, 16), (3, 32)):
        x = keras.layers.Conv2D(channels, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(images, keras.layers.Dense(classes, name="classifier")(x), name="tiny_cnn")
